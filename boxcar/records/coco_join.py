"""Which image each entry of COCO files is about, and what is wrong with the entries."""

import json
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import Annotation, RawObject, Side
from boxcar.records.check import LARGEST_ANNOTATION
from boxcar.records.coco_tables import CocoTables, ImageEntry, Label
from boxcar.records.faults import Fault, FaultyError, Kind, shown
from boxcar.records.image_index import ImageIndex
from boxcar.records.images import is_image, is_other_image
from boxcar.records.outline import coco_outline
from boxcar.records.reader import Item, Listing
from boxcar.records.split_names import NO_SPLIT, folder_split, mentioned_split

_NO_FILE = _NO_PLACE = -1
_PROBLEMS = 20  # of an image that are listed
_SHOWN = 200  # characters of a path in a sentence
_REST_LEFT_OUT = "left out, with all images that no label file lists"
_ALL_LEFT_OUT = "left out, with its images and all that no label file lists"


def join(listing: Listing, sources: Sequence[str], tables: CocoTables) -> Iterator[Item | Fault]:
    """Every image of a listing, once each, unless a fault leaves it out, and the faults.

    Args:
        listing: of the data folder.
        sources: its label files.
        tables: empty ones.

    Raises:
        BoxcarError: 65 if it is ambiguous which class a category is.
    """
    return _Join(listing, sources, tables).items()


def read_part(content: bytes) -> Annotation:
    """Reads an item's part.

    Raises:
        FaultyError: `broken_labels` if it is none.
    """
    try:
        part = json.loads(content)
        size = None if part["size"] is None else (int(part["size"][0]), int(part["size"][1]))
        objects = [_object(*found) for found in part["objects"]]
        crowds = int(part.get("crowds", 0))
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise FaultyError("broken_labels", "it is no part of a COCO file") from error
    return Annotation(None, size, objects, crowds=crowds)


def _object(name: str, x0: Side, y0: Side, x1: Side, y1: Side, outline: Any = None) -> RawObject:
    return RawObject(name, (x0, y0, x1, y1), outline=outline and coco_outline(outline))


def _split(source: str) -> int | None:
    """The split that a label file's name or, without one, a folder of it gives; None without any."""
    split = mentioned_split(source.rpartition("/")[2])
    split = folder_split(source) if split == NO_SPLIT else split
    return None if split == NO_SPLIT else split


