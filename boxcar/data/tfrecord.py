"""TFRecord files: records one after the other, each with its length and two checksums.

The framing is that of tensorflow/core/lib/io/record_writer.h: length (uint64), its masked CRC-32C, the data, their masked
CRC-32C, all little-endian.
"""

import hashlib
import struct
from io import FileIO
from pathlib import Path

import google_crc32c

HEADER, FOOTER = struct.Struct("<QI"), struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


def write_record(file: FileIO, pieces: list[bytes]) -> None:
    """Appends one record, given as pieces of its bytes, to a file that was opened without a buffer."""
    data = b"".join(pieces)
    length = _LENGTH.pack(len(data))
    record = memoryview(b"".join((length, FOOTER.pack(masked_crc32c(length)), data, FOOTER.pack(masked_crc32c(data)))))
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
        while head := file.read(HEADER.size):
            length, checksum = HEADER.unpack(head) if len(head) == HEADER.size else (0, None)
            sound = checksum == masked_crc32c(head[:8])
            data, footer = (file.read(length), file.read(FOOTER.size)) if sound else (b"", b"")
            if footer != FOOTER.pack(masked_crc32c(data)) or len(data) != length:
                raise OSError(f"record {records} of {path} is not what was written")
            for part in (head, data, footer):
                digest.update(part)
            records += 1
            size += HEADER.size + length + FOOTER.size
    return records, size, digest.hexdigest()


def masked_crc32c(content: bytes) -> int:
    """The CRC-32C, rotated by 15 bits and shifted by a constant."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
