"""TFRecord files: records one after the other, each with its length and two checksums.

The framing is that of tensorflow/core/lib/io/record_writer.h: length (uint64), its masked CRC-32C, the data, their masked
CRC-32C, all little-endian.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import google_crc32c

HEADER, FOOTER = struct.Struct("<QI"), struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


class DamagedRecordError(Exception):
    """A record that is not what was written.

    Args:
        offset: where the record starts in its file.
        reason: what is wrong, as a clause.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"the record at byte {offset} is damaged: {reason}")
        self.offset = offset
        self.reason = reason


def write_record(file: FileIO, pieces: list[bytes]) -> None:
    """Appends one record, given as pieces of its bytes, to a file that was opened without a buffer."""
    record = memoryview(b"".join(_framed(b"".join(pieces))))
    while record:  # an unbuffered file may take a part of it only
        record = record[file.write(record) :]


def find_records(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where the data of each record begins in a file, and how long they are, in bytes. Reads and checks the headers only.

    Raises:
        DamagedRecordError: a header's checksum does not match, or the file ends within a record.
    """
    size = file.seek(0, os.SEEK_END)
    offset = 0
    while offset < size:
        file.seek(offset)
        header = file.read(HEADER.size)
        length, checksum = HEADER.unpack(header) if len(header) == HEADER.size else (size, None)
        end = offset + HEADER.size + length + FOOTER.size
        if checksum is not None and not is_header(header):
            raise DamagedRecordError(offset, "its length does not fit its checksum")
        if end > size:
            raise DamagedRecordError(offset, "the file ends in the middle of it")
        yield offset + HEADER.size, length
        offset = end


def is_header(content: bytes) -> bool:
    """Whether bytes begin with the header of a record, by its checksum."""
    header = content[: HEADER.size]
    return len(header) == HEADER.size and HEADER.unpack(header)[1] == _masked_crc32c(header[: _LENGTH.size])


def fits_checksum(data: bytes, footer: bytes) -> bool:
    """Whether the bytes after the data of a record are their checksum."""
    return footer == FOOTER.pack(_masked_crc32c(data))


def read_records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The offset and the data of each record in a file. Checks every checksum.

    Raises:
        DamagedRecordError: as `find_records`, or the data's checksum does not match.
    """
    for start, length in find_records(file):
        file.seek(start)
        data = file.read(length)
        if not fits_checksum(data, file.read(FOOTER.size)):
            raise DamagedRecordError(start - HEADER.size, "its checksum does not fit its content")
        yield start - HEADER.size, data


def verify(path: Path) -> tuple[int, int, str]:
    """Reads a file back and compares every checksum.

    Returns:
        The number of records, the file's bytes, and its hexadecimal SHA-256.

    Raises:
        OSError: a record is not what was written, or the file cannot be read.
    """
    digest = hashlib.sha256()
    records = 0
    with path.open("rb") as file:
        try:
            for _, data in read_records(file):
                for part in _framed(data):
                    digest.update(part)
                records += 1
        except DamagedRecordError as error:
            raise OSError(f"{path} is not what was written: {error}") from error
        return records, file.tell(), digest.hexdigest()


def _framed(data: bytes) -> tuple[bytes, bytes, bytes]:
    length = _LENGTH.pack(len(data))
    return length + FOOTER.pack(_masked_crc32c(length)), data, FOOTER.pack(_masked_crc32c(data))


def _masked_crc32c(content: bytes) -> int:
    """The CRC-32C, rotated by 15 bits and shifted by a constant."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
