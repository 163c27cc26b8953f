"""What is found of images and their annotations: a row for each image, and the totals of many."""

import struct
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from boxcar.records.faults import Fault, shown
from boxcar.records.images import Treatment
from boxcar.records.reader import Item
from boxcar.records.split_names import NO_SPLIT

NAMED = 3  # images in a warning about many

NO_TIME = -(2**63)  # of an image that does not say when it was taken, or where it does not matter

TREATMENTS: tuple[Treatment, ...] = ("keep", "strip", "encode")

# What boxes refer to: the image as a viewer shows it, which follows its EXIF orientation, or as its file stores it.
Frame = Literal["shown", "stored"]


class Row(NamedTuple):
    """What is known about an item's image. `boxcar.records.table` keeps these fields as the columns of an array.

    Size and boxes are those of the image as its record stores it.
    """

    sha256: bytes = b""  # of the image's file
    source_digest: bytes = b""  # of its annotation
    sound: bool = False  # whether the rest counts: there is an image, and nothing is wrong
    split: int = NO_SPLIT  # the one that its folder names, an index into SPLITS
    digest: bytes = b""  # of the image and its boxes
    size: int = 0  # bytes of the image's file
    modified: int = 0  # as `read_file` returns it, to notice a change before the second reading
    width: int = 0  # pixels
    height: int = 0
    treatment: int = 0  # an index into TREATMENTS
    turn: bool = False
    boxes: int = 0
    packed: int = 0  # bytes of the packed objects
    look: int = 0  # bytes that follow them: what the image looks like, if it was decoded
    taken: int = NO_TIME  # seconds of the camera's clock since 1970, if it matters
    offset: int = -1  # where its bytes begin in its annotation file; -1 if it is a file of its own
    # Set by the process that collects the rows.
    image: int = -1  # its place in the listing
    source: int = -1  # that of its annotation file
    begin: int = 0  # where its packed objects begin in the table's file
    occurrence: int = 0  # its number among byte-identical images of its split


ROW = struct.Struct("=32s32s?b32sqqiib?iihqqiiqi")  # the fields of Row


@dataclass
class Few:
    """The number of some images, and the first few of their names."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.merge(Few(1, [name]))

    def merge(self, other: "Few") -> None:
        self.count += other.count
        self.names = sorted(self.names + other.names)[:NAMED]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.names) else ""
        return f"{self.count} image{'s' if self.count > 1 else ''} ({', '.join(map(shown, self.names))}{more})"


@dataclass
class CheckedBatch:
    """The results for many items, in their order."""

    rows: bytearray = field(default_factory=bytearray)  # packed with ROW: smaller to send and to keep than objects
    objects: bytearray = field(default_factory=bytearray)  # packed, one image's after the other's, each with the image's look
    faults: list[Fault] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)  # the classes of all objects, before the choice; only if there is one
    clipped: int = 0
    repeated: int = 0  # boxes that stand several times in one annotation
    repeated_in: str = ""  # one such annotation file
    crowds: int = 0  # regions with many objects, which were left out
    crowds_in: str = ""  # one such image
    without_annotation: Few = field(default_factory=Few)  # negatives
    skipped: Few = field(default_factory=Few)  # images without a label that are in no split
    difficult: int = 0  # objects that are marked so
    odd_orientations: list[str] = field(default_factory=list)  # images with an EXIF orientation that is none of 1 to 8
    emptied: int = 0  # images all of whose objects were dropped, because of their classes
    outlines: int = 0  # objects that have one
    unused_outlines: int = 0  # outlines that cannot be used, of objects with a box
    unused_outline: str = ""  # where one is, and why, as a clause
    # By the folder or file of the labels: how many tell that boxes refer to the image as it is shown, and as it is stored.
    votes: dict[str, tuple[int, int]] = field(default_factory=dict)
    # By the same, the images whose own labels do not tell. Their rows and objects above are those for the shown image.
    undecided: dict[str, "Undecided"] = field(default_factory=dict)
    frame_unknown: Few = field(default_factory=Few)  # of these, those that no label decides
    exif_ignored: Few = field(default_factory=Few)  # and those that others decide to be labeled as stored

    def vote(self, item: Item, frame: Frame) -> None:
        """Notes that an image's label tells the frame of its boxes."""
        self._count(labeler(item), frame == "shown", frame == "stored")

    def _count(self, by: str, shown: int, stored: int) -> None:
        before = self.votes.get(by, (0, 0))
        self.votes[by] = before[0] + shown, before[1] + stored

    def hold(self, item: Item, place: int, as_shown: "CheckedBatch", as_stored: "CheckedBatch") -> None:
        """Adds an image, the batch's item number `place`, whose frame is not known, with what was found of it in either."""
        held = self.undecided.setdefault(labeler(item), Undecided())
        held.places.append(place)
        held.as_shown.merge(as_shown)
        held.as_stored.merge(as_stored)
        held.as_stored.rows += as_stored.rows
        held.as_stored.objects += as_stored.objects

    def merge(self, other: "CheckedBatch") -> None:
        """Adds another batch's results, except its rows and objects."""
        self.faults += other.faults
        self.classes |= other.classes
        self.named |= other.named
        self.clipped += other.clipped
        self.crowds += other.crowds
        self.crowds_in = _first(self.crowds_in, other.crowds_in)
        self.without_annotation.merge(other.without_annotation)
        self.skipped.merge(other.skipped)
        self.difficult += other.difficult
        self.emptied += other.emptied
        self.outlines += other.outlines
        self.unused_outlines += other.unused_outlines
        self.unused_outline = _first(self.unused_outline, other.unused_outline)
        self.odd_orientations += other.odd_orientations
        self.repeated += other.repeated
        self.repeated_in = _first(self.repeated_in, other.repeated_in)
        self.frame_unknown.merge(other.frame_unknown)
        self.exif_ignored.merge(other.exif_ignored)
        for by, votes in other.votes.items():
            self._count(by, *votes)
        for by, images in other.undecided.items():
            held = self.undecided.setdefault(by, Undecided())
            held.as_shown.merge(images.as_shown)
            held.as_stored.merge(images.as_stored)


def _first(one: str, other: str) -> str:
    """The first in the alphabet: batches come in any order, and what is written must not depend on it."""
    return min(one, other) if one and other else one or other


@dataclass
class Undecided:
    """Images whose labels fit both frames, by one labeler."""

    places: list[int] = field(default_factory=list)  # their numbers among the batch's items
    as_shown: CheckedBatch = field(default_factory=CheckedBatch)  # totals only
    as_stored: CheckedBatch = field(default_factory=CheckedBatch)


def labeler(item: Item) -> str:
    """What the labels have in common that one labeling tool wrote: their file or, with a file for each image, their folder."""
    assert item.source is not None
    many = item.part is not None or item.extent is not None
    return item.source if many else item.source.rpartition("/")[0]
