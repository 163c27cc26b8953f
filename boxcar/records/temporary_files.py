"""What a step says when its temporary files cannot be written."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from boxcar.errors import BoxcarError, ExitCode


@contextmanager
def temporary_file_errors() -> Iterator[None]:
    """Turns a failure to write a temporary file into exit 69 with its folder."""
    try:
        yield
    except OSError as error:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"Temporary files in {tempfile.gettempdir()} cannot be written: {error.strerror or error}.",
            "Free space there, or set the environment variable TMPDIR to a folder that has some.",
        ) from error
