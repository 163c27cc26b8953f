"""The SQLite database that holds what is known of the pictures while the step runs.

It lies in SQLite's temporary storage, on disk as soon as it is large, so that the memory needed does not depend on their
number.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from boxcar.errors import BoxcarError, ExitCode

# Where SQLite looks after the environment variables, in its order: https://www.sqlite.org/tempfiles.html
_PLACES = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108 - named in a sentence, not used


@contextmanager
def temporary_database(schema: str) -> Iterator[sqlite3.Connection]:
    """An empty database of this schema, which is gone afterwards.

    Raises:
        BoxcarError: 69 where SQLite's temporary files cannot be written, at any time below it.
    """
    try:
        # A database without a name lies in a file without a name, which SQLite removes by itself.
        with closing(sqlite3.connect("", isolation_level=None)) as database:
            database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
            database.executescript(schema)
            database.execute("BEGIN")  # nobody else will ever see it: a commit for each row would only take time
            yield database
    except sqlite3.OperationalError as error:
        # The low byte is the kind. This one is a mistake in SQL, which is ours.
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_ERROR:
            raise
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"SQLite's temporary files in {_folder()} cannot be written: {error}.",
            "Free space there, or set the environment variable SQLITE_TMPDIR to a folder that has some.",
        ) from error


def _folder() -> str:
    places = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), *_PLACES)
    return next((place for place in places if place and os.access(place, os.W_OK | os.X_OK)), ".")
