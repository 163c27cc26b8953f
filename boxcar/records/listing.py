"""The images and annotation files below a folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import shown
from boxcar.records.images import is_image


def list_names(root: Path, leave_out: Path, is_annotation: Callable[[str], bool]) -> list[str]:
    """The names of all images and annotation files below `root`, relative to it and sorted.

    Hidden files and folders are skipped. Links to folders are followed, each folder once.

    Args:
        root: the data folder.
        leave_out: a folder below `root` to skip: the step's own output.
        is_annotation: whether a file of this name holds annotations.

    Raises:
        BoxcarError: 69 if there is no permission to read a folder.
    """
    return sorted(name for name in _files(root, leave_out) if is_image(name) or is_annotation(name))


def _files(root: Path, leave_out: Path) -> Iterator[str]:
    seen = {_identity(leave_out)}

    def refuse(error: OSError) -> None:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{shown(str(error.filename))} cannot be read: {error.strerror}.",
            "Change its permissions so that you can read it.",
            again=True,
        ) from error

    for parent, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        identity = _identity(parent)
        if identity in seen and parent != str(root):
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = [name for name in folders if not name.startswith(".")]
        folders.sort()  # if links lead to one folder twice, the first by name counts
        above = "" if parent == str(root) else os.path.relpath(parent, root) + "/"
        yield from (above + name for name in names if not name.startswith("."))


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - `os.walk` gives a text
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
