"""What `dataset.json` says of a data set: its splits, classes and sizes."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import sqrt
from typing import Any

from boxcar.records.split import SPLITS
from boxcar.records.voc import Labelled

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass
class Split:
    """One split's counts. `images` holds the SHA-256 of each picture's source file, in the records' order."""

    pictures: int = 0
    negatives: int = 0
    per_class: Counter[str] = field(default_factory=Counter)
    images: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)


class Summary:
    """Counts pictures as they are written.

    Args:
        labels: the classes' names by id.
    """

    def __init__(self, labels: dict[int, str]) -> None:
        self.labels = labels
        self.splits = {name: Split() for name in SPLITS}
        self.encoded = 0
        self._widths, self._heights, self._boxes = array("L"), array("L"), array("f")

    def add(self, split: str, sha256: bytes, width: int, height: int, kept_bytes: bool, objects: Sequence[Labelled]) -> None:
        """Counts one picture; its size is in pixels."""
        counts = self.splits[split]
        counts.pictures += 1
        counts.negatives += not objects
        counts.per_class.update(item.name for item in objects)
        counts.images.append(sha256.hex())
        self.encoded += not kept_bytes
        self._widths.append(width)
        self._heights.append(height)
        self._boxes.extend(sqrt((item.xmax - item.xmin) * (item.ymax - item.ymin) / (width * height)) for item in objects)

    def warnings(self) -> list[str]:
        """What a person should know of the classes, a sentence each."""
        said = []
        for name in self.labels.values():
            count = sum(split.per_class[name] for split in self.splits.values())
            if count == 0:
                said.append(f"The class {name} of the label map has no example.")
            elif count == 1:
                said.append(f"The class {name} has one example only.")
            said += [
                f"The class {name} has no example in the {split} split."
                for split, counts in self.splits.items()
                if count and not counts.per_class[name]
            ]
        return said

    def splits_json(self) -> dict[str, Any]:
        """Per split: pictures, negatives, boxes, per_class, shards, images."""
        return {
            name: {
                "pictures": split.pictures,
                "negatives": split.negatives,
                "boxes": split.per_class.total(),
                "per_class": {label: split.per_class[label] for label in self.labels.values()},
                "shards": sorted(split.shards),
                "images": split.images,
            }
            for name, split in self.splits.items()
        }

    def sizes_json(self) -> dict[str, Any]:
        """Quantiles of the pictures' sides in pixels, and of the boxes' (square root of box area / picture area)."""
        return {
            "picture_width": _spread(self._widths),
            "picture_height": _spread(self._heights),
            "relative_box_size": _spread(self._boxes),
        }


def _spread(values: "array[Any]") -> dict[str, float]:
    """Minimum, median, maximum, and the quantiles by their fraction; each is one of the values."""
    ordered = array(values.typecode, sorted(values))
    at = {fraction: round(ordered[round(fraction * (len(ordered) - 1))], 6) for fraction in _QUANTILES}
    named = zip(("min", "median", "max"), (at[0.0], at[0.5], at[1.0]), strict=True)
    return dict(chain(named, ((f"{fraction:g}", value) for fraction, value in at.items() if 0 < fraction < 1)))
