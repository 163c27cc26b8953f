"""Checksums as stores keep them, written `<kind> <digits>`, and their incremental computation.

Kinds: `sha256` and `md5` in hexadecimal, `crc32c` in base64 (GCS), and `parts`, which S3 gives an object that was sent in
several parts: the MD5 of the parts' MD5s, and their count.
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c

# A larger object is sent and fetched in parts of this many bytes. With six at a time, memory stays below 200 MB.
PART_BYTES = 8 * 2**20
_MOST_PARTS = 10_000  # what S3 allows


def running(kind: str, size: int) -> "_Digest | _Parts":
    """A checksum of the kind `sha256`, `md5`, `crc32c`, or `parts` over an object of `size` bytes.

    Call `update` with its bytes, in pieces. `text` then returns the checksum as a store writes it.
    """
    return _Parts(part_bytes(size)) if kind == "parts" else _Digest(kind)


def part_bytes(size: int) -> int:
    """The size of the parts of an object of this size: 8 MiB, or more if S3's maximum number of parts requires it."""
    return max(PART_BYTES, -(-size // _MOST_PARTS))


def file_checksum(path: Path, like: str) -> str:
    """The checksum of a file, of the same kind as the checksum `like`."""
    checksum = running(like.split()[0], path.stat().st_size)
    with path.open("rb") as file:
        for piece in pieces(file.fileno(), PART_BYTES):
            checksum.update(piece)
    return checksum.text()


def pieces(file: int, size: int) -> Iterator[bytes]:
    """The bytes of an open file from its start, in pieces of `size` bytes; the last may be shorter."""
    offset = 0
    while piece := os.pread(file, size, offset):
        yield piece
        offset += len(piece)


class _Digest:
    def __init__(self, kind: str) -> None:
        # S3 and GCS keep MD5s. Here, they only detect transfer errors.
        self._kind = kind
        self._hash = google_crc32c.Checksum() if kind == "crc32c" else hashlib.new(kind, usedforsecurity=False)

    def update(self, piece: bytes) -> None:
        self._hash.update(piece)

    def text(self) -> str:
        digest: bytes = self._hash.digest()
        return f"{self._kind} {base64.b64encode(digest).decode() if self._kind == 'crc32c' else digest.hex()}"


class _Parts:
    """S3's tag of an object in parts. Pieces may cross the boundaries of parts."""

    def __init__(self, size: int) -> None:
        self._size, self._filled = size, 0
        self._digests: list[bytes] = []
        self._part = hashlib.md5(usedforsecurity=False)

    def update(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            taken = view[: self._size - self._filled]
            self._part.update(taken)
            self._filled += len(taken)
            view = view[len(taken) :]
            if self._filled == self._size:
                self._close()

    def text(self) -> str:
        if self._filled:
            self._close()
        return parts_checksum(self._digests)

    def _close(self) -> None:
        self._digests.append(self._part.digest())
        self._part, self._filled = hashlib.md5(usedforsecurity=False), 0


def parts_checksum(digests: Iterable[bytes]) -> str:
    """The `parts` checksum of an object whose parts have these MD5s."""
    known = list(digests)
    return f"parts {hashlib.md5(b''.join(known), usedforsecurity=False).hexdigest()}-{len(known)}"
