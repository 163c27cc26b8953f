"""Which files are Boxcar's own outputs. They are never data, and they are the only files that Boxcar replaces."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from boxcar.run.layout import COMMIT, DRAWINGS, DRAWINGS_FOLDER, RECORDS, UNFINISHED

if TYPE_CHECKING:  # at run time, the processes that check images would load much
    from boxcar.storage import Store, StoredObject

# In every image and video that `boxcar detect` writes: a JPEG's comment, and the content of an MP4's last box.
DRAWN_MARK = b"Boxes drawn by boxcar detect"
_MARKED_BYTES = 1024  # at the beginning and the end of a file, where the mark is looked for

# Steps whose results are images with label files, which people may train on.
_DATA_STEPS = frozenset({"labels", "shapes"})


def is_drawn(content: bytes) -> bool:
    """Whether the bytes of a file are those of an image or video that `boxcar detect` has written."""
    return DRAWN_MARK in content[:_MARKED_BYTES] or DRAWN_MARK in content[-_MARKED_BYTES:]


def is_drawn_file(path: Path) -> bool:
    """`is_drawn` for a file, of which only the beginning and the end are read; False if it is not a regular file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(_MARKED_BYTES)
        file.seek(max(0, path.stat().st_size - _MARKED_BYTES))
        return is_drawn(beginning) or is_drawn(file.read())


def is_own_folder(folder: Path) -> bool:
    """Whether everything in a folder is Boxcar's output: the drawings of `boxcar detect`, or the results of a step."""
    return (folder / DRAWINGS).exists() or _holds_results(folder)


def walk_data(root: Path, own: list[str], leave_out: Path | None = None) -> Iterator[str]:
    """The names of a person's files below `root`, relative to it.

    Hidden files and folders are skipped. Links to folders are followed, each folder once. Boxcar's own outputs are left out,
    except finished records that are `root` itself.

    Args:
        root: the folder.
        own: the names of the folders with Boxcar's own outputs are added here; "." for `root` itself.
        leave_out: a folder below `root` to skip without adding it to `own`.

    Raises:
        OSError: a folder cannot be read.
    """
    seen = set() if leave_out is None else {_identity(leave_out)}
    for parent, folders, names in os.walk(root, onerror=_refuse, followlinks=True):
        identity = _identity(parent)
        if identity in seen and parent != str(root):
            folders.clear()
            continue
        seen.add(identity)
        are_records = parent == str(root) and UNFINISHED not in names and _step_of(Path(parent, COMMIT)) == RECORDS
        if not are_records and _is_own(Path(parent), names, is_root=parent == str(root)):
            own.append(os.path.relpath(parent, root))
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        folders.sort()  # if links lead to one folder twice, the first by name counts
        above = "" if parent == str(root) else os.path.relpath(parent, root) + "/"
        marker = {COMMIT} if COMMIT in names and _step_of(Path(parent, COMMIT)) in _DATA_STEPS else set()
        yield from (above + name for name in names if not name.startswith(".") and name not in marker)


def _is_own(folder: Path, names: list[str], *, is_root: bool) -> bool:
    """`is_own_folder` for a folder whose files are known."""
    if DRAWINGS in names or (not {COMMIT, UNFINISHED}.isdisjoint(names) and _holds_results(folder)):
        return True
    if is_root or folder.name != DRAWINGS_FOLDER:
        return False
    # Earlier versions left no mark: each drawing has the name of an image in the folder above.
    drawn = [Path(name) for name in names if not name.startswith(".")]
    beside = {path.stem for path in folder.parent.iterdir() if path.is_file()}
    return bool(drawn) and all(path.suffix in (".jpg", ".mp4") and path.stem in beside for path in drawn)


def is_result(marker: bytes) -> bool:
    """Whether the marker in a folder, `step.json` or `.unfinished`, is that of a step whose results are not data."""
    step = _named_step(marker)
    return step is not None and step not in _DATA_STEPS


def own_folders(store: "Store", entries: "Iterable[StoredObject]") -> set[str]:
    """The folders of a bucket with Boxcar's own outputs, which are never data; "" for the whole store."""
    found = set()
    for entry in entries:
        folder, _, name = entry.name.rpartition("/")
        if name == DRAWINGS or (name in (COMMIT, UNFINISHED) and is_result(store.read(entry.name))):
            found.add(folder)
    return found


def enclosing(name: str) -> Iterator[str]:
    """The folders that an object is in; "" for the whole store."""
    yield from (path.as_posix().removeprefix(".") for path in PurePosixPath(name).parents)


def is_hidden_object(name: str) -> bool:
    """Whether an object of a data folder is skipped because it or a folder of it is hidden, and it is no mark of Boxcar's."""
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") for part in parts) and parts[-1] not in (DRAWINGS, UNFINISHED)


def _named_step(marker: bytes) -> str | None:
    """The step that a marker names; None if it is another program's file."""
    try:
        found = json.loads(marker)
    except (ValueError, RecursionError):
        return None
    is_marker = isinstance(found, dict) and {"step", "inputs", "parameters"} <= found.keys()
    return str(found["step"]) if is_marker else None


def _step_of(path: Path) -> str | None:
    return _named_step(path.read_bytes()) if path.is_file() else None


def _holds_results(folder: Path) -> bool:
    markers = [folder / name for name in (COMMIT, UNFINISHED)]
    return any(step is not None and step not in _DATA_STEPS for step in map(_step_of, markers))


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - `os.walk` gives a text
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _refuse(error: OSError) -> None:
    raise error  # by default, os.walk skips folders that cannot be read
