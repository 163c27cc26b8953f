"""What the records step and retraining need from an annotation format.

A format is one file in `boxcar.records.formats`. There are three kinds:

- One file per image (Pascal VOC, YOLO): `items` pairs images and annotation files by their names, with
  `boxcar.records.pairing`, and `read` gets the whole file.
- One file for many images (COCO, CSV): `items` reads the file once, yields an `Item` for each image, and puts the text about
  that image into `Item.part`, which `read` gets. `boxcar.records.image_index` finds the images that the file names. If the
  lines about one image are not together, `items` sorts the file through a temporary file first, so that memory does not grow
  with the number of objects.

- A file with the images themselves (TFRecord): the reader is an `ImageHolder`.

Between the items, `items` yields the faults of files as a whole and of the pairing. The faults of single images are found
later, in worker processes, when `read` gets their content.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

from boxcar.records.annotation import Annotation
from boxcar.records.faults import Fault, FaultyError


class Item(NamedTuple):
    """An image and its annotation. Names are relative to the data folder; bytes that are not UTF-8 are surrogates."""

    image: str | None  # None if an annotation has no image
    source: str | None  # the annotation file; None if the image has none
    part: bytes | None = None  # this image's part of a file that describes many images
    split: int | None = None  # the one that the format gives, an index into `split_names.SPLITS`; None if the folder decides
    extent: tuple[int, int] | None = None  # where the image and its annotation are in the source: the first byte, and how many
    masks: str | None = None  # a PNG with the masks of the objects, as `mask_images.instance_outlines` reads it


@dataclass(frozen=True)
class DataFiles:
    """All files of a data folder, local or in a bucket, by which a format is recognized.

    Attributes:
        names: of all files that are neither hidden nor Boxcar's own, sorted, relative to the folder and with slashes; bytes
            that are not UTF-8 are surrogates.
        open: opens a file. Raises FaultyError if it is not a regular file.
    """

    names: Sequence[str]
    open: Callable[[str], BinaryIO]

    def beginning(self, name: str, size: int = 4096) -> bytes:
        """The first bytes of a file; none if it is not a regular file, which its check reports."""
        try:
            with self.open(name) as file:
                return file.read(size)
        except FaultyError:
            return b""


@dataclass(frozen=True)
class Listing:
    """The files of a data folder, local or in a bucket.

    Attributes:
        names: of all images and annotation files, sorted, relative to the folder and with slashes.
        image_names: the images that an annotation file names, as the reader's `image_names` found them. For a bucket, they
            come from the previous listing if the file is unchanged.
        open: as in `DataFiles`.
        masks: the PNG files with masks of objects, for a reader that uses them.
    """

    names: Sequence[str]
    image_names: Callable[[str], Sequence[str]]
    open: Callable[[str], BinaryIO]
    masks: Sequence[str] = ()


class Recognized(NamedTuple):
    """That a data folder has labels of a format."""

    reader: "AnnotationReader"
    file: str  # one of its label files, by which it was recognized
    notes: tuple[str, ...] = ()  # what the person should know about how the files were understood, one sentence each


class AnnotationReader(Protocol):
    """Reads one label format. It does not change after it was made, and can be sent to another process.

    Attributes:
        format: its name, as `--format` takes it.
        title: its name, as people write it.

    A reader of one file per image may have an attribute `largest_file`: how many bytes such a file may have, if other than
    `check.LARGEST_ANNOTATION`. One that gives its items `masks` has an attribute `uses_masks`.
    """

    format: str
    title: str

    def is_annotation(self, name: str) -> bool:
        """Whether a file of this name holds annotations of this format."""

    def image_names(self, content: bytes) -> list[str]:
        """The images that an annotation file names, without their folders; none if it cannot be read."""

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        """Every image and annotation of a listing, once each, and the faults of their pairing."""

    def labeled_images(self, listing: Listing) -> set[str]:
        """The images that an annotation describes, found without opening a file. Ambiguous ones may be left out."""

    def read(self, content: bytes) -> Annotation:
        """The annotation in an item's part or, without a part, in its extent or its whole source.

        Raises:
            FaultyError: it cannot be understood.
        """

    def digest(self, content: bytes) -> bytes:
        """A digest of 32 bytes that is equal for items with the same content."""


@runtime_checkable
class ImageHolder(AnnotationReader, Protocol):
    """Reads a format whose files hold the images themselves, so that files with images beside them are not data.

    An item of it has an extent instead of a part. The names of its images are not those of files, but may look like them.
    `labeled_images` returns the files that hold images.
    """

    def held_images(self, names: Sequence[str], open: Callable[[str], BinaryIO]) -> list[str]:
        """The names of the images in the annotation files among `names`, each once: those that `items` yields."""

    def image_place(self, content: bytes) -> tuple[int, int]:
        """Where the image is in an item's extent: the first byte, and how many.

        Raises:
            FaultyError: there is no image.
        """

    def hashes(self, file: BinaryIO) -> tuple[str, list[str]]:
        """The hexadecimal SHA-256 of all that a file holds, and of each image in it."""
