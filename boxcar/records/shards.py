"""Writes the records of one shard and reads them back. Runs in worker processes."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Literal

from boxcar.data.box_shapes import grid_steps
from boxcar.data.tfrecord import verify, write_record
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import LabeledObject, unpack
from boxcar.records.check import read_file
from boxcar.records.checked import ROW, TREATMENTS, Row
from boxcar.records.example_writer import encoded_example
from boxcar.records.faults import FaultyError, shown
from boxcar.records.images import LARGEST_FILE, stored_bytes
from boxcar.records.workers import note_image
from boxcar.storage.local_files import os_errors


@dataclass(frozen=True)
class Shard:
    """A task: one shard to write. Its images have been checked and are without faults.

    Args:
        path: the file to write.
        root: the data folder.
        names: of its images, in their order.
        files: in which they are; the same names, except for images that are in annotation files.
        rows: of these images, packed with `check.ROW`.
        objects: theirs, packed, one image's after the other's.
        ids: each class's id.
        ignores_difficult: as for `encoded_example`.
        masks: whether the records have a mask of each object.
    """

    path: Path
    root: Path
    names: list[str]
    files: list[str]
    rows: bytes
    objects: bytes
    ids: dict[str, int]
    ignores_difficult: bool = False
    masks: bool = False

    def images(self) -> Iterator[tuple[str, str, Row, bytes]]:
        """Each image's name, file, row, and packed objects."""
        begin = 0
        rows = map(Row._make, ROW.iter_unpack(self.rows))
        for name, file, row in zip(self.names, self.files, rows, strict=True):
            yield name, file, row, self.objects[begin : begin + row.packed]
            begin += row.packed


@dataclass
class ShardCounts:
    """The objects of one shard in numbers."""

    per_class: Counter[str] = field(default_factory=Counter)
    boxes: "array[float]" = field(default_factory=lambda: array("f"))  # square roots of box area / image area
    outlines: int = 0  # objects that have one
    shapes: Counter[tuple[str, int, int]] = field(default_factory=Counter)  # as `box_shapes.write_box_shapes` takes them

    def add(self, width: int, height: int, objects: Sequence[LabeledObject]) -> None:
        """Counts the objects of an image of `width` × `height` pixels."""
        self.per_class.update([item.name for item in objects])
        self.outlines += sum(item.outline is not None for item in objects)
        area = width * height
        self.boxes.extend([sqrt((item.xmax - item.xmin) * (item.ymax - item.ymin) / area) for item in objects])
        self.shapes.update(
            [
                (item.name, grid_steps((item.ymax - item.ymin) / height), grid_steps((item.xmax - item.xmin) / width))
                for item in objects
            ]
        )


@dataclass(frozen=True)
class WrittenShard:
    """A shard that has been read back."""

    name: str
    bytes: int
    sha256: str
    counts: ShardCounts


def write_shard(shard: Shard) -> WrittenShard:
    """Writes a shard and compares its checksums.

    Raises:
        BoxcarError: 69 if it cannot be written or reads back differently; 65 if an image has changed since it was checked.
    """
    counts = ShardCounts()
    with os_errors(shard.path):
        with shard.path.open("xb", buffering=0) as file:
            for name, source, row, packed in shard.images():
                note_image(name)
                image = stored_image(shard.root, source, row)
                write_record(file, _record(shard, name, row, image, unpack(packed), counts))
        records, size, digest = verify(shard.path)
        if records != len(shard.names):
            raise OSError(f"{shard.path} holds {records} records instead of {len(shard.names)}")
    return WrittenShard(shard.path.name, size, digest, counts)


def _record(
    shard: Shard, name: str, row: Row, image: tuple[bytes, str], objects: list[LabeledObject], counts: ShardCounts
) -> list[bytes]:
    encoded, image_format = image
    counts.add(row.width, row.height, objects)
    return encoded_example(
        encoded,
        image_format,
        row.width,
        row.height,
        name,
        source_id(row.sha256, row.occurrence),
        row.sha256.hex(),
        objects,
        shard.ids,
        shard.ignores_difficult,
        _masks(name, row, objects) if shard.masks else None,
    )


def _masks(name: str, row: Row, objects: Sequence[LabeledObject]) -> list[bytes]:
    """The PNGs of the objects' masks.

    Raises:
        BoxcarError: 65 if they are too large, which is found here for images without any outline.
    """
    from boxcar.records.mask_png import mask_png  # which loads NumPy
    from boxcar.records.masks import MOST_MASK_PIXELS

    if (pixels := len(objects) * row.width * row.height) > MOST_MASK_PIXELS:
        limit = f"the limit is {MOST_MASK_PIXELS:,}"
        what = f"The masks of the {len(objects):,} objects in {shown(name)} have {pixels:,} pixels; {limit}."
        raise BoxcarError(ExitCode.DATA, what, "Remove the image, or the outlines of the others.")
    return [mask_png(item.outline, item[1:5], row.width, row.height) for item in objects]


def checked_content(root: Path, file: str, row: Row) -> bytes:
    """The bytes of an image in the data folder `root`.

    Args:
        root: the data folder.
        file: in which the image is, as `Source.file_of` returned it.
        row: what its check found.

    Raises:
        FaultyError: they are no longer those that were checked, or the file is gone.
        BoxcarError: 69 if it cannot be read.
    """
    place = None if row.offset < 0 else (row.offset, row.size)
    content, modified = read_file(root, file, LARGEST_FILE, "picture_too_large", place)
    if (len(content), modified) != (row.size, row.modified):
        raise FaultyError("not_a_picture", "it is no longer the file that was checked")
    return content


def stored_image(root: Path, file: str, row: Row) -> tuple[bytes, Literal["jpeg", "png"]]:
    """The bytes of an image as its record stores it, and their format.

    Args:
        root, file, row: as for `checked_content`.

    Raises:
        BoxcarError: 65 if the file has changed since; 69 if it cannot be read.
    """
    try:
        return stored_bytes(checked_content(root, file, row), TREATMENTS[row.treatment], row.turn)
    except FaultyError as error:
        raise BoxcarError(
            ExitCode.DATA,
            f"{shown(file)} changed while its record was being written ({error}).",
            "Leave the data folder unchanged.",
            again=True,
        ) from error


def source_id(sha256: bytes, occurrence: int) -> int:
    """A number below 2^52 (also exact as float64) that depends only on the image's content. Each copy has its own."""
    return int.from_bytes(hashlib.sha256(sha256 + b"%d" % occurrence).digest()[:8], "big") >> 12
