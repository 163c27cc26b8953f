"""One shard: its records are written, then read back."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from boxcar.data.tfrecord import verify, write_record
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import unpacked
from boxcar.records.check import read_file
from boxcar.records.example_writer import encoded_example
from boxcar.records.faults import FaultyError, shown
from boxcar.records.images import LARGEST_FILE, Treatment, stored_bytes
from boxcar.records.summary import Counts
from boxcar.storage.local import os_errors

_ADVANCE = 64  # pictures between two words of progress


@dataclass(frozen=True)
class Stored:
    """A picture that was examined and found sound, with its place among byte-identical ones."""

    name: bytes
    sha256: bytes
    occurrence: int
    size: int
    modified: int
    width: int
    height: int
    treatment: Treatment
    turn: bool
    objects: str  # as `voc.packed` makes it


@dataclass(frozen=True)
class Shard:
    """A task: the file to write, the pictures in their order, and each class's id."""

    path: Path
    root: Path
    pictures: list[Stored]
    ids: dict[str, int]


@dataclass(frozen=True)
class Written:
    """A shard that has been read back."""

    name: str
    bytes: int
    sha256: str
    counts: Counts


def write_shard(shard: Shard, advance: Callable[[int], None]) -> Written:
    """Writes a shard and compares its checksums.

    Raises:
        BoxcarError: 69 where it cannot be written or does not read back; 65 where a picture has changed since it was
            examined.
    """
    counts = Counts()
    with os_errors(shard.path):
        with shard.path.open("xb", buffering=0) as file:
            for number, picture in enumerate(shard.pictures, start=1):
                write_record(file, _record(shard, picture, counts))
                if number % _ADVANCE == 0:
                    advance(_ADVANCE)
        records, size, digest = verify(shard.path)
        if records != len(shard.pictures):
            raise OSError(f"{shard.path} holds {records} records instead of {len(shard.pictures)}")
    advance(len(shard.pictures) % _ADVANCE)
    return Written(shard.path.name, size, digest, counts)


def _record(shard: Shard, picture: Stored, counts: Counts) -> list[bytes]:
    try:
        content, status = read_file(shard.root, os.fsdecode(picture.name), LARGEST_FILE, "picture_too_large")
        if (status.st_size, status.st_mtime_ns) != (picture.size, picture.modified):
            raise FaultyError("not_a_picture", "it is not the file that was examined")
        encoded, image_format = stored_bytes(content, picture.treatment, picture.turn)
    except FaultyError as error:
        raise BoxcarError(
            ExitCode.DATA,
            f"{shown(os.fsdecode(picture.name))} has changed while records were being made of it ({error}).",
            "Let the data folder rest, then run the same command again.",
        ) from error
    objects = unpacked(picture.objects)
    counts.add(picture.width, picture.height, picture.treatment != "keep", objects)
    return encoded_example(
        encoded,
        image_format,
        picture.width,
        picture.height,
        picture.name,
        source_id(picture.sha256, picture.occurrence),
        picture.sha256.hex(),
        objects,
        shard.ids,
    )


def source_id(sha256: bytes, occurrence: int) -> int:
    """A number below 2^52, exact as a float64 too, that depends on the picture's content alone; each copy has its own."""
    return int.from_bytes(hashlib.sha256(sha256 + b"%d" % occurrence).digest()[:8], "big") >> 12
