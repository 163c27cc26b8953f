"""What the records step and retraining need from an annotation format.

A format is one file in `boxcar.records.readers`. There are two kinds:

- One file per image (Pascal VOC, YOLO): `items` pairs images and annotation files by their names, with
  `boxcar.records.pairing`, and `read` gets the whole file.
- One file for many images (COCO, CSV): `items` reads the file once, yields an `Item` for each image, and puts the text about
  that image into `Item.part`, which `read` gets. If the lines about one image are not together, `items` sorts the file through
  a temporary file first, so that memory does not grow with the number of images.

Between the items, `items` yields the faults of files as a whole and of the pairing. The faults of single images are found
later, in worker processes, when `read` gets their content.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from boxcar.records.annotation import Annotation
from boxcar.records.faults import Fault


class Item(NamedTuple):
    """An image and its annotation. Names are relative to the data folder; bytes that are not UTF-8 are surrogates."""

    image: str | None  # None if an annotation has no image
    source: str | None  # the annotation file; None if the image has none
    part: bytes | None = None  # this image's part of a file that describes many images


@dataclass(frozen=True)
class Listing:
    """The files of a data folder, local or in a bucket.

    Attributes:
        names: of all images and annotation files, sorted, relative to the folder and with slashes.
        image_names: the images that an annotation file names, as the reader's `image_names` found them. For a bucket, they
            come from the previous listing if the file is unchanged.
    """

    names: Sequence[str]
    image_names: Callable[[str], Sequence[str]]


class AnnotationReader(Protocol):
    """Reads one label format. It holds no state and can be sent to another process."""

    def is_annotation(self, name: str) -> bool:
        """Whether a file of this name holds annotations of this format."""

    def image_names(self, content: bytes) -> list[str]:
        """The images that an annotation file names, without their folders; none if it cannot be read."""

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        """Every image and annotation of a listing, once each, and the faults of their pairing."""

    def read(self, content: bytes) -> Annotation:
        """The annotation in an item's part or, without a part, in its whole source.

        Raises:
            FaultyError: it cannot be understood.
        """

    def digest(self, content: bytes) -> bytes:
        """A digest of 32 bytes that is equal for items with the same content."""
