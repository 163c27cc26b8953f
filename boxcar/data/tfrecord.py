"""TFRecord files: records one after the other, each with its length and two checksums.

The framing is that of tensorflow/core/lib/io/record_writer.h: length (uint64), its masked CRC-32C, the data, their masked
CRC-32C, all little-endian.
"""

import hashlib
import struct
from io import FileIO
from pathlib import Path

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


def write_record(file: FileIO, pieces: list[bytes]) -> None:
    """Appends one record, given as pieces of its bytes, to a file that was opened without a buffer."""
    data = b"".join(pieces)
    length = _LENGTH.pack(len(data))
    record = memoryview(b"".join((length, _CHECKSUM.pack(_masked(length)), data, _CHECKSUM.pack(_masked(data)))))
    while record:  # an unbuffered file may take a part of it only
        record = record[file.write(record) :]


def verify(path: Path) -> tuple[int, int, str]:
    """Reads a file back and compares every checksum.

    Returns:
        The number of records, the file's bytes, and its hexadecimal SHA-256.

    Raises:
        OSError: a record is not what was written, or the file cannot be read.
    """
    digest = hashlib.sha256()
    records = size = 0
    with path.open("rb") as file:
        while head := file.read(12):
            length = _LENGTH.unpack(head[:8])[0] if len(head) == 12 else 0
            sound = len(head) == 12 and _CHECKSUM.unpack(head[8:])[0] == _masked(head[:8])
            data, checksum = (file.read(length), file.read(4)) if sound else (b"", b"")
            if checksum != _CHECKSUM.pack(_masked(data)) or len(data) != length:
                raise OSError(f"record {records} of {path} is not what was written")
            for part in (head, data, checksum):
                digest.update(part)
            records += 1
            size += length + 16
    return records, size, digest.hexdigest()


def _masked(data: bytes) -> int:
    checksum: int = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
