"""TFRecords of the Object Detection API: files with the images and their labels, and a label map (.pbtxt) beside them.

Each record is a `tf.train.Example`. Boxes are shares of the stored image's width and height. The class of a box is its name in
`image/object/class/text` or else its number in the label map. Crowds are left out. `image/object/mask` has a PNG for each box.

Images are read at their places in the files, which are not unpacked. An image has the name of the file without its suffix and
number, as a folder, and then the name that the record gives: `train/cam1/a.jpg` in `train.record-00003-of-00010`.
"""

import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, NamedTuple, cast

from boxcar.data.tfrecord import FOOTER, HEADER, DamagedRecordError, find_records, fits_checksum, is_header
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import SIDES, Annotation, RawObject
from boxcar.records.example_reader import Features, NoExampleError, Place, bytes_places, feature_places
from boxcar.records.faults import Fault, FaultyError, shown
from boxcar.records.formats.label_maps import read_label_maps
from boxcar.records.images import LARGEST_FILE, is_image
from boxcar.records.outline import Mask, Outline
from boxcar.records.reader import DataFiles, Item, Listing, Recognized
from boxcar.records.shapes import class_name
from boxcar.records.split_names import NO_SPLIT, folder_split, mentioned_split

_SUFFIX = r"\.(?:tfrec|(?:tf)?records?)"
_NUMBER = r"-\d{5}-of-\d{5}"
_NAME = re.compile(rf"(.*?)(?:{_SUFFIX}(?:{_NUMBER})?|{_NUMBER}(?:{_SUFFIX})?)(?:\.gz)?", re.IGNORECASE)
_LOOKED_AT = 20  # files, by which the format is recognized
_BEGINNING = 4096  # bytes
_LONGEST_NAME = 200  # bytes of a part of an image's name
_ENCODED = "image/encoded"


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes files that begin with the header of a record, unless the record is another Example than that of an image.

    Raises:
        BoxcarError: 65 if the files are compressed, or a label map is broken; 64 if label maps differ.
    """
    compressed = None
    for name in islice(filter(_is_record_file, files.names), _LOOKED_AT):
        beginning = files.beginning(name, _BEGINNING)
        if is_header(beginning) and _may_hold_images(files, name):
            labels, maps = read_label_maps(files)
            images = [other for other in files.names if is_image(other)]
            count = f"{len(images)} image files" if len(images) > 1 else "1 image file"
            note = f"{count} beside the TFRecords, such as {shown(images[0])}, were left out." if images else ""
            return Recognized(TfRecordReader(labels, maps), name, (note,) if note else ())
        if compressed is None and _is_compressed(beginning):
            compressed = name
    if compressed is not None:
        what = f"{shown(compressed)} is compressed, so that the images in it cannot be read one by one."
        raise BoxcarError(ExitCode.DATA, what, "Unpack it, for example with gunzip, or write it without compression.")
    return None


def _is_record_file(name: str) -> bool:
    return _NAME.fullmatch(name.rpartition("/")[2]) is not None


def _may_hold_images(files: DataFiles, name: str) -> bool:
    """Whether the first record is an image's. A damaged one may be."""
    try:
        with files.open(name) as file:
            buffered = _buffered(file)
            begin, size = next(find_records(buffered))
            return _ENCODED in feature_places(buffered, (begin, begin + size))
    except (DamagedRecordError, NoExampleError):
        return True


def _is_compressed(beginning: bytes) -> bool:
    """Whether bytes are the beginning of records in the compressions of TensorFlow, gzip and zlib."""
    try:
        return is_header(zlib.decompressobj(wbits=47).decompress(beginning, HEADER.size))  # 47: either
    except zlib.error:
        return False


class _Held(NamedTuple):
    """An image in a file."""

    name: str
    source: str
    extent: tuple[int, int]
    split: int | None


