"""What the columns of a CSV table are, and what a line says."""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from boxcar.records.faults import shown
from boxcar.records.formats.text import encoding_of
from boxcar.records.images import is_image

_PIXELS = ("filename", "class", "xmin", "ymin", "xmax", "ymax")
_OPEN_IMAGES = ("imageid", "labelname", "xmin", "ymin", "xmax", "ymax")
_AUTOML = (1, 2, 3, 4, 7, 8)  # columns of the same
_SETS = {"train": 0, "training": 0, "validate": 1, "validation": 1, "test": 2, "unassigned": None, "": None}
_SPLIT_WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2, "eval": 1}
_DECIMAL_COMMA = re.compile(r"([-+]?\d*),(\d+)", re.ASCII)


class Layout(NamedTuple):
    """What the columns of a table are.

    Attributes:
        columns: of the image, the class, xmin, ymin, xmax, and ymax.
        size: columns of the image's width and height; None if there are none.
        split: the column of the split; None if there is none.
        relative: whether the sides are shares of the image's width and height, and not pixels.
        header: whether the first line names the columns.
        length: the number of columns; None if lines may have any number.
        delimiter: between the columns.
    """

    columns: tuple[int, ...]
    size: tuple[int, int] | None
    split: int | None
    relative: bool
    header: bool
    length: int | None
    delimiter: str


def layout_of(beginning: bytes) -> Layout | None:
    """The layout of a table by its first bytes; None if it is another kind of table."""
    text = beginning.decode(encoding_of(beginning), "replace").lstrip()
    for delimiter in ",;\t":
        try:
            rows = [list(map(str.strip, row)) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not rows:
            return None
        names = [text.lower() for text in rows[0]]
        for wanted, relative in ((_PIXELS, False), (_OPEN_IMAGES, True)):
            if set(wanted) <= set(names):
                has_size = not relative and {"width", "height"} <= set(names)
                size = (names.index("width"), names.index("height")) if has_size else None
                return Layout(tuple(map(names.index, wanted)), size, None, relative, True, len(names), delimiter)
        # The first images may have no objects, and so no more cells than a list of images has.
        if (
            all(row[0].lower() in _SETS and is_image("".join(row[1:2])) for row in rows[:-1] or rows)
            and max(map(len, rows)) > 8
        ):
            return Layout(_AUTOML, None, 0, True, False, None, delimiter)
    return None


def cells_of(row: Sequence[str], layout: Layout, split: int | None) -> tuple[bool, int | None, str | list[str]]:
    """What a line says: whether its sides are shares, the split, and class, sides, width and height, or what is wrong.

    `split` is that of lines that do not give one.
    """
    if layout.split is not None:
        word = cell(row, layout.split)
        if word.lower() not in _SETS:
            return layout.relative, None, f"has the set {shown(word[:40])!r}, which is not TRAIN, VALIDATE, TEST, or UNASSIGNED"
        split = _SETS[word.lower()] if _SETS[word.lower()] is not None else split
    if layout.length is not None and len(row) > layout.length and any(map(str.strip, row[layout.length :])):
        return layout.relative, split, f"has {len(row)} values, but the table has {layout.length} columns"
    _, name, *sides = (cell(row, column) for column in layout.columns)
    if not _is_text(name):
        return layout.relative, split, f"has the class {shown(name[:40])}, which is not in UTF-8"
    if layout.delimiter == ";":
        sides = [_DECIMAL_COMMA.sub(r"\1.\2", side) if _DECIMAL_COMMA.fullmatch(side) else side for side in sides]
    size = ["", ""] if layout.size is None else [cell(row, column) for column in layout.size]
    return layout.relative, split, [" ".join(name.split()), *sides, *size]


def split_of(table: str) -> int | None:
    """The split that a table's name gives."""
    found = {_SPLIT_WORDS[word] for word in re.findall("[a-z]+", table.rpartition("/")[2].lower()) if word in _SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def cell(row: Sequence[str], column: int) -> str:
    """The text of a column; empty if the line is too short."""
    return row[column].strip() if column < len(row) else ""


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)
