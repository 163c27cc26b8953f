"""The check of one image and its annotation: everything that does not depend on other images. It runs in worker processes."""

import errno
import hashlib
import io
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from boxcar.config.class_choice import ClassChoice
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.records.annotation import SIDES, Annotation, LabeledObject, checked_objects, objects_digest, pack
from boxcar.records.checked import NO_TIME, ROW, TREATMENTS, CheckedBatch, Frame, Row
from boxcar.records.faults import Fault, FaultyError, Kind, shown
from boxcar.records.images import LARGEST_FILE, InspectedImage, inspect, taken
from boxcar.records.reader import AnnotationReader, ImageHolder, Item
from boxcar.records.split_names import NO_SPLIT, folder_split
from boxcar.records.workers import note_image
from boxcar.run.own_outputs import is_drawn

LARGEST_ANNOTATION = 10_000_000  # bytes: about 30,000 boxes in XML; readers may have another limit

Unlabeled = Literal["stop", "skip", "background"]

# Folders whose images are negatives although they have no label.
_NEGATIVES = frozenset({"negatives", "negative", "backgrounds", "background"})


@dataclass(frozen=True)
class Batch:
    """A task: some items of a data folder."""

    root: Path
    reader: AnnotationReader
    items: list[Item]
    full_decode: bool
    unlabeled: Unlabeled = "stop"  # what becomes of images that no label describes
    classes: ClassChoice | None = None  # None for all, as they are
    times: bool = False  # whether it matters when images were taken
    most_megapixels: int = MOST_MEGAPIXELS  # of an image


@dataclass
class _Item:
    """What has been found of one item so far."""

    item: Item
    faults: list[Fault] = field(default_factory=list)
    source_digest: bytes = b""
    sha256: bytes = b""
    size: int = 0
    modified: int = 0
    taken: int = NO_TIME
    place: tuple[int, int] | None = None  # of an image that is in its annotation file: the first byte, and how many

    def blame(self, file: str, kind: Kind, reason: str) -> None:
        image, source, part, _, extent, _ = self.item
        if image is not None and source is not None and (extent is not None or (part is not None and file == source)):
            file = source
            reason = f"for {shown(image)}, {reason}"  # the file describes many images
        self.faults.append(Fault(shown(file), kind, reason))


def check(batch: Batch) -> CheckedBatch:
    """Reads and checks the items of a batch.

    Raises:
        BoxcarError: 69 if there is no permission to read a file.
    """
    result = CheckedBatch()
    for place, item in enumerate(batch.items):
        note_image(item.image or item.source or "")
        _check_item(batch, place, _Item(item), result)
    return result


def _is_unlabeled(item: Item) -> bool:
    """Whether an image has no label, and is in no folder for negatives."""
    if item.image is None or item.source is not None:
        return False
    return not any(part.lower() in _NEGATIVES for part in item.image.split("/")[:-1])


def _split(item: Item, image: str) -> int:
    """The split that the annotation gives or, without one, a folder of the image or of the annotation."""
    if item.split is not None:
        return item.split
    split = folder_split(image)
    return folder_split(item.source) if split == NO_SPLIT and item.source is not None else split


def _check_item(batch: Batch, place: int, found: _Item, result: CheckedBatch) -> None:
    image, source = found.item.image, found.item.source
    annotation = None if source is None else _read_annotation(batch, source, found)
    if annotation is not None and found.item.masks is not None:
        annotation = _with_masks(batch.root, found.item.masks, annotation, found, result)
    # If an image is in its annotation, it is found only with that.
    readable = image is not None and (found.item.extent is None or found.place is not None)
    inspected = _read_image(batch, image, found) if readable and image is not None else None
    if image is None and source is not None and annotation is not None:
        stem = shown(source.rpartition("/")[2].rpartition(".")[0])
        also = f' or "{shown(annotation.image)}"' if annotation.image else ""
        found.blame(source, "missing_picture", f'its image is missing: none is named "{stem}"{also}')
    if image is not None and batch.unlabeled == "stop" and not found.faults and _is_unlabeled(found.item):
        found.blame(image, "unlabeled", "it has no label, which would say whether it shows an object")
    if annotation is not None and batch.classes is not None:
        result.named.update(item.name for item in annotation.objects if item.name)
    frame: Frame | None = "shown"
    if annotation is not None and inspected is not None and not found.faults:
        frame = _frame(annotation, inspected, found, result)
    if frame is None and annotation is not None and inspected is not None:
        _take_both(batch, place, found, annotation, inspected, result)
    else:
        _take(batch, found, annotation, inspected, frame == "shown", result)