class _Join:
    """The state of `join`."""

    def __init__(self, listing: Listing, sources: Sequence[str], tables: CocoTables) -> None:
        self._names, self._open = listing.names, listing.open
        self._sources, self._tables = sources, tables
        self._places = array("q", [_NO_PLACE])  # in the listing, of each entry's image; entries are counted from 1
        self._owners = array("i", [_NO_FILE]) * len(listing.names)  # the number of the file that lists an image
        self._left_out: set[int] = set()  # places of images
        self._alike: set[str] = set()  # names without folders, of images that an entry could mean
        self._broken: set[int] = set()  # numbers of files
        self._unsure = False  # whether an image that no file lists may have labels

    def items(self) -> Iterator[Item | Fault]:
        for number, source in enumerate(self._sources):
            try:
                with self._open(source) as file:
                    self._tables.add(number, source, file)
            except FaultyError as error:
                self._broken.add(number)
                self._unsure = True
                yield Fault(shown(source), error.kind, error.reason, _ALL_LEFT_OUT)
        self._tables.index()
        self._refuse_same_names()
        yield from self._assign()
        yield from self._same_ids()
        yield from self._strays()
        yield from self._labeled()
        for place, name in enumerate(self._names):
            if is_image(name) and self._owners[place] == _NO_FILE and not self._unsure and _base(name) not in self._alike:
                yield Item(name, None)

    def _refuse_same_names(self) -> None:
        found = self._tables.same_names()
        if found is not None:
            number, name, one, other = found
            what = f'{shown(self._sources[number])} has two categories named "{shown(name)}", {shown(one)} and {shown(other)}.'
            raise BoxcarError(ExitCode.DATA, what, "Rename one of them, or use one id for both.")

    def _assign(self) -> Iterator[Fault]:
        """Finds the image of each entry."""
        index = ImageIndex(self._names)
        nameless: Counter[int] = Counter()
        for entry in self._tables.images():
            place = _NO_PLACE
            if entry.given is None:
                nameless[entry.file] += 1
            else:
                try:
                    place = self._claimed(index, entry, entry.given)
                except FaultyError as error:
                    yield from self._faults(entry.file, error.kind, error.reason)
            self._places.append(place)
        for number, count in nameless.items():
            self._unsure = True
            which = "1 of its images has" if count == 1 else f"{count:,} of its images have"
            yield from self._faults(number, "broken_labels", f"{which} no file_name", _REST_LEFT_OUT)

    def _claimed(self, index: ImageIndex, entry: ImageEntry, given: str) -> int:
        """The place of an entry's image.

        Raises:
            FaultyError: it has none, several, or one that another entry has claimed, or the entry has no id.
        """
        try:
            name = index.find(given, self._sources[entry.file])
        except FaultyError:
            self._alike.add(_base(given.replace("\\", "/")))
            raise
        if name is None:
            why = "is in no format that Boxcar trains on" if is_other_image(given) else "is missing"
            raise FaultyError("missing_picture", f"its image {shown(given[-_SHOWN:])} {why}")
        place = bisect_left(self._names, name)
        owner = self._owners[place]
        if owner != _NO_FILE:
            self._left_out.add(place)
            other = "it lists twice" if owner == entry.file else f"{shown(self._sources[owner])} already describes"
            raise FaultyError("two_annotations", f"it describes {shown(name)}, which {other}")
        self._owners[place] = entry.file
        if entry.file in self._broken:
            self._left_out.add(place)
        if entry.id is None:
            raise FaultyError("broken_labels", f"its entry for {shown(name)} has no id")
        return place

    def _same_ids(self) -> Iterator[Fault]:
        for (file, key), entries in groupby(self._tables.same_ids(), lambda entry: (entry.file, entry.id)):
            some: list[str] = []
            for entry in entries:
                self._left_out.add(self._places[entry.number])
                if len(some) < 2:
                    some.append(shown((entry.given or "one without a name")[-_SHOWN:]))
            if some[0] != some[1]:  # which is said to be listed twice
                yield from self._faults(
                    file, "two_annotations", f"its images {' and '.join(some)} have one id, {shown(key or '')}"
                )

    def _strays(self) -> Iterator[Fault]:
        for number, count, example in self._tables.strays():
            self._unsure = True
            reason = f"an annotation has {_unknown('image', example)}{_and_others(count - 1)}"
            yield from self._faults(number, "unknown_id", reason, _REST_LEFT_OUT)

    def _labeled(self) -> Iterator[Item | Fault]:
        """The images that have labels, or that a file lists without any."""
        splits = [_split(source) for source in self._sources]
        for number, size, labels in self._tables.labels():
            place = self._places[number]
            if place == _NO_PLACE or place in self._left_out:
                continue
            file, name = self._owners[place], self._names[place]
            part, problems = _part(size, labels)
            for kind, reason in problems:
                yield from self._faults(file, kind, f"for {shown(name)}, {reason}")
            if not problems:
                yield Item(name, self._sources[file], part, splits[file])

    def _faults(self, number: int, kind: Kind, reason: str, done: str = "left out") -> Iterator[Fault]:
        """A fault of a file; none of one that is broken, which has been said."""
        if number not in self._broken:
            yield Fault(shown(self._sources[number]), kind, reason, done)


def _part(size: str, labels: Iterable[Label]) -> tuple[bytes, list[tuple[Kind, str]]]:
    """What `read_part` reads, and why the image cannot be used."""
    objects, length, count, crowds = list[str](), 0, 0, 0
    problems: dict[tuple[Kind, str], tuple[str, int]] = {}  # the first box that has one, and how many have it
    for label in labels:
        if label.crowd:
            crowds += 1
            continue
        count += 1
        problem: tuple[Kind, str] | None = None
        if label.name is None:
            problem = "unknown_id", f"has {_unknown('category', label.category)}"
        elif label.box is None:
            problem = "box_incomplete", label.problem or ""
        elif length <= LARGEST_ANNOTATION:
            objects.append(f"[{label.name},{label.box}{f',{label.outline}' if label.outline else ''}]")
            length += len(objects[-1])
        if problem is not None and (problem in problems or len(problems) < _PROBLEMS):
            name = json.loads(label.name or '""')
            box, others = problems.get(problem, (f"box {count} ({shown(name)})" if name else f"box {count}", -1))
            problems[problem] = box, others + 1
    found = [(kind, f"{box} {reason}{_and_others(others)}") for (kind, reason), (box, others) in problems.items()]
    if length > LARGEST_ANNOTATION:
        found.append(("labels_too_large", f"its boxes and outlines have more than {LARGEST_ANNOTATION:,} bytes"))
    if crowds and not count:
        found.append(("only_crowds", "all of its annotations are crowds"))
    left_out = f',"crowds":{crowds}' if crowds else ""
    return f'{{"size":{size},"objects":[{",".join(objects)}]{left_out}}}'.encode(), found


def _unknown(what: str, key: str | None) -> str:
    return f"no {what}_id" if key is None else f"the {what}_id {shown(key)}, which is not listed"


def _and_others(count: int) -> str:
    if count < 2:
        return ", and so has 1 other" if count else ""
    return f", and so have {count:,} others"


def _base(path: str) -> str:
    return path.rpartition("/")[2].lower()
