"""Copies of bucket folders in folders that a person names. What the bucket does not have is removed from such a copy."""

from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import is_temporary, replace_text
from boxcar.storage.local_files import os_errors

COPY_OF = ".copy-of"  # in the copy: the URI of the original


def claim_copy(into: Path, uri: str) -> None:
    """Marks a folder as the copy of a bucket folder.

    Args:
        into: an existing folder, which is empty, or was claimed for the same URI before.
        uri: of the original.

    Raises:
        BoxcarError: 64 if the folder contains anything else, which would be removed; 69 if it cannot be written.
    """
    note = into / COPY_OF
    with os_errors(into):
        found = note.read_text(encoding="utf-8") if note.exists() else None
        taken = found is None and not all(is_temporary(path.name) for path in into.iterdir())
    if taken or found not in (None, uri):
        what = f"{into} holds {f'the copy of {found}' if found else f'files that are not a copy of {uri}'}."
        raise BoxcarError(ExitCode.USAGE, what, f"Give an empty folder for the copy of {uri}.")
    replace_text(note, uri)
