"""A file of a store, opened for reading: parts of it are read when they are needed."""

import io
from typing import BinaryIO

from boxcar.storage.store import Store, StoredObject

_PART = 1 << 20  # bytes of one request


class _Parts(io.RawIOBase):
    def __init__(self, store: Store, entry: StoredObject) -> None:
        self._store, self._entry, self._at = store, entry, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._entry.bytes}[whence]
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        length = min(len(buffer), self._entry.bytes - self._at)
        if length <= 0:
            return 0
        content = self._store.read(self._entry.name, self._at, length, tag=self._entry.tag)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def open_object(store: Store, entry: StoredObject, part: int = _PART) -> BinaryIO:
    """Opens a file of a store.

    Args:
        store: the store.
        entry: the file as it was listed. If it has changed since, reading fails as `Store.read` does for a tag.
        part: bytes to read at once.
    """
    return io.BufferedReader(_Parts(store, entry), part)
