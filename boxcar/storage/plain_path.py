"""Paths for libraries that do not take every path as it is written."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# TensorFlow takes the name of a checkpoint for a pattern. A name with a set of characters or an escape does not match itself.
_PATTERN = frozenset("[\\")


@contextlib.contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """The absolute path, or a temporary link to the same files if TensorFlow or OpenCV could not read them by their own names.

    Args:
        path: of a file or a folder, or what the names of a checkpoint's files begin with.
    """
    path = path.absolute()
    if is_text(os.fspath(path)) and not _PATTERN & set(os.fspath(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="boxcar-") as temporary:
        link = Path(temporary, f"link{path.suffix if path.suffix[1:].isalnum() else ''}")
        for file in path.parent.iterdir():
            if file.name.startswith(path.name):
                link.with_name(link.name + file.name.removeprefix(path.name)).symlink_to(file)
        yield link


def is_text(name: str) -> bool:
    """Whether a file's name is UTF-8. Old cameras and archives leave names in other encodings, which Python decodes to
    surrogates.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
