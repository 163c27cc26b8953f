"""The entries of COCO files, in tables that join them by their ids.

The tables are in a temporary file, because a file's annotations have any order, and may stand before its images.
"""

import json
import sqlite3
from collections.abc import Iterator
from itertools import groupby
from typing import Any, BinaryIO, NamedTuple

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import parsed_number
from boxcar.records.faults import FaultyError, shown
from boxcar.records.formats.text import is_marked
from boxcar.records.json_stream import list_elements
from boxcar.records.outline import as_float, outline_box

LISTS = ("images", "annotations", "categories")

_LONGEST_NAME = 4096  # characters of a path
_LONGEST_TEXT = 200  # characters of an id or of a class name
_LARGEST_SIDE = 2**31 - 1  # pixels
_ROWS = 1000  # that are inserted at once
# x + width may differ from the edge that both were made of by 1e-14, and the same boxes in another format would be another data
# set.
_DIGITS = 6

_compact = json.JSONEncoder(separators=(",", ":")).encode

# A label file has a number. `number` is the order of the entries. `size` and `box` are JSON: [width, height] or null, and the
# four sides without brackets. `name` is JSON, too, in ASCII.
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16000;
CREATE TABLE images (number INTEGER PRIMARY KEY, file INTEGER, id TEXT, given BLOB, size TEXT);
CREATE TABLE annotations (
    number INTEGER PRIMARY KEY, file INTEGER, image TEXT, category TEXT, crowd INTEGER, box TEXT, outline TEXT, problem TEXT
);
CREATE TABLE categories (file INTEGER, id TEXT, name TEXT, PRIMARY KEY (file, id)) WITHOUT ROWID;
BEGIN;
"""
_INDEXES = """
CREATE INDEX image_ids ON images (file, id);
CREATE INDEX annotation_images ON annotations (file, image, number);
"""
_LABELS = """
SELECT images.number, size, annotations.number, category, crowd, box, outline, problem, name FROM images
LEFT JOIN annotations ON annotations.file = images.file AND image = images.id
LEFT JOIN categories ON categories.file = annotations.file AND categories.id = category
ORDER BY images.number, annotations.number
"""


class ImageEntry(NamedTuple):
    """An image as a label file lists it."""

    number: int  # counted from 1 over all files
    file: int  # the label file's number
    id: str | None
    given: str | None  # its path


class Label(NamedTuple):
    """An annotation of an image."""

    category: str | None  # its id
    crowd: bool
    box: str | None  # the numbers of its sides in pixels, as JSON without brackets
    outline: str | None  # the `segmentation`, as JSON, whatever it contains
    problem: str | None  # why there is no box, as a clause
    name: str | None  # of its class, as JSON; None if there is no such category


class CocoTables:
    """Collects the entries of label files. Call `add` for each file, then `index` once, and then the others."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file without a name, which goes with this process
        self._database.executescript(_TABLES)

    def close(self) -> None:
        self._database.close()

    def add(self, number: int, source: str, file: BinaryIO) -> bool:
        """Adds the entries of a file. Those before an error stay.

        Returns:
            Whether it is a label file; otherwise, nothing of it stays.

        Raises:
            FaultyError: `broken_labels` or `labels_too_large`.
            BoxcarError: 65 if a category has two names.
        """
        begun: set[str] = set()
        rows: list[tuple[object, ...]] = []
        labels = others = 0
        try:
            for kind, entry in list_elements(file, LISTS, begun):
                if kind == "images":
                    self._database.execute("INSERT INTO images VALUES (NULL, ?, ?, ?, ?)", (number, *_image(entry)))
                elif kind == "categories":
                    self._add_category(number, source, entry)
                elif is_other_annotation(entry):
                    others += 1
                else:
                    labels += 1
                    rows.append((number, *_annotation(entry)))
                    if len(rows) == _ROWS:
                        self._insert(rows)
                        rows.clear()
        except FaultyError:
            self._insert(rows)
            raise
        self._insert(rows)
        if is_label_file(begun, labels, others):
            return True
        for table in LISTS:
            self._database.execute(f"DELETE FROM {table} WHERE file = ?", (number,))  # noqa: S608
        return False

    def index(self) -> None:
        """Prepares the tables for the queries."""
        self._database.executescript(_INDEXES)

    def images(self) -> Iterator[ImageEntry]:
        return self._entries("SELECT number, file, id, given FROM images ORDER BY number")

    def same_ids(self) -> Iterator[ImageEntry]:
        """The images that have the id of another image of their file, those of one id together."""
        twice = "SELECT file, id FROM images WHERE id IS NOT NULL GROUP BY file, id HAVING count(*) > 1"
        query = f"SELECT number, file, id, given FROM images JOIN ({twice}) USING (file, id) ORDER BY file, id, number"  # noqa: S608
        return self._entries(query)

    def strays(self) -> Iterator[tuple[int, int, str | None]]:
        """The number of each file with annotations whose image it does not list, their count, and one of the images' ids."""
        query = """SELECT annotations.file, count(*), min(image) FROM annotations
        LEFT JOIN images ON images.file = annotations.file AND images.id = image
        WHERE images.number IS NULL GROUP BY annotations.file"""
        yield from self._database.execute(query)

    def same_names(self) -> tuple[int, str, str, str] | None:
        """A file in which two categories with annotations have one name: its number, the name, and the two ids."""
        twice = "SELECT file, name FROM categories WHERE name != '\"\"' GROUP BY file, name HAVING count(*) > 1"
        if self._database.execute(twice).fetchone() is None:
            return None
        # Exports of Roboflow have a category for the project, without annotations, whose name may be that of a class.
        query = f"""SELECT file, name, min(id), max(id) FROM categories
        WHERE (file, name) IN ({twice}) AND (file, id) IN (SELECT DISTINCT file, category FROM annotations)
        GROUP BY file, name HAVING count(*) > 1"""  # noqa: S608
        found = self._database.execute(query).fetchone()
        return None if found is None else (found[0], json.loads(found[1]), *found[2:])

    def labels(self) -> Iterator[tuple[int, str, Iterator[Label]]]:
        """The number of each image, its size as JSON, and its annotations, which must be read before the next image is."""
        for number, rows in groupby(self._database.execute(_LABELS), lambda row: row[:2]):
            yield *number, (Label(*row[3:]) for row in rows if row[2] is not None)

    def _entries(self, query: str) -> Iterator[ImageEntry]:
        for number, file, key, given in self._database.execute(query):
            yield ImageEntry(number, file, key, None if given is None else given.decode("utf-8", "surrogatepass"))

    def _insert(self, rows: list[tuple[object, ...]]) -> None:
        self._database.executemany("INSERT INTO annotations VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _add_category(self, number: int, source: str, entry: Any) -> None:
        key = text_of(entry.get("id")) if isinstance(entry, dict) else None
        if key is None:
            return
        name = text_of(entry.get("name")) or ""
        added = self._database.execute("INSERT OR IGNORE INTO categories VALUES (?, ?, ?)", (number, key, json.dumps(name)))
        if added.rowcount == 1:
            return
        query = "SELECT name FROM categories WHERE file = ? AND id = ?"
        other = json.loads(self._database.execute(query, (number, key)).fetchone()[0])
        if other != name:
            what = f'{shown(source)} calls the category {shown(key)} both "{shown(other)}" and "{shown(name)}".'
            raise BoxcarError(ExitCode.DATA, what, "Give each category an id of its own.")


def is_label_file(begun: set[str], labels: int, others: int) -> bool:
    """Whether a file with these lists and numbers of annotations describes objects."""
    return {"images", "annotations"} <= begun and (labels > 0 or others == 0)


def is_other_annotation(entry: Any) -> bool:
    """Whether it describes a whole image: in words, or by the classes of all of its pixels."""
    return isinstance(entry, dict) and "category_id" not in entry and ("caption" in entry or "segments_info" in entry)


def text_of(value: Any) -> str | None:
    """An id or a name as text on one line; None if it is neither text nor a whole number, empty, or too long.

    One program writes an id as text that another writes as a number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int and abs(value) < 10**_LONGEST_TEXT:
        return str(value)
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        return None
    return " ".join(value.split()).encode("utf-8", "replace").decode() or None  # halves of characters fit into no file


def _image(entry: Any) -> tuple[str | None, bytes | None, str]:
    """The id, path and size of an image."""
    if not isinstance(entry, dict):
        return None, None, "null"
    given = entry.get("file_name")
    path = given.encode("utf-8", "surrogatepass") if isinstance(given, str) and 0 < len(given) <= _LONGEST_NAME else None
    size = [_side(entry.get(name)) for name in ("width", "height")]
    return text_of(entry.get("id")), path, "null" if None in size else _compact(size)


def _side(value: Any) -> int | None:
    """A width or height in pixels; None if it is not known."""
    whole = type(value) is int or (isinstance(value, float) and value.is_integer())
    return int(value) if whole and 0 < value <= _LARGEST_SIDE else None


def _annotation(entry: Any) -> tuple[str | None, str | None, bool, str | None, str | None, str | None]:
    """The ids of the image and category, whether it is a crowd, its box, its outline, and why it has no box."""
    if not isinstance(entry, dict):
        return None, None, False, None, None, "is no object"
    crowd = is_marked(entry.get("iscrowd"))
    sides, problem = _sides(entry.get("bbox"), entry.get("segmentation"))
    if crowd is None:
        sides, problem = None, "has an iscrowd that is neither 0 nor 1"
    box = None if sides is None else _compact(sides)[1:-1]
    outline = None if crowd or sides is None else _outline(entry.get("segmentation"))
    return text_of(entry.get("image_id")), text_of(entry.get("category_id")), bool(crowd), box, outline, problem


def _outline(segmentation: Any) -> str | None:
    """An outline as JSON; None if there is none, as exports of boxes write it in several ways."""
    if not isinstance(segmentation, list | dict) or segmentation in ([], {}, [[]]):
        return None
    try:
        return _compact(segmentation)
    except RecursionError:
        return "[0]"  # none that has a meaning


def _sides(box: Any, outline: Any) -> tuple[tuple[float, ...] | None, str | None]:
    """A box's sides, or why it has none."""
    if box is None or box == []:
        if outline is None or outline == []:
            return None, "has neither a bbox nor a segmentation"
        around = outline_box(outline)
        if around is None:
            return None, "has no bbox, and a segmentation without an outline"
        return around, None
    numbers = [_number(side) for side in box] if isinstance(box, list) else []
    if len(numbers) != 4 or None in numbers:
        return None, "has a bbox that is not four numbers"
    x, y, width, height = (number for number in numbers if number is not None)
    return (x, y, round(x + width, _DIGITS), round(y + height, _DIGITS)), None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return parsed_number(value)
    return as_float(value) if type(value) in (int, float) else None
