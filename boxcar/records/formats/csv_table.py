"""CSV tables with a line per object.

- The course of the Object Detection API: `filename,width,height,class,xmin,ymin,xmax,ymax`, in pixels.
- Open Images: `ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,...`, in shares; the id is the image's name without
  suffix.
- AutoML and Vertex AI, without a header: `set,path,label,x_min,y_min,,,x_max,y_max,,`, in shares.

Columns are found by their names, so that they may be in any order. An image whose lines all lack a class and a box has no
objects. The word train, validation, or test in a table's name gives the split. The lines of an image need not be together: they
are sorted in a temporary database.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import SIDES, Annotation, RawObject, parsed_number
from boxcar.records.check import LARGEST_ANNOTATION
from boxcar.records.faults import Fault, FaultyError, shown
from boxcar.records.formats.csv_layout import Layout, cell, cells_of, layout_of, split_of
from boxcar.records.formats.csv_rows import RowStore, StoredRow
from boxcar.records.formats.text import opened_text
from boxcar.records.image_index import ImageIndex
from boxcar.records.images import is_image
from boxcar.records.reader import DataFiles, Item, Listing, Recognized
from boxcar.records.split_names import SPLITS

_SUFFIXES = ("jpg", "jpeg", "png", "bmp", "webp")
_SHOWN = 300  # characters of a path
_MOST_FAULTS = 1000  # of a table that are listed; more are counted
_LONGEST_LINE = 1_000_000  # characters


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes tables by their first line."""
    names = [name for name in files.names if name[-4:].lower() == ".csv"]
    tables = frozenset(name for name in names if layout_of(files.beginning(name)) is not None)
    return Recognized(CsvReader(tables), min(tables)) if tables else None


@dataclass(frozen=True)
class CsvReader:
    """Reads tables; see `boxcar.records.reader.AnnotationReader`.

    The part of an image is two lines of JSON: whether its sides are shares, its split, and the cells of its lines (class,
    sides, width, and height, or what is wrong); then the numbers of these lines.

    Attributes:
        tables: the names of the tables.
    """

    tables: frozenset[str]

    format = "csv"
    title = "CSV"

    def is_annotation(self, name: str) -> bool:
        return name in self.tables

    def image_names(self, content: bytes) -> list[str]:
        layout = layout_of(content[:4096])
        if layout is None:
            return []
        try:
            images = [cell(row, layout.columns[0]) for _, row in _rows(io.BytesIO(content), layout)]
        except csv.Error:
            return []
        return [image for image in dict.fromkeys(images) if image and len(image.splitlines()) == 1]

    def labeled_images(self, listing: Listing) -> set[str]:
        index, found = ImageIndex(listing.names), set()
        for table in filter(self.is_annotation, listing.names):
            for given in listing.image_names(table):
                try:
                    found.add(_find(index, given, table))
                except FaultyError:
                    continue
        return {image for image in found if image is not None}

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        """As the protocol says.

        Raises:
            BoxcarError: 65 if a table cannot be read to its end, so that nobody knows which images the rest is about; 69 if the
                temporary database cannot be written.
        """
        tables = [name for name in listing.names if name in self.tables]
        undecided: set[str] = set()  # names without suffix of images that a line may be about
        with RowStore() as store:
            index = ImageIndex(listing.names)
            for number, table in enumerate(tables):
                yield from _store_table(listing, index, number, table, store, undecided)
            del index
            done = 0
            for place, rows in groupby(store.sorted_rows(), key=lambda row: row.place):
                yield from _unlabeled(listing.names[done:place], undecided)
                yield _item(listing.names[place], tables, rows)
                done = place + 1
            yield from _unlabeled(listing.names[done:], undecided)

    def digest(self, content: bytes) -> bytes:
        return hashlib.sha256(content.partition(b"\n")[0]).digest()

    def read(self, content: bytes) -> Annotation:
        """Parses an image's part.

        Raises:
            FaultyError: `broken_labels` or `box_incomplete`.
        """
        cells, _, numbers = content.partition(b"\n")
        relative, _, rows = json.loads(cells)
        objects: list[RawObject] = []
        size, said_at = None, 0
        for line, row in zip(json.loads(numbers), rows, strict=True):
            if isinstance(row, str):
                raise FaultyError("broken_labels", f"line {line} {row}")
            name, sides, (width, height) = row[0], row[1:5], row[5:]
            said = _size(line, width, height)
            if size is not None and said is not None and said != size:
                both = f"{said[0]}×{said[1]}, and line {said_at} says {size[0]}×{size[1]}"
                raise FaultyError("broken_labels", f"line {line} says that the image is {both}")
            if said is not None:
                size, said_at = said, line
            if name or any(sides):
                objects.append(RawObject(name, _sides(line, sides, relative)))
        return Annotation(None, size, objects, relative)


def _rows(file: BinaryIO, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """The lines of a table that are not empty, each with its number.

    Raises:
        csv.Error: a quotation mark is not closed, or a line is too long.
    """
    with opened_text(file) as text:
        # Not strict, it would take the rest of the table as one cell if a quotation mark is not closed.
        rows = csv.reader(_lines(text), delimiter=layout.delimiter, strict=True)
        header = layout.header
        for row in rows:
            if not any(map(str.strip, row)):
                continue
            if not header:
                yield rows.line_num, row
            header = False


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"it has a line of more than {_LONGEST_LINE:,} characters")
        yield line


