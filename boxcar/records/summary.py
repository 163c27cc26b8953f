"""What `dataset.json` says of a data set: its splits, classes and sizes."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import sqrt
from typing import Any

from boxcar.records.split import SPLITS
from boxcar.records.voc import Labelled

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass
class Counts:
    """What one shard or one split holds."""

    pictures: int = 0
    negatives: int = 0
    encoded: int = 0  # pictures whose file was not stored as it is
    per_class: Counter[str] = field(default_factory=Counter)
    images: list[str] = field(default_factory=list)  # SHA-256 of the source files, in the records' order
    widths: "array[int]" = field(default_factory=lambda: array("L"))  # pixels
    heights: "array[int]" = field(default_factory=lambda: array("L"))
    boxes: "array[float]" = field(default_factory=lambda: array("f"))  # square roots of box area / picture area

    def add(self, sha256: str, width: int, height: int, encoded: bool, objects: Sequence[Labelled]) -> None:
        """Counts one picture."""
        self.pictures += 1
        self.negatives += not objects
        self.encoded += encoded
        self.per_class.update([item.name for item in objects])
        self.images.append(sha256)
        self.widths.append(width)
        self.heights.append(height)
        area = width * height
        self.boxes.extend([sqrt((item.xmax - item.xmin) * (item.ymax - item.ymin) / area) for item in objects])

    def __iadd__(self, other: "Counts") -> "Counts":
        self.pictures += other.pictures
        self.negatives += other.negatives
        self.encoded += other.encoded
        self.per_class.update(other.per_class)
        self.images += other.images
        self.widths += other.widths
        self.heights += other.heights
        self.boxes += other.boxes
        return self


class Summary:
    """The counts of a whole data set.

    Args:
        labels: the classes' names by id.
        shards: each shard's counts by its file's name, `<split>-00000-of-00001.tfrecord`.
    """

    def __init__(self, labels: dict[int, str], shards: Mapping[str, Counts]) -> None:
        self.labels = labels
        self.shards = {split: sorted(name for name in shards if name.startswith(f"{split}-")) for split in SPLITS}
        self.splits = {split: Counts() for split in SPLITS}
        self.whole = Counts()
        for split, names in self.shards.items():
            for name in names:
                self.splits[split] += shards[name]
                self.whole += shards[name]

    def warnings(self) -> list[str]:
        """What a person should know of the classes, a sentence each."""
        said = []
        for name in self.labels.values():
            count = self.whole.per_class[name]
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
                "shards": self.shards[name],
                "images": split.images,
            }
            for name, split in self.splits.items()
        }

    def sizes_json(self) -> dict[str, Any]:
        """Quantiles of the pictures' sides in pixels, and of the boxes' (square root of box area / picture area)."""
        return {
            "picture_width": _spread(self.whole.widths),
            "picture_height": _spread(self.whole.heights),
            "relative_box_size": _spread(self.whole.boxes),
        }


def _spread(values: "array[Any]") -> dict[str, float]:
    """Minimum, median, maximum, and the quantiles by their fraction; each is one of the values."""
    ordered = array(values.typecode, sorted(values))
    at = {fraction: round(ordered[round(fraction * (len(ordered) - 1))], 6) for fraction in _QUANTILES}
    named = zip(("min", "median", "max"), (at[0.0], at[0.5], at[1.0]), strict=True)
    return dict(chain(named, ((f"{fraction:g}", value) for fraction, value in at.items() if 0 < fraction < 1)))
