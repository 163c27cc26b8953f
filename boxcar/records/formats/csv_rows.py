"""The lines of tables, sorted by their images in a temporary database, so that memory does not grow with them."""

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

from boxcar.errors import BoxcarError, ExitCode

_TOGETHER = 1000  # rows that are stored at once
_CACHE = 8000  # KiB that the database may keep in memory


class StoredRow(NamedTuple):
    """A line of a table."""

    place: int  # of its image in the listing
    table: int  # the table's number
    line: int  # in the table, from 1
    cells: Any  # what was stored
    bytes: int  # of that


class RowStore:
    """Lines of tables by their images. Use it as a context manager.

    Raises:
        BoxcarError: 69, also from its methods, if the temporary file cannot be written.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int, bytes]] = []
        with _database_errors():
            # A database without a name is a temporary file.
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute(f"PRAGMA cache_size = -{_CACHE}")
            self._database.execute("CREATE TABLE rows (place INTEGER, source INTEGER, line INTEGER, cells BLOB)")
            self._database.execute("BEGIN")

    def __enter__(self) -> "RowStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def add(self, names: Sequence[str], image: str, table: int, line: int, cells: object) -> None:
        """Stores a line.

        Args:
            names: of the listing, sorted.
            image: its image, one of them.
            table: the table's number.
            line: its number in the table.
            cells: its content; anything that JSON can hold.
        """
        self._waiting.append((bisect_left(names, image), table, line, json.dumps(cells).encode()))
        if len(self._waiting) == _TOGETHER:
            self._flush()

    def sorted_rows(self) -> Iterator[StoredRow]:
        """All lines, ordered by image, table, and line."""
        self._flush()
        with _database_errors():
            for place, table, line, cells in self._database.execute("SELECT * FROM rows ORDER BY place, source, line"):
                yield StoredRow(place, table, line, json.loads(cells), len(cells))

    def _flush(self) -> None:
        with _database_errors():
            self._database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", self._waiting)
        self._waiting.clear()


@contextmanager
def _database_errors() -> Iterator[None]:
    """Turns a failure to write the temporary file into exit 69."""
    try:
        yield
    except sqlite3.Error as error:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"The lines of the tables cannot be sorted in a temporary file: {error}.",
            "Free space on the disk, or set the environment variable TMPDIR to a folder that has some.",
        ) from error
