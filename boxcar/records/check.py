"""The check of one image and its annotation: all that can be said of them without the others. It runs in worker processes."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import Annotation, LabelledObject, checked_objects, packed
from boxcar.records.faults import Fault, FaultyError, Kind, shown
from boxcar.records.images import LARGEST_FILE, InspectedImage, Treatment, inspect
from boxcar.records.reader import AnnotationReader, Item
from boxcar.records.split import folder_split

LARGEST_ANNOTATION = 10_000_000  # bytes; some thirty thousand boxes in XML

# Into the table whose schema is `split.SCHEMA`.
INSERT = (
    "INSERT INTO pictures"
    " (name, sha256, folder, size, modified, width, height, treatment, turn, objects, digest)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True)
class Batch:
    """A task: some items of a data folder."""

    root: Path
    reader: AnnotationReader
    items: list[Item]
    full_decode: bool


@dataclass
class CheckedItem:
    """The result for one item. Sizes and boxes are those of the image as its record will hold it."""

    item: Item
    image_sha256: bytes = b""
    source_digest: bytes = b""
    size: int = 0  # bytes of the image's file
    modified: int = 0  # nanoseconds since the epoch, to notice a change before the second reading
    width: int = 0
    height: int = 0
    treatment: Treatment = "keep"
    turn: bool = False
    objects: list[LabelledObject] = field(default_factory=list)
    clipped: int = 0
    faults: list[Fault] = field(default_factory=list)

    def blame(self, file: str, kind: Kind, reason: str) -> None:
        self.faults.append(Fault(shown(file), kind, reason))


@dataclass
class CheckedBatch:
    """The results for many items: rows for the tables `inputs` and `pictures`, and what is in no table."""

    read: list[tuple[str, bytes]] = field(default_factory=list)  # (name, SHA-256) of every file
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # what INSERT takes; images without a fault only
    faults: list[Fault] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    clipped: int = 0
    without_annotation: int = 0

    def merge(self, other: "CheckedBatch") -> None:
        """Adds another batch's results, but for its rows."""
        self.faults += other.faults
        self.classes |= other.classes
        self.clipped += other.clipped
        self.without_annotation += other.without_annotation

    def add(self, checked: CheckedItem) -> None:
        image, source, _ = checked.item
        if image is not None:
            self.read.append((image, checked.image_sha256))
        if source is not None:
            self.read.append((source, checked.source_digest))
        self.faults += checked.faults
        if checked.faults:
            return
        assert image is not None
        boxes = sorted(item[:5] for item in checked.objects)
        self.classes.update(item.name for item in checked.objects)
        self.clipped += checked.clipped
        self.without_annotation += source is None
        self.rows.append(
            (
                os.fsencode(image),
                checked.image_sha256,
                folder_split(image) or (folder_split(source) if source is not None else None),
                checked.size,
                checked.modified,
                checked.width,
                checked.height,
                checked.treatment,
                checked.turn,
                packed(checked.objects),
                hashlib.sha256(checked.image_sha256 + repr(boxes).encode()).digest(),
            )
        )


def check(batch: Batch, advance: Callable[[int], None]) -> CheckedBatch:
    """Reads and checks the items of a batch.

    Raises:
        BoxcarError: 69 where a file may not be read.
    """
    result = CheckedBatch()
    for item in batch.items:
        result.add(_checked(batch, item))
    advance(sum(item.image is not None for item in batch.items))
    return result


def _checked(batch: Batch, item: Item) -> CheckedItem:
    result = CheckedItem(item)
    annotation = image = None
    if item.source is not None:
        annotation = _read_annotation(batch, item, item.source, result)
    if item.image is not None:
        image = _read_image(batch.root, item.image, batch.full_decode, result)
    elif annotation is not None and item.source is not None:
        stem = shown(item.source.rpartition("/")[2].rpartition(".")[0])
        also = f' or "{shown(annotation.image)}"' if annotation.image else ""
        result.blame(item.source, "missing_picture", f'its image is missing: none is named "{stem}"{also}')
    if image is not None and not result.faults:
        _fit(annotation, image, result)
    return result


def _read_annotation(batch: Batch, item: Item, source: str, result: CheckedItem) -> Annotation | None:
    try:
        content = item.part
        if content is None:
            content, _ = read_file(batch.root, source, LARGEST_ANNOTATION, "xml_too_large")
        result.source_digest = batch.reader.digest(content)
        return batch.reader.read(content)
    except FaultyError as error:
        result.blame(source, error.kind, error.reason)
    return None


def _read_image(root: Path, name: str, full_decode: bool, result: CheckedItem) -> InspectedImage | None:
    try:
        content, status = read_file(root, name, LARGEST_FILE, "picture_too_large")
        result.image_sha256 = hashlib.sha256(content).digest()
        result.size, result.modified = status.st_size, status.st_mtime_ns
        return inspect(content, full_decode)
    except FaultyError as error:
        result.blame(name, error.kind, error.reason)
    return None


def _fit(annotation: Annotation | None, image: InspectedImage, result: CheckedItem) -> None:
    """Finds out which way up the image was labelled, and checks the boxes in it.

    Where both ways have the same size (a square, a half turn, a mirror image) or the annotation has none, the image is taken
    as turned, because labelImg and every other program show it so.
    """
    size = annotation.size if annotation is not None else None
    stored = (image.width, image.height)
    result.turn = size is None or size == image.turned_size
    if size is not None and size not in (stored, image.turned_size):
        turned = f", {'×'.join(map(str, image.turned_size))} when turned" if stored != image.turned_size else ""
        assert result.item.source is not None
        result.blame(
            result.item.source,
            "size_mismatch",
            f"it says {size[0]}×{size[1]}, the image is {stored[0]}×{stored[1]}{turned}",
        )
    result.width, result.height = image.turned_size if result.turn else stored
    result.treatment = image.treatment(result.turn)
    if annotation is not None and result.item.source is not None:
        # After a wrong size every box would be blamed too, for the same reason.
        if result.faults:
            return
        result.objects, result.clipped, problems = checked_objects(annotation, result.width, result.height)
        for kind, reason in problems:
            result.blame(result.item.source, kind, reason)


def read_file(root: Path, name: str, limit: int, too_large: Kind) -> tuple[bytes, os.stat_result]:
    """A data file's bytes and its status.

    Raises:
        FaultyError: it is gone, no plain file, or larger than `limit` bytes.
        BoxcarError: 69 where it may not be read.
    """
    unusable: Kind = "broken_xml" if too_large == "xml_too_large" else "not_a_picture"
    path = f"{root}/{name}"
    try:
        # Without O_NONBLOCK a named pipe would be waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FaultyError(unusable, "it is not a file")
            if status.st_size > limit:
                raise FaultyError(too_large, f"it has {status.st_size:,} bytes; {limit:,} are the most")
            return file.readall(), status
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            raise FaultyError(unusable, "it is a link to nothing") from error
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{shown(path)} cannot be read: {error.strerror or error}.",
            "Give yourself the right to read it, then run the same command again.",
        ) from error
