"""Files with the detections as text. Each line is written when it is known, so that memory stays the same for a camera."""

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from boxcar.detect.sources import Frame
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.detections import Detections
from boxcar.storage import local_path
from boxcar.storage.local_files import os_errors

COLUMNS = ("path", "frame", "ymin", "xmin", "ymax", "xmax", "score", "class", "id")
_LONGEST_LINE = 1_000_000  # bytes of a line that is examined
# How the one list of all images began that earlier versions wrote.
_EARLIER_JSON = b'[\n  {\n    "path": '


def as_listed(frame: Frame, found: Detections, labels: dict[int, str]) -> dict[str, Any]:
    """An image's path, its frame number if it has one, and its detections, as a line of JSON has them."""
    detections = [
        {
            "box": [round(side, 6) for side in box],
            "score": round(score, 6),
            "class": labels.get(label, str(label)),
            "id": label,
        }
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    ]
    number = {} if frame.number is None else {"frame": frame.number}
    return {"path": frame.source.path, **number, "detections": detections}


class _Lines(ABC):
    """A file that grows by whole lines. Each call of the operating system writes whole lines, so a kill leaves such.

    Raises:
        BoxcarError: 69 if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._is_read = path, True
        with os_errors(path):
            self._file = path.open("wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    @abstractmethod
    def add(self, listed: dict[str, Any]) -> None:
        """Writes an image's lines; `listed` comes from `as_listed`."""

    def _write(self, text: str) -> None:
        # A file name that is not UTF-8 has surrogates, which JSON can escape.
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        with os_errors(self._path):
            try:
                while left and self._is_read:
                    left = left[self._file.write(left) :]
            except BrokenPipeError:  # of a named pipe or standard output; the other outputs continue
                self._is_read = False


class JsonLines(_Lines):
    """One JSON object per image."""

    def add(self, listed: dict[str, Any]) -> None:
        self._write(json.dumps(listed, ensure_ascii=False, allow_nan=False) + "\n")


class Table(_Lines):
    """CSV with one line per box, below a line with the names of the columns."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._write(",".join(COLUMNS) + "\n")

    def add(self, listed: dict[str, Any]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for one in listed["detections"]:
            writer.writerow([listed["path"], listed.get("frame", ""), *one["box"], one["score"], one["class"], one["id"]])
        self._write(text.getvalue())


def check_files(json: str | None, table: str | None) -> None:
    """Checks the files to write before anything is written: only lists of earlier calls are replaced.

    Raises:
        BoxcarError: 64 if a file was not written by `JsonLines` or `Table`, or both are one file.
    """
    given = [
        (option, local_path(name), is_own)
        for option, name, is_own in (("--json", json, _is_json), ("--csv", table, _is_table))
        if name is not None
    ]
    for option, path, is_own in given:
        _check_file(option, path, is_own)
    if len(given) == 2 and _are_one(given[0][1], given[1][1]):
        raise BoxcarError(ExitCode.USAGE, f"--json and --csv are the same file, {given[0][1]}.", "Name two files.")


def _check_file(option: str, path: Path, is_own: Callable[[bytes], bool]) -> None:
    if path.is_dir():
        raise BoxcarError(ExitCode.USAGE, f"{option} {path} is a folder.", "Name a file.")
    if not path.absolute().parent.is_dir():
        raise BoxcarError(ExitCode.USAGE, f"There is no folder {path.parent} for {option} {path}.", "Create it first.")
    if not path.is_file():  # also a pipe, or /dev/null
        return
    with path.open("rb") as file:
        first = file.readline(_LONGEST_LINE) + file.readline(64) + file.readline(64)
    if first and not is_own(first):
        what = f"{option} {path} exists, and `boxcar detect` did not write it. It would be replaced."
        raise BoxcarError(ExitCode.USAGE, what, "Name another file, or move that one away.")


def _is_json(beginning: bytes) -> bool:
    if beginning.startswith(_EARLIER_JSON):
        return True
    try:
        first = json.loads(beginning.splitlines()[0])
    except ValueError:
        return False
    return isinstance(first, dict) and {"path", "detections"} <= first.keys()


def _is_table(beginning: bytes) -> bool:
    return beginning.splitlines()[0].decode("utf-8", "replace").split(",") == list(COLUMNS)


def _are_one(one: Path, other: Path) -> bool:
    both = one.exists() and other.exists()
    return os.path.samefile(one, other) if both else one.resolve() == other.resolve()  # noqa: PTH121 - of two paths alike
