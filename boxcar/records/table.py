"""The results of the checks, kept until the records are written: one row per image in NumPy arrays, and objects in a file.
100,000 images need about 20 MB of memory.
"""

import hashlib
import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.check import CheckedBatch
from boxcar.records.reader import Item

_HASH = "S32"  # read with `hash_at`
COLUMNS = np.dtype(
    [
        # `check.Row`
        ("sha256", _HASH),
        ("source_digest", _HASH),
        ("sound", np.bool_),
        ("split", np.int8),
        ("digest", _HASH),
        ("size", np.int64),
        ("modified", np.int64),
        ("width", np.int32),
        ("height", np.int32),
        ("treatment", np.int8),
        ("turn", np.bool_),
        ("boxes", np.int32),
        ("packed", np.int32),
        # What only the table knows.
        ("image", np.int32),  # its place in the listing, or -1
        ("source", np.int32),  # that of its annotation file, or -1
        ("begin", np.int64),  # where its packed objects begin in the file
    ]
)
Images = NDArray[np.void]  # of COLUMNS


class ImageTable:
    """Collects the results of the checks, in any order.

    Args:
        names: of the listing, sorted.

    Raises:
        BoxcarError: 69 where a temporary file cannot be written.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._end = 0
        self._parts: list[Images] = []
        with _os_errors():
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see `close`

    def close(self) -> None:
        self._file.close()

    def add(self, items: Sequence[Item], checked: CheckedBatch) -> None:
        """Adds items and what was found of them.

        Raises:
            BoxcarError: 69 where the file cannot be written.
        """
        part = np.zeros(len(items), COLUMNS)
        begin = self._end
        for number, (item, row) in enumerate(zip(items, checked.rows, strict=True)):
            part[number] = (*row, self._place(item.image), self._place(item.source), begin)
            begin += row.packed
        content = b"".join(checked.objects)
        with _os_errors():
            while self._end < begin:  # an unbuffered file may take a part of it only
                self._end += self._file.write(content[self._end - begin :])
        self._parts.append(part)

    def images(self) -> Images:
        """Returns the images without faults, ordered by hash, then by digest and name."""
        sound: Images = np.concatenate([part[part["sound"]] for part in self._parts])
        self._parts.clear()
        order = np.lexsort((sound["image"], sound["digest"], sound["sha256"]))
        ordered: Images = sound[order]
        return ordered

    def objects(self, packed: int, begin: int) -> bytes:
        """The packed objects of an image, by two of its columns."""
        return os.pread(self._file.fileno(), packed, begin)

    def files_digest(self) -> str:
        """The hash of the names and content of everything that was read."""
        images, sources = (np.concatenate([part[name] for part in self._parts]) for name in ("image", "source"))
        hashes, digests = (np.concatenate([part[name] for part in self._parts]) for name in ("sha256", "source_digest"))
        places, contents = np.concatenate([images, sources]), np.concatenate([hashes, digests])
        digest = hashlib.sha256()
        for number in np.lexsort((contents, places)):
            if places[number] >= 0:
                name = os.fsencode(self.names[places[number]])
                digest.update(b"%d %s %s\n" % (len(name), name, hash_at(contents[number])))
        return digest.hexdigest()

    def _place(self, name: str | None) -> int:
        return -1 if name is None else bisect_left(self.names, name)


def hash_at(content: bytes) -> bytes:
    """A hash as it was before NumPy stripped the zeros at its end; nothing where none was written."""
    return content and content.ljust(32, b"\0")


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turns a failure to write the temporary file into exit 69 with its folder."""
    try:
        yield
    except OSError as error:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"Temporary files in {tempfile.gettempdir()} cannot be written: {error.strerror or error}.",
            "Free space there, or set the environment variable TMPDIR to a folder that has some.",
        ) from error