def _take_both(
    batch: Batch, place: int, found: _Item, annotation: Annotation, inspected: InspectedImage, result: CheckedBatch
) -> None:
    """Takes the annotation of `batch.items[place]` in both frames. The labels of other images decide which of them counts."""
    other, as_shown, as_stored = replace(found, faults=[]), CheckedBatch(), CheckedBatch()
    boxes = _take(batch, found, annotation, inspected, True, as_shown)
    boxes += _take(batch, other, annotation, inspected, False, as_stored)
    result.rows += as_shown.rows
    result.objects += as_shown.objects
    if not boxes:
        result.merge(as_shown)  # nothing depends on the frame
        return
    assert found.item.image is not None
    if not found.faults:
        as_shown.frame_unknown.add(found.item.image)
    if not other.faults:
        as_stored.exif_ignored.add(found.item.image)
    if found.faults or other.faults:  # the boxes fit in one frame only
        result.vote(found.item, "stored" if found.faults else "shown")
    result.hold(found.item, place, as_shown, as_stored)


def _take(
    batch: Batch,
    found: _Item,
    annotation: Annotation | None,
    inspected: InspectedImage | None,
    turn: bool,
    result: CheckedBatch,
) -> int:
    """Checks the objects of an image in one frame, and adds all that was found. The number of boxes, 0 if there is a fault."""
    image, source = found.item.image, found.item.source
    objects, clipped, repeated = list[LabeledObject](), 0, 0
    width, height = (0, 0) if inspected is None else inspected.size(turn)
    # If the size is wrong, every box would be blamed for the same reason.
    if annotation is not None and source is not None and not found.faults:
        objects, clipped, repeated, problems, unused = checked_objects(annotation, width, height, batch.classes)
        for kind, reason in problems:
            found.blame(source, kind, reason)
        if unused and not problems:
            result.unused_outlines += len(unused)
            result.unused_outline = result.unused_outline or f"{shown(image or source)}: {unused[0]}"
    result.faults += found.faults
    row = Row(found.sha256, _digest(found))
    if found.faults or image is None or inspected is None:
        boxes = 0
    elif batch.unlabeled == "skip" and _is_unlabeled(found.item):
        result.skipped.add(image)
        boxes = 0
    else:
        boxes = len(objects)
        if (factor := inspected.reduction) > 1:
            objects = [_reduced(item, factor) for item in objects]
            width, height = -(-width // factor), -(-height // factor)
        digest = objects_digest(found.sha256, objects)
        if objects and not turn and inspected.size(False) == inspected.size(True):
            digest = hashlib.sha256(digest + b"stored").digest()  # the same boxes mean other parts of the image
        packed, look = pack(objects), inspected.look_when(turn)
        row = row._replace(
            sound=True,
            split=_split(found.item, image),
            digest=digest,
            size=found.size,
            modified=found.modified,
            width=width,
            height=height,
            treatment=TREATMENTS.index(inspected.treatment(turn)),
            turn=turn,
            boxes=boxes,
            packed=len(packed),
            look=len(look),
            taken=found.taken,
            offset=-1 if found.place is None else found.place[0],
        )
        result.objects += packed + look
        result.classes.update(item.name for item in objects)
        result.clipped += clipped
        result.difficult += sum(item.difficult > 0 for item in objects)
        result.outlines += sum(item.outline is not None for item in objects)
        if inspected.odd_orientation:
            result.odd_orientations.append(f"{shown(image)} ({shown(inspected.odd_orientation)})")
        result.emptied += annotation is not None and len(annotation.objects) > 0 and not objects
        result.repeated += repeated
        if repeated and source is not None and not result.repeated_in:
            result.repeated_in = source
        if annotation is not None and annotation.crowds:
            result.crowds += annotation.crowds
            result.crowds_in = result.crowds_in or image
        if source is None:
            result.without_annotation.add(image)
    result.rows += ROW.pack(*row)
    return boxes


def _digest(found: _Item) -> bytes:
    """The hash of what was read of a label, and of the split that the labels give, which may be in a file of its own."""
    if found.item.split is None or not found.source_digest:
        return found.source_digest
    return hashlib.sha256(found.source_digest + b"%d" % found.item.split).digest()


def _reduced(item: LabeledObject, factor: int) -> LabeledObject:
    """An object in an image that is stored at a fraction of its size. It has no outline, because its pixels are others."""
    return item._replace(**{side: getattr(item, side) / factor for side in SIDES}, outline=None)


def _read_annotation(batch: Batch, source: str, found: _Item) -> Annotation | None:
    try:
        content = found.item.part
        if content is None:
            limit = largest_annotation(batch.reader)
            content, _ = read_file(batch.root, source, limit, "labels_too_large", found.item.extent)
        found.source_digest = batch.reader.digest(content)
        annotation = batch.reader.read(content)
        if found.item.extent is not None and isinstance(batch.reader, ImageHolder):
            begin, size = batch.reader.image_place(content)
            found.place = found.item.extent[0] + begin, size
        return annotation
    except FaultyError as error:
        found.blame(source, error.kind, error.reason)
    return None


def _with_masks(root: Path, name: str, annotation: Annotation, found: _Item, result: CheckedBatch) -> Annotation:
    """The annotation with the outlines that a PNG has of its objects."""
    from boxcar.records.mask_images import instance_outlines  # which loads NumPy

    try:
        content, _ = read_file(root, name, LARGEST_FILE, "labels_too_large")
        found.source_digest = hashlib.sha256(found.source_digest + hashlib.sha256(content).digest()).digest()
        outlines = instance_outlines(content, annotation.size, len(annotation.objects))
    except (FaultyError, ValueError) as error:
        result.unused_outlines += len(annotation.objects)
        result.unused_outline = result.unused_outline or f"{shown(name)}: {error}"
        return annotation
    with_outlines = zip(annotation.objects, outlines, strict=True)
    return replace(annotation, objects=[item._replace(outline=outline) for item, outline in with_outlines])


def _read_image(batch: Batch, name: str, found: _Item) -> InspectedImage | None:
    try:
        file = name if found.place is None else found.item.source
        assert file is not None
        content, found.modified = read_file(batch.root, file, LARGEST_FILE, "picture_too_large", found.place)
        found.sha256, found.size = hashlib.sha256(content).digest(), len(content)
        if is_drawn(content):
            raise FaultyError("own_output", "`boxcar detect` has drawn boxes on it, so it is no data")
        inspected = inspect(content, batch.full_decode, batch.most_megapixels)
        if batch.times and (time := taken(content)) is not None:
            found.taken = time
        return inspected
    except FaultyError as error:
        found.blame(name, error.kind, error.reason)
    return None


def _frame(annotation: Annotation, image: InspectedImage, found: _Item, result: CheckedBatch) -> Frame | None:
    """The frame of an annotation's boxes by its size; None if that does not tell and matters.

    It does not tell if there is none, or if both frames have the same: that of a square, a half turn, or a mirror image.
    """
    size, stored, turned = annotation.size, image.size(False), image.size(True)
    if size is not None and size not in (stored, turned):
        also = f", {turned[0]}×{turned[1]} when turned" if stored != turned else ""
        assert found.item.source is not None
        reason = f"it says {size[0]}×{size[1]}, the image is {stored[0]}×{stored[1]}{also}"
        found.blame(found.item.source, "size_mismatch", reason)
        return "shown"
    if size is not None and stored != turned:
        frame: Frame = "shown" if size == turned else "stored"
        result.vote(found.item, frame)
        return frame
    return "shown" if image.orientation == 1 or not annotation.objects else None


def largest_annotation(reader: AnnotationReader) -> int:
    """How many bytes an annotation file may have."""
    return getattr(reader, "largest_file", LARGEST_ANNOTATION)


def read_file(root: Path, name: str, limit: int, too_large: Kind, place: tuple[int, int] | None = None) -> tuple[bytes, int]:
    """A data file's bytes, and its modification time in nanoseconds, modulo 2^63 (a file may be dated after the year 2262).

    Args:
        root: the data folder.
        name: of the file.
        limit: how many bytes may be read.
        too_large: the fault if there are more.
        place: the first byte to read, and how many; None for the whole file. If the file ends before, there are fewer.

    Raises:
        FaultyError: if it is gone, not a regular file, or larger than `limit` bytes.
        BoxcarError: 69 if there is no permission to read it.
    """
    unusable: Kind = "broken_labels" if too_large == "labels_too_large" else "not_a_picture"
    with open_data_file(root, name, unusable) as file:
        status = os.fstat(file.fileno())
        begin, size = place or (0, status.st_size)
        if size > limit:
            raise FaultyError(too_large, f"it has {size:,} bytes; the limit is {limit:,}")
        try:
            file.seek(begin)
            content = file.readall() if place is None else file.read(size)
            return content, status.st_mtime_ns % 2**63
        except OSError as error:
            raise _unreadable(f"{root}/{name}", error) from error


def open_data_file(root: Path, name: str, unusable: Kind = "broken_labels") -> io.FileIO:
    """Opens a data file for reading.

    Raises:
        FaultyError: `unusable` if it is gone or not a regular file.
        BoxcarError: 69 if there is no permission to read it.
    """
    path = f"{root}/{name}"
    try:
        # Without O_NONBLOCK, opening a named pipe would block.
        file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            raise FaultyError(unusable, "it is a broken link") from error
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FaultyError(unusable, "it is not a file")
    return file


def _unreadable(path: str, error: OSError) -> BoxcarError:
    what = f"{shown(path)} cannot be read: {error.strerror or error}."
    return BoxcarError(ExitCode.ENVIRONMENT, what, "Change its permissions so that you can read it.", again=True)
