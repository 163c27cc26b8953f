"""Checks which object names can be files below a folder.

Names are not trusted, because everyone with write access to a bucket can choose them.
"""

import re
import unicodedata
from collections.abc import Iterable

from boxcar.errors import BoxcarError, ExitCode

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_PART_BYTES = 240  # file systems allow 255, and the temporary name of a file is longer
_RENAME = "Rename or remove it, then run this again."


def check_names(names: Iterable[str], place: str) -> None:
    """Checks that all names can be distinct files below one folder, on Linux and macOS.

    Args:
        names: relative to `place`, with `/` between their parts.
        place: URI or path of the folder, for the message.

    Raises:
        BoxcarError: 65 for the first name that cannot.
    """
    files: dict[str, str] = {}
    for name in names:
        if reason := unfit(name):
            raise BoxcarError(ExitCode.DATA, f"{place} holds {name!r}, which {reason}.", _RENAME)
        # On macOS, names that differ only by case or by the encoding of an accent are the same file, and the second would
        # replace the first.
        other = files.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            how = "differ only by case or by how their letters are encoded"
            raise BoxcarError(ExitCode.DATA, f"{place} holds {other!r} and {name!r}, which {how}.", _RENAME)


def unfit(name: str) -> str | None:
    """Why a name cannot be a file name, as a clause after "which"; None if it can."""
    parts = name.split("/")
    if name.startswith("/"):
        return "is an absolute path"
    if any(part in (".", "..") for part in parts):
        return "has `.` or `..` in its path"
    if "" in parts:
        return "has an empty part in its path"
    if CONTROL.search(name):
        return "has control characters in its name"
    if "\\" in name:
        return "has a backslash in its name"
    try:
        longest = max(len(part.encode("utf-8")) for part in parts)
    except UnicodeEncodeError:
        return "is not UTF-8"
    if longest > _LONGEST_PART_BYTES:
        return f"has a part of more than {_LONGEST_PART_BYTES} bytes in its name"
    return None
