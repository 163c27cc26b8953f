"""The results of the checks, kept until the records are written: one row per image in a NumPy array, and objects and looks in a
file.

100,000 images need 17 MB of memory.
"""

import hashlib
import os
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from boxcar.records.checked import ROW, CheckedBatch, Row
from boxcar.records.looks import LOOK_BYTES, LOOK_SIDE
from boxcar.records.reader import Item
from boxcar.records.temporary_files import temporary_file_errors

_TYPES = (
    *("S32", "S32", "?", "i1", "S32", "i8", "i8", "i4", "i4", "i1", "?", "i4", "i4", "i2", "i8", "i8"),
    *("i4", "i4", "i8", "i4"),
)  # as in ROW
COLUMNS = np.dtype(list(zip(Row._fields, _TYPES, strict=True)))  # its hashes are read with `hash_at`
assert COLUMNS.itemsize == ROW.size
Images = NDArray[np.void]  # of COLUMNS
_PIECE = 1 << 25  # bytes


class ImageTable:
    """Collects the results of the checks, in any order.

    Args:
        names: of the listing, sorted.

    Raises:
        BoxcarError: 69 if a temporary file cannot be written.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._rows = bytearray()  # unlike an array, it grows without being copied
        self._as_stored: dict[str, tuple[array[int], bytearray]] = {}  # the numbers and the other rows of undecided images
        self._end = 0
        with temporary_file_errors():
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see `close`

    def close(self) -> None:
        self._file.close()

    def add(self, items: Sequence[Item], checked: CheckedBatch) -> None:
        """Adds items and what was found of them.

        Raises:
            BoxcarError: 69 if the file cannot be written.
        """
        first = len(self._rows) // ROW.size
        self._rows += self._placed(items, checked)
        for by, images in checked.undecided.items():
            numbers, rows = self._as_stored.setdefault(by, (array("q"), bytearray()))
            numbers.extend(first + place for place in images.places)
            rows += self._placed([items[place] for place in images.places], images.as_stored)

    def take_as_stored(self, by: str) -> None:
        """Takes the undecided images of a labeler, as in `CheckedBatch.undecided`, as they are stored."""
        numbers, rows = self._as_stored.pop(by)
        np.frombuffer(self._rows, COLUMNS)[np.array(numbers)] = np.frombuffer(rows, COLUMNS)

    def _placed(self, items: Sequence[Item], checked: CheckedBatch) -> bytearray:
        """Writes the objects of items, and completes their rows."""
        rows = np.frombuffer(checked.rows, COLUMNS)
        rows["image"] = [self._place(item.image) for item in items]
        rows["source"] = [self._place(item.source) for item in items]
        lengths = rows["packed"] + rows["look"]
        rows["begin"] = self._end + np.cumsum(lengths) - lengths
        self._write(checked.objects)
        return checked.rows

    def pieces(self) -> Iterator[bytes]:
        """The packed objects of all images, in pieces, for the `restore` of another table."""
        for begin in range(0, self._end, _PIECE):
            yield os.pread(self._file.fileno(), _PIECE, begin)

    def restore(self, pieces: Iterable[bytes]) -> None:
        """Takes the objects of another table, to whose rows `objects` then applies.

        Raises:
            BoxcarError: 69 if the file cannot be written.
        """
        for piece in pieces:
            self._write(piece)

    def _write(self, content: bytes | bytearray) -> None:
        left = memoryview(content)
        with temporary_file_errors():
            while left:  # an unbuffered file may take a part of it only
                written = self._file.write(left)
                self._end += written
                left = left[written:]

    def images(self) -> Images:
        """The images without faults, ordered by hash, then by digest and name."""
        rows = np.frombuffer(self._rows, COLUMNS)
        sound = np.flatnonzero(rows["sound"])
        order = np.lexsort((rows["image"][sound], rows["digest"][sound], rows["sha256"][sound]))
        ordered: Images = rows[sound[order]]
        self._rows = bytearray()
        self._as_stored.clear()
        return ordered

    def objects(self, rows: Images) -> bytes:
        """The packed objects of images, one image's after the other's."""
        places = zip(rows["packed"].tolist(), rows["begin"].tolist(), strict=True)
        return b"".join([os.pread(self._file.fileno(), packed, begin) for packed, begin in places])

    def looks(self, rows: Images) -> NDArray[np.uint8]:
        """What images look like, all of which have been decoded: [N, LOOK_SIDE, LOOK_SIDE], gray."""
        places = (rows["begin"] + rows["packed"]).tolist()
        content = b"".join([os.pread(self._file.fileno(), LOOK_BYTES, place) for place in places])
        return np.frombuffer(content, np.uint8).reshape(-1, LOOK_SIDE, LOOK_SIDE)

    def files_digest(self) -> str:
        """The hash of the names and content of everything that was read. Call it before `images`."""
        rows = np.frombuffer(self._rows, COLUMNS)
        places = np.concatenate([rows["image"], rows["source"]])
        contents = np.concatenate([rows["sha256"], rows["source_digest"]])
        digest = hashlib.sha256()
        for number in np.lexsort((contents, places)):
            if places[number] >= 0:
                name = os.fsencode(self.names[places[number]])
                digest.update(b"%d %s %s\n" % (len(name), name, hash_at(contents[number])))
        return digest.hexdigest()

    def _place(self, name: str | None) -> int:
        return -1 if name is None else bisect_left(self.names, name)


def hash_at(content: bytes) -> bytes:
    """A hash with the trailing zeros that NumPy strips; empty if none was written."""
    return content and content.ljust(32, b"\0")