def _store_table(
    listing: Listing, index: ImageIndex, number: int, table: str, store: RowStore, undecided: set[str]
) -> Iterator[Fault]:
    """Stores the lines of a table by their images. Yields a fault for each image that is not found."""
    layout, line = None, 0
    given, image = "", None  # of the last line: the lines of an image are together almost always
    blamed: set[str] = set()
    more = 0
    try:
        with listing.open(table) as file:
            layout = layout_of(file.read(4096))
        if layout is None:
            raise FaultyError("broken_labels", "its first line has changed")
        split = split_of(table)
        for line, row in _rows(listing.open(table), layout):
            wanted = cell(row, layout.columns[0])
            if wanted != given or not given:
                given, fault = wanted, None
                try:
                    image = _find(index, given, table)
                    if image is None:
                        what = f"names {shown(given[:_SHOWN])}, but there is no such image" if given else "names no image"
                        fault = Fault(shown(table), "missing_picture" if given else "broken_labels", f"line {line} {what}")
                except FaultyError as error:
                    image, fault = None, Fault(shown(table), error.kind, f"line {line}: {error.reason}")
                    undecided.add(_stem(given))
                if fault is not None and given not in blamed:
                    if len(blamed) < _MOST_FAULTS:
                        blamed.add(given)
                        yield fault
                    else:
                        more += 1
            if image is not None:
                store.add(listing.names, image, number, line, [given, *cells_of(row, layout, split)])
    except FaultyError as error:
        raise _unreadable(table, error.reason) from error
    except csv.Error as error:
        raise _unreadable(
            table, f"it is no table from line {max(line, layout.header if layout else 0) + 1} on: {error}"
        ) from error
    if more:
        yield Fault(shown(table), "missing_picture", f"{more} more lines name images that are not there")


def _unreadable(table: str, reason: str) -> BoxcarError:
    return BoxcarError(ExitCode.DATA, f"{shown(table)} cannot be read: {reason}.", "Correct or remove it.")


def _item(image: str, tables: Sequence[str], rows: Iterator[StoredRow]) -> Item | Fault:
    """An image and its lines, or why they cannot be used."""
    first = next(rows)
    given, relative, split, cells = first.cells
    kept, lines, size = [cells], [first.line], first.bytes
    fault: Fault | None = None
    for row in rows:  # also after a fault, so that the next image's rows follow
        if fault is not None:
            continue
        size += row.bytes
        if row.table != first.table or row.cells[0] != given or row.cells[2] != split:
            fault = Fault(shown(image), "two_annotations", _contradiction(tables, first, row))
        elif size > LARGEST_ANNOTATION:
            reason = f"{shown(tables[row.table])} has too many lines about it; the limit is {LARGEST_ANNOTATION:,} bytes"
            fault = Fault(shown(image), "labels_too_large", reason)
        else:
            kept.append(row.cells[3])
            lines.append(row.line)
    if fault is not None:
        return fault
    part = json.dumps([relative, split, kept]) + "\n" + json.dumps(lines)
    return Item(image, tables[first.table], part.encode(), split)


def _contradiction(tables: Sequence[str], one: StoredRow, other: StoredRow) -> str:
    """How two lines about one image contradict each other."""
    before, after = (f"line {row.line} of {shown(tables[row.table])}" for row in (one, other))
    if one.table != other.table:
        return f"{before} describes it, and so does {after}"
    given, named = shown(one.cells[0][:_SHOWN]), shown(other.cells[0][:_SHOWN])
    if given != named:
        return f"it is the only image of two names: {before} names {given}, and line {other.line} names {named}"
    first, second = ("no split" if row.cells[2] is None else SPLITS[row.cells[2]] for row in (one, other))
    return f"{before} gives it to {first}, and line {other.line} to {second}"


def _unlabeled(names: Sequence[str], undecided: set[str]) -> Iterator[Item]:
    """The images that no line is about, except those that one may be about."""
    yield from (Item(name, None) for name in names if is_image(name) and _stem(name) not in undecided)


def _find(index: ImageIndex, given: str, table: str) -> str | None:
    """The image that a line names. Its suffix may be missing or another.

    Raises:
        FaultyError: `same_stem`.
    """
    found = index.find(given, table) if given else None
    if found is not None or not given:
        return found
    stem = given.rpartition(".")[0] if is_image(given) else given
    alike = [name for suffix in _SUFFIXES if (name := index.find(f"{stem}.{suffix}", table)) is not None]
    if len(alike) > 1:
        raise FaultyError("same_stem", f"{shown(given)} could be {shown(alike[0])} or {shown(alike[1])}")
    return alike[0] if alike else None


def _sides(line: int, texts: Sequence[str], relative: bool) -> tuple[float, float, float, float]:
    numbers = []
    for name, text in zip(SIDES, texts, strict=True):
        if not text:
            raise FaultyError("box_incomplete", f"line {line} has no {name}")
        number = parsed_number(text)
        if number is None:
            raise FaultyError("box_incomplete", f"line {line} has {shown(text[:40])!r} as its {name}")
        numbers.append(number)
    if not relative and all(0 <= number <= 1 for number in numbers) and not all(map(float.is_integer, numbers)):
        raise FaultyError("broken_labels", f"line {line} has a box with sides from 0 to 1, but this table's are pixels")
    xmin, ymin, xmax, ymax = numbers
    return xmin, ymin, xmax, ymax


def _size(line: int, width: str, height: str) -> tuple[int, int] | None:
    """The image's size; None if the cells are empty or 0."""
    if not width and not height:
        return None
    numbers = [parsed_number(width), parsed_number(height)]
    whole = [int(number) for number in numbers if number is not None and number.is_integer()]
    if len(whole) != 2:
        reason = f"line {line} has {shown(width[:40])!r} and {shown(height[:40])!r} as width and height"
        raise FaultyError("broken_labels", reason)
    return (whole[0], whole[1]) if all(whole) else None


def _stem(name: str) -> str:
    """A path's last name without the suffix of an image, for comparison."""
    base = name.replace("\\", "/").rpartition("/")[2].lower()
    return base.rpartition(".")[0] if is_image(base) else base
