"""Finds the files and folders that another file of a data folder names, which may have been those of another computer."""

import posixpath
import re
from bisect import bisect_left
from collections.abc import Sequence

_LONGEST = 4096  # characters of a path that is looked for
_ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:|\w+://")


def joined(folder: str, path: str) -> str:
    """A path that is relative to a folder, unless it is absolute; "" is no folder."""
    return path if not folder or _ABSOLUTE.match(path) else f"{folder}/{path}"


def located(names: Sequence[str], file: str, given: str) -> tuple[str, bool, bool] | None:
    """The folder or file that a path means, whether it is a file, and whether it is where the path says; None if it is missing.

    Args:
        names: of all files, sorted.
        file: that has the path.
        given: the path, absolute or relative to the file's folder.
    """
    if len(given) > _LONGEST:
        return None
    parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".")]
    folder = file.rpartition("/")[0]
    if not _ABSOLUTE.match(given):
        exact = posixpath.normpath("/".join([folder or ".", *parts]))
        exact = "" if exact == "." else exact
        if (kind := _kind(names, exact)) is not None:
            return exact, kind, True
    parts = [part for part in parts if part != ".."]
    above = folder.split("/") if folder else []
    for depth in range(len(above), -1, -1):
        for start in range(len(parts)):
            end = "/".join([*above[:depth], *parts[start:]])
            if (kind := _kind(names, end)) is not None:
                return end, kind, False
    return None


def _kind(names: Sequence[str], path: str) -> bool | None:
    """Whether a path is a file, or False for a folder; None if there is neither."""
    at = bisect_left(names, path)
    if path and at < len(names) and names[at] == path:
        return True
    inside = f"{path}/" if path else ""
    at = bisect_left(names, inside)
    return False if at < len(names) and names[at].startswith(inside) else None
