"""The items of formats with one file for many images.

An entry is what a label file says about one image. All entries are read before the first item, because a later one may
contradict it. Until then their content is in a temporary file. Memory holds the images' names only.
"""

import hashlib
import io
import json
import tempfile
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from boxcar.records.annotation import Annotation, RawObject
from boxcar.records.faults import Fault, FaultyError, shown
from boxcar.records.image_index import ImageIndex
from boxcar.records.images import is_image
from boxcar.records.outline import restored
from boxcar.records.reader import Item, Listing
from boxcar.records.split_names import NO_SPLIT
from boxcar.records.temporary_files import temporary_file_errors

_LEFT_OUT = -1
_OUTLINE = RawObject._fields.index("outline")
_SHOWN = 300  # characters of an image's name, which may be the image itself in base64


class Entry(NamedTuple):
    """What a label file says about one image."""

    images: Sequence[str]  # paths of the image as the file gives it, the most likely first
    annotation: Annotation | FaultyError
    split: int | None = None  # as in `Item`


class EntriesReader(ABC):
    """Reads a format with one file for many images; see `boxcar.records.reader.AnnotationReader`."""

    format: str
    title: str
    suffix: str  # of its files, in lower case

    @abstractmethod
    def entries(self, listing: Listing | None) -> Callable[[BinaryIO], Iterator[Entry]]:
        """What yields the entries of a file, each as soon as it is read, and raises FaultyError for a file that is broken.

        Args:
            listing: all files, which may say how to read each; None if only the names of images are needed.

        Raises:
            BoxcarError: 64 if the files do not say which of two meanings they have.
        """

    def is_annotation(self, name: str) -> bool:
        return name.lower().endswith(self.suffix)

    def image_names(self, content: bytes) -> list[str]:
        return names_in(self.entries(None)(io.BytesIO(content)))

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        return items_of(listing, self.entries(listing))

    def labeled_images(self, listing: Listing) -> set[str]:
        return described(listing)

    def digest(self, content: bytes) -> bytes:
        return digest(content)

    def read(self, content: bytes) -> Annotation:
        return unpacked(content)


def items_of(listing: Listing, entries: Callable[[BinaryIO], Iterator[Entry]]) -> Iterator[Item | Fault]:
    """Every image of a listing, once each, and the faults of the label files.

    An image with two entries that differ is a fault and in no item. If a file cannot be read to its end, images that no entry
    names are in no item either, because the rest of the file may describe them.

    Args:
        entries: of a label file's content; none if the file is no label file. May raise FaultyError.

    Raises:
        BoxcarError: 69 if the temporary file cannot be written.
    """
    index = ImageIndex(listing.names)
    sources = [name for name in listing.names if not is_image(name)]
    with _Store() as store:
        complete = True
        for number, source in enumerate(sources):
            try:
                with listing.open(source) as file:
                    for entry in entries(file):
                        fault = store.add(entry, number, sources, index)
                        if fault is not None:
                            complete &= fault.kind != "same_stem"  # it describes an image, but which is not known
                            yield fault
            except FaultyError as error:
                complete = False
                yield Fault(shown(source), error.kind, f"{error.reason}; images that no other label names were left out")
        yield from store.items(sources)
        if complete:
            yield from (Item(name, None) for name in listing.names if is_image(name) and name not in store)


def described(listing: Listing) -> set[str]:
    """The images that the label files name, by `Listing.image_names`."""
    index = ImageIndex(listing.names)
    found = set()
    for source in listing.names:
        if not is_image(source):
            for given in listing.image_names(source):
                try:
                    found.add(index.find(given, source))
                except FaultyError:
                    continue  # the records step reports it
    return {name for name in found if name is not None}


def names_in(entries: Iterable[Entry]) -> list[str]:
    """The images that a label file names; none if it cannot be read to its end."""
    try:
        return [name for entry in entries for name in entry.images]
    except FaultyError:
        return []  # the records step reports it


def packed(annotation: Annotation) -> bytes:
    """An annotation as an item's part."""
    objects = [item[:-1] if item.outline is None else item for item in annotation.objects]
    return json.dumps((annotation.image, annotation.size, objects, annotation.relative)).encode()


def unpacked(part: bytes) -> Annotation:
    """The annotation in an item's part.

    Raises:
        FaultyError: `broken_labels` if it is none.
    """
    try:
        image, size, objects, relative = json.loads(part)
        found = [RawObject(*item[:_OUTLINE], *map(restored, item[_OUTLINE:])) for item in objects]
        return Annotation(image, size and (size[0], size[1]), found, relative)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise FaultyError("broken_labels", f"its part for this image is broken ({error})") from error


def digest(part: bytes) -> bytes:
    """A digest of 32 bytes of an item's part."""
    return hashlib.sha256(part).digest()


class _Store:
    """The entries that were read so far."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}  # of each image's entry, or _LEFT_OUT
        self._sources, self._splits, self._begins = array("i"), array("b"), array("q")
        self._end = 0

    def __enter__(self) -> "_Store":
        with temporary_file_errors():
            self._file = tempfile.TemporaryFile()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, image: str) -> bool:
        return image in self._numbers

    def add(self, entry: Entry, source: int, sources: Sequence[str], index: ImageIndex) -> Fault | None:
        """Adds an entry of the file `sources[source]`, unless it is faulty."""
        file = shown(sources[source])
        image = None
        # JSON can contain halves of surrogate pairs, which no name of a file does.
        names = [name.encode("utf-8", "replace").decode() for name in entry.images]
        try:
            image = next((name for given in names if (name := index.find(given, sources[source])) is not None), None)
            if image is None:
                raise FaultyError("missing_picture", f"the image {shown(names[0][:_SHOWN])} is missing")
            if isinstance(entry.annotation, FaultyError):
                reason = f"for {shown(image)}, {entry.annotation.reason}"
                raise FaultyError(entry.annotation.kind, reason) from entry.annotation
            self._claim(image, packed(entry.annotation), NO_SPLIT if entry.split is None else entry.split, source, sources)
        except FaultyError as error:
            if image is not None:
                self._numbers[image] = _LEFT_OUT
            return Fault(file, error.kind, error.reason)
        return None

    def _claim(self, image: str, part: bytes, split: int, source: int, sources: Sequence[str]) -> None:
        number = self._numbers.get(image)
        if number == _LEFT_OUT:
            return
        if number is None:
            self._numbers[image] = len(self._sources)
            self._sources.append(source)
            self._splits.append(split)
            self._begins.append(self._end)
            with temporary_file_errors():
                self._file.write(part)
            self._end += len(part)
            return
        if self._splits[number] != split:
            what = "puts it into another split"
        elif self._part(number) != part:
            what = "labels it otherwise"
        else:
            return
        first = self._sources[number]
        other = f"and {shown(sources[first])}" if first != source else "twice, and the second time"
        raise FaultyError("two_annotations", f"{shown(image)} is in it {other} {what}")

    def items(self, sources: Sequence[str]) -> Iterator[Item]:
        for image, number in self._numbers.items():
            if number != _LEFT_OUT:
                split = self._splits[number]
                yield Item(image, sources[self._sources[number]], self._part(number), None if split == NO_SPLIT else split)

    def _part(self, number: int) -> bytes:
        begin = self._begins[number]
        end = self._begins[number + 1] if number + 1 < len(self._begins) else self._end
        with temporary_file_errors():
            self._file.seek(begin)
            part = self._file.read(end - begin)
            self._file.seek(0, 2)
        return part