@dataclass(frozen=True)
class TfRecordReader:
    """Reads TFRecords; see `boxcar.records.reader.ImageHolder`.

    Attributes:
        labels: the classes by id; empty without a label map.
        label_maps: the files that they are from.
    """

    labels: Mapping[int, str] = field(default_factory=dict)
    label_maps: tuple[str, ...] = ()

    format = "tfrecord"
    title = "TFRecord"
    largest_file = LARGEST_FILE

    def is_annotation(self, name: str) -> bool:
        return _is_record_file(name) or name in self.label_maps

    def image_names(self, content: bytes) -> list[str]:
        return []

    def labeled_images(self, listing: Listing) -> set[str]:
        return set(filter(_is_record_file, listing.names))

    def held_images(self, names: Sequence[str], open: Callable[[str], BinaryIO]) -> list[str]:
        return [found.name for found in self._held(names, open) if isinstance(found, _Held)]

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        for found in self._held(listing.names, listing.open):
            yield found if isinstance(found, Fault) else Item(found.name, found.source, None, found.split, found.extent)

    def _held(self, names: Sequence[str], open: Callable[[str], BinaryIO]) -> Iterator[_Held | Fault]:
        """The images in the files, always in the same order, and the faults of files and of records without an Example."""
        free = _FreeNames()
        for source in names:
            if is_image(source) or not _is_record_file(source):
                continue
            split = mentioned_split(_series(source).rpartition("/")[2])
            split = folder_split(source) if split == NO_SPLIT else split
            try:
                with open(source) as file:
                    buffered = _buffered(file)
                    for number, (begin, size) in enumerate(find_records(buffered), start=1):
                        if size > LARGEST_FILE:
                            reason = f"its record {number} has {size:,} bytes; the limit is {LARGEST_FILE:,}"
                            yield Fault(shown(source), "labels_too_large", reason)
                            continue
                        name = free.name(f"{_series(source)}/{_name(buffered, (begin, begin + size), number)}")
                        extent = begin, size + FOOTER.size
                        yield _Held(name, source, extent, None if split == NO_SPLIT else split)
            except DamagedRecordError as error:
                yield Fault(shown(source), "broken_labels", f"{error}; what follows it was left out")
            except FaultyError as error:
                yield Fault(shown(source), error.kind, error.reason)

    def digest(self, content: bytes) -> bytes:
        return hashlib.sha256(repr(self.labels).encode() + content).digest()

    def hashes(self, file: BinaryIO) -> tuple[str, list[str]]:
        """As in `ImageHolder`. What is behind a damaged record counts by its size only."""
        digest, images = hashlib.sha256(), []
        buffered = _buffered(file)
        digest.update(b"%d" % buffered.seek(0, io.SEEK_END))
        try:
            for begin, size in find_records(buffered):
                buffered.seek(begin)
                content = buffered.read(min(size, LARGEST_FILE) + FOOTER.size)
                digest.update(content)
                try:
                    at, length = self.image_place(content)
                except FaultyError:
                    continue  # the records step reports it
                images.append(hashlib.sha256(content[at : at + length]).hexdigest())
        except DamagedRecordError:
            pass  # the records step reports it
        return digest.hexdigest(), images

    def image_place(self, content: bytes) -> tuple[int, int]:
        file = io.BytesIO(content)
        try:
            places = feature_places(file, (0, len(content) - FOOTER.size))
            images = bytes_places(file, places[_ENCODED]) if _ENCODED in places else []
        except NoExampleError as error:
            raise FaultyError("broken_labels", f"its record is no tf.train.Example ({error})") from error
        if len(images) != 1:
            raise FaultyError("broken_labels", f"its record has {len(images)} images instead of one in {_ENCODED}")
        begin, end = images[0]
        return begin, end - begin

    def read(self, content: bytes) -> Annotation:
        """The labels in a record and its checksum.

        Raises:
            FaultyError: `broken_labels`, `labels_too_large`, `unknown_class`, or `only_crowds`.
        """
        if not fits_checksum(content[: -FOOTER.size], content[-FOOTER.size :]):
            raise FaultyError("broken_labels", "its record does not fit its checksum")
        features = Features(content[: -FOOTER.size])
        sides = [features.floats(f"image/object/bbox/{side}") for side in SIDES]
        texts = [class_name(text.decode("utf-8", "replace")) for text in features.texts("image/object/class/text")]
        numbers = features.integers("image/object/class/label")
        count = len(sides[0])
        if {len(side) for side in sides} != {count} or {len(texts), len(numbers)} - {0, count}:
            lengths = ", ".join(map(str, (*map(len, sides), len(texts), len(numbers))))
            raise FaultyError("broken_labels", f"its lists of sides, texts, and numbers differ in length: {lengths}")
        crowds = features.flags("image/object/is_crowd", count)
        difficult, truncated = (features.flags(f"image/object/{name}", count) for name in ("difficult", "truncated"))
        views = features.texts("image/object/view") if count else []
        outlines = _outlines(features.texts("image/object/mask"), crowds) if count else []
        objects = []
        for at in range(count):
            if not crowds[at]:
                name = self._class(at, texts[at] if texts else "", numbers[at] if numbers else None)
                view = class_name(views[at].decode("utf-8", "replace")) if len(views) == count else ""
                box = (sides[0][at], sides[1][at], sides[2][at], sides[3][at])
                outline = outlines[at] if outlines else None
                objects.append(RawObject(name, box, difficult[at], truncated[at], view or "Unspecified", outline))
        if count and not objects:
            raise FaultyError("only_crowds", "it has only crowds")
        height, width = (features.integers(f"image/{side}") for side in ("height", "width"))
        size = (width[0], height[0]) if len(width) == len(height) == 1 and width[0] > 0 and height[0] > 0 else None
        return Annotation(None, size, objects, relative=True, crowds=count - len(objects))

    def _class(self, at: int, text: str, number: int | None) -> str:
        """The class of a box. The number is without meaning if there is no label map."""
        known = None if number is None else self.labels.get(number)
        known = None if known is None else class_name(known)
        where = " and ".join(map(shown, self.label_maps))
        if text and known and text != known:
            reason = f"box {at + 1} is {text[:60]} in class/text, but its number {number} is {known[:60]} in {where}"
            raise FaultyError("unknown_class", reason)
        if not text and known is None and number is not None:
            why = f"which {where} does not have" if where else "and no label map says which that is"
            raise FaultyError("unknown_class", f"box {at + 1} has the class {number} without a text, {why}")
        return text or known or ""


