"""What `dataset.json` says of a data set: its splits, classes and sizes.

Whatever there is one of a picture or a box lies in the database, so that the memory needed does not depend on their number.
"""

import json
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import sqrt
from typing import Any

from boxcar.records.annotation import LabelledObject
from boxcar.records.split import SPLITS

SUMMARY_SCHEMA = "CREATE TABLE boxes (size REAL);"  # square roots of box area / picture area
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_NO_IMAGES = '"images": []'
_WIDTHS = "SELECT width, COUNT(*) FROM pictures GROUP BY width ORDER BY width"
_HEIGHTS = "SELECT height, COUNT(*) FROM pictures GROUP BY height ORDER BY height"
_BOXES = "SELECT size, COUNT(*) FROM boxes GROUP BY size ORDER BY size"
_IMAGES = "SELECT sha256 FROM pictures WHERE split = ? ORDER BY sha256"


@dataclass
class Counts:
    """What one shard holds."""

    pictures: int = 0
    negatives: int = 0
    encoded: int = 0  # pictures whose file was not stored as it is
    per_class: Counter[str] = field(default_factory=Counter)
    boxes: "array[float]" = field(default_factory=lambda: array("f"))  # square roots of box area / picture area

    def add(self, width: int, height: int, encoded: bool, objects: Sequence[LabelledObject]) -> None:
        """Counts one picture of `width` × `height` pixels."""
        self.pictures += 1
        self.negatives += not objects
        self.encoded += encoded
        self.per_class.update([item.name for item in objects])
        area = width * height
        self.boxes.extend([sqrt((item.xmax - item.xmin) * (item.ymax - item.ymin) / area) for item in objects])


@dataclass
class _Split:
    pictures: int = 0
    negatives: int = 0
    per_class: Counter[str] = field(default_factory=Counter)
    shards: list[str] = field(default_factory=list)


class Summary:
    """The counts of a whole data set.

    Args:
        labels: the classes' names by id.
        database: holds the table of `SUMMARY_SCHEMA`, which is filled here, and that of `split.SCHEMA`.
    """

    def __init__(self, labels: dict[int, str], database: sqlite3.Connection) -> None:
        self.encoded = 0  # pictures whose file was not stored as it is
        self._labels = labels
        self._database = database
        self._splits = {split: _Split() for split in SPLITS}

    def add(self, shard: str, counts: Counts) -> None:
        """Takes in a shard, by its file's name, `<split>-00000-of-00001.tfrecord`."""
        split = self._splits[shard.partition("-")[0]]
        split.pictures += counts.pictures
        split.negatives += counts.negatives
        split.per_class.update(counts.per_class)
        split.shards.append(shard)
        self.encoded += counts.encoded
        self._database.executemany("INSERT INTO boxes VALUES (?)", ((size,) for size in counts.boxes))

    def warnings(self) -> list[str]:
        """What a person should know of the classes, a sentence each."""
        said = []
        counts = {name: sum(split.per_class[name] for split in self._splits.values()) for name in self._labels.values()}
        absent = [name for name, count in counts.items() if count == 0]
        if len(absent) == 1:
            said.append(f"The class {absent[0]} of the label map has no example.")
        elif absent:
            some = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
            said.append(f"{len(absent)} classes of the label map have no example: {some}")
        for name, count in counts.items():
            if count == 1:
                said.append(f"The class {name} has one example only.")
            said += [
                f"The class {name} has no example in the {name_of_split} split."
                for name_of_split, split in self._splits.items()
                if count and not split.per_class[name]
            ]
        return said

    def splits_json(self) -> dict[str, Any]:
        """Per split: pictures, negatives, boxes, per_class, shards, and images, which `dataset_pieces` fills in."""
        return {
            name: {
                "pictures": split.pictures,
                "negatives": split.negatives,
                "boxes": split.per_class.total(),
                "per_class": {label: split.per_class[label] for label in self._labels.values()},
                "shards": sorted(split.shards),
                "images": [],
            }
            for name, split in self._splits.items()
        }

    def sizes_json(self) -> dict[str, Any]:
        """Quantiles of the pictures' sides in pixels, and of the boxes' (square root of box area / picture area)."""
        pictures = sum(split.pictures for split in self._splits.values())
        boxes = sum(split.per_class.total() for split in self._splits.values())
        return {
            "picture_width": _spread(self._database.execute(_WIDTHS), pictures),
            "picture_height": _spread(self._database.execute(_HEIGHTS), pictures),
            "relative_box_size": _spread(self._database.execute(_BOXES), boxes),
        }


def _spread(counted: Iterator[tuple[float, int]], number: int) -> dict[str, float]:
    """Minimum, median, maximum, and the quantiles by their fraction; each is one of the values.

    Args:
        counted: every value and how often it is there, ascending.
        number: of all.
    """
    value, passed, at = 0.0, 0, {}
    for fraction in _QUANTILES:
        while passed <= round(fraction * (number - 1)):
            value, count = next(counted)
            passed += count
        at[fraction] = round(value, 6)
    named = zip(("min", "median", "max"), (at[0.0], at[0.5], at[1.0]), strict=True)
    return dict(chain(named, ((f"{fraction:g}", value) for fraction, value in at.items() if 0 < fraction < 1)))


def dataset_pieces(dataset: dict[str, Any], database: sqlite3.Connection) -> Iterator[str]:
    """The text of `dataset.json`, in pieces.

    Args:
        dataset: its content; `splits` as `Summary.splits_json` makes it.
        database: `images` of each split are taken from the table of `split.SCHEMA`: the SHA-256 of the source files in the
            records' order.
    """
    # In a string the quotes would be escaped, so this is a key, and only the splits have one whose value is an empty list.
    before, *after = json.dumps(dataset, indent=2, ensure_ascii=False, allow_nan=False).split(_NO_IMAGES)
    yield before
    for split, text in zip(dataset["splits"], after, strict=True):
        yield from _images(row[0] for row in database.execute(_IMAGES, (split,)))
        yield text
    yield "\n"


def _images(hashes: Iterable[bytes]) -> Iterator[str]:
    begin = '"images": ['
    for sha256 in hashes:
        yield f'{begin}\n        "{sha256.hex()}"'
        begin = ","
    yield "\n      ]" if begin == "," else _NO_IMAGES
