"""The list of a held-out test split: one line `<sha256>  <name>` per image, the format of `sha256sum`.

The SHA-256 of an image's file decides whether it is in the split, in any folder and under any name. Names are for people.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.cache import uri_of

FROZEN_TEST = "frozen-test.txt"

_LINE = re.compile(r"\\?([0-9a-fA-F]{64})(?:[ \t].*)?")  # sha256sum puts a backslash before a line whose name it escapes


def read_frozen_test(path: Path) -> frozenset[str]:
    """The hexadecimal hashes of a list.

    Raises:
        BoxcarError: 64 if there is no such file; 69 if it cannot be read; 65 if a line is malformed or it lists no image.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        what = f"There is no held-out test split list {uri_of(path)}."
        raise BoxcarError(ExitCode.USAGE, what, f"Give a {FROZEN_TEST} that exists.") from error
    except OSError as error:
        what = f"{uri_of(path)} cannot be read: {error.strerror or error}."
        raise BoxcarError(ExitCode.ENVIRONMENT, what, "Change its permissions so that you can read it.") from error
    hashes = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise _refusal(path, f"line {number} does not start with the SHA-256 of an image")
        hashes.add(match[1].lower())
    if not hashes:
        raise _refusal(path, "it lists no image")
    return frozenset(hashes)


def frozen_test_text(images: Mapping[str, str]) -> str:
    """The text of a list.

    Args:
        images: the images' names by their hashes.
    """
    return "".join(f"{sha256}  {' '.join(name.split())}\n" for sha256, name in sorted(images.items()))


def frozen_test_digest(hashes: Iterable[str]) -> str:
    """A hash that depends only on the images of a list, not on their order."""
    return hashlib.sha256("".join(f"{sha256}\n" for sha256 in sorted(hashes)).encode()).hexdigest()


def _refusal(path: Path, reason: str) -> BoxcarError:
    what = f"{uri_of(path)} is not a held-out test split list: {reason}."
    return BoxcarError(ExitCode.DATA, what, f"Give the {FROZEN_TEST} of a model, or the output of `sha256sum` for images.")