def _outlines(masks: Sequence[bytes], crowds: Sequence[int]) -> list[Outline | None]:
    """The outline of each object, unchecked, from the PNGs of the masks; nothing unless there is one for each.

    Raises:
        FaultyError: `labels_too_large`.
    """
    if len(masks) != len(crowds):
        return []
    from boxcar.records.mask_images import decoded_mask  # which loads NumPy
    from boxcar.records.masks import MOST_MASK_PIXELS, mask_of

    found: list[Outline | None] = []
    total = 0
    for png, crowd in zip(masks, crowds, strict=True):
        try:
            pixels = None if crowd else decoded_mask(png)
        except ValueError:
            found.append(Outline((), [Mask(0, 0, "")]))  # the check of the outline reports it
            continue
        found.append(None if pixels is None else Outline((), [mask_of(pixels != 0)]))
        total += 0 if pixels is None else pixels.size
        if total > MOST_MASK_PIXELS:
            raise FaultyError("labels_too_large", f"its masks have more than {MOST_MASK_PIXELS:,} pixels")
    return found


class _FreeNames:
    """Gives each image a name of its own."""

    def __init__(self) -> None:
        self._taken = set[str]()
        self._counts: dict[str, int] = {}  # of images with the same name, if there are several

    def name(self, wanted: str) -> str:
        name = wanted
        while name in self._taken:
            count = self._counts[wanted] = self._counts.get(wanted, 1) + 1
            stem, _, suffix = wanted.rpartition(".")
            name = f"{stem}-{count}.{suffix}"
        self._taken.add(name)
        return name


def _series(source: str) -> str:
    """A file's name without its suffix and its number among the shards: `data/train` for `data/train.record-00000-of-00010`."""
    folder, slash, base = source.rpartition("/")
    found = _NAME.fullmatch(base)
    return folder + slash + ((found and found[1]) or base)


def _name(file: BinaryIO, example: Place, number: int) -> str:
    """The name of an image in its record, with a suffix of images, or one by the record's number."""
    given, suffix = "", ".jpg"
    try:
        places = feature_places(file, example)
        names = _small_texts(file, places.get("image/filename"))
        given = names[0].decode("utf-8", "surrogateescape") if names else ""
        if [text.lower() for text in _small_texts(file, places.get("image/format"))] == [b"png"]:
            suffix = ".png"
    except NoExampleError:
        pass  # the check of the record reports it
    parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if given[:1] in ("/", "\\") or given[1:2] == ":":
        parts = parts[-1:]  # folders of another computer
    # What no file can be called, although images are written under these names.
    impossible = any(len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME for part in parts) or "\0" in given
    if not parts or impossible:
        parts = [f"{number:06d}"]
    return "/".join(parts) + ("" if is_image(parts[-1]) else suffix)


def _small_texts(file: BinaryIO, feature: Place | None) -> list[bytes]:
    """The values of a feature with texts; none if they are large."""
    if feature is None or feature[1] - feature[0] > _BEGINNING:
        return []
    found = []
    for begin, end in bytes_places(file, feature):
        file.seek(begin)
        found.append(file.read(end - begin))
    return found


def _buffered(file: BinaryIO) -> io.BufferedReader:
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", file))
