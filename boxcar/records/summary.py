"""The content of `dataset.json` and `box_shapes.json`: a data set's splits, classes, and sizes."""

from array import array
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxcar.data.label_map import BACKGROUND
from boxcar.records.shards import ShardCounts
from boxcar.records.split_names import SPLITS
from boxcar.records.table import Images, hash_at

_NAMED = 5  # classes in a warning about many
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Summary:
    """The shards of a data set, and the counts of its objects.

    Args:
        labels: the classes' names by id.
    """

    def __init__(self, labels: dict[int, str]) -> None:
        self._labels = labels
        self._shards: dict[str, list[str]] = {split: [] for split in SPLITS}
        self._per_class = {split: Counter[str]() for split in SPLITS}
        self._boxes = array("f")  # square roots of box area / image area
        self.outlines = 0  # objects that have one
        self.train_shapes = Counter[tuple[str, int, int]]()  # as `box_shapes.write_box_shapes` takes them

    def add(self, shard: str, counts: ShardCounts) -> None:
        """Adds a shard, by its file's name, `<split>-00000-of-00001.tfrecord`."""
        split = shard.partition("-")[0]
        self._shards[split].append(shard)
        self._per_class[split].update(counts.per_class)
        self._boxes.extend(counts.boxes)
        self.outlines += counts.outlines
        if split == "train":
            self.train_shapes.update(counts.shapes)

    def warnings(self) -> list[str]:
        """Warnings about the classes, one sentence for each kind."""
        counts = {name: sum(count[name] for count in self._per_class.values()) for name in self._labels.values()}
        found = {"of the label map {} no example": [name for name, count in counts.items() if count == 0]}
        found["{} one example only"] = [name for name, count in counts.items() if count == 1]
        for split, per_class in self._per_class.items():
            found[f"{{}} no example in the {split} split"] = [name for name, n in counts.items() if n and not per_class[name]]
        warnings = [_about(names, sentence) for sentence, names in found.items() if names]
        warnings += [
            f"The class {name} is learned like every other class. If it stands for places without an object, leave it out with "
            f"--classes=-{name}, because such images need no class."
            for name in self._labels.values()
            if "".join(filter(str.isalpha, name)).casefold() == BACKGROUND
        ]
        spelled = defaultdict(list)
        for name in self._labels.values():
            spelled["".join(name.casefold().split())].append(name)
        alike = [" and ".join(names) for names in spelled.values() if len(names) > 1]
        if len(alike) > _NAMED:
            return [*warnings, f"Names of classes differ only in case or white space {len(alike)} times: {alike[0]}, ..."]
        return warnings + [f"{names} are different classes." for names in alike]

    def outline_warnings(self) -> list[str]:
        """A warning about the objects without an outline, if there are any."""
        objects = len(self._boxes)
        without = objects - self.outlines
        if not without:
            return []
        which = "1 has no outline; its box is its mask"
        if without > 1:
            which = f"{without} have no outline; their boxes are their masks"
        return [f"Of {objects} objects, {which}."]

    def splits_json(self, images: Images) -> dict[str, Any]:
        """Per split: pictures, negatives, boxes, per_class, shards, and the images' SHA-256 in the records' order."""
        splits = {}
        for number, (split, per_class) in enumerate(self._per_class.items()):
            inside = images["split"] == number
            splits[split] = {
                "pictures": int(inside.sum()),
                "negatives": int((images["boxes"][inside] == 0).sum()),
                "boxes": per_class.total(),
                "per_class": {label: per_class[label] for label in self._labels.values()},
                "shards": sorted(self._shards[split]),
                "images": [hash_at(sha256).hex() for sha256 in images["sha256"][inside]],
            }
        return splits

    def sizes_json(self, images: Images) -> dict[str, Any]:
        """Quantiles of the images' sides in pixels, and of the boxes' (square root of box area / image area)."""
        return {
            "picture_width": quantiles(images["width"]),
            "picture_height": quantiles(images["height"]),
            "relative_box_size": quantiles(np.array(self._boxes)),
        }


def _about(names: list[str], sentence: str) -> str:
    """A sentence about classes, of which it names some; `{}` is where the verb goes."""
    if len(names) == 1:
        before, _, after = sentence.partition("{}")
        return f"The class {names[0]} {before}has{after}."
    some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{len(names)} classes {sentence.format('have')}: {some}"


def quantiles(values: NDArray[Any]) -> dict[str, float]:
    """Minimum, median, maximum, and the quantiles by their fraction; each is one of the values."""
    ascending = np.sort(values)
    at = {fraction: round(ascending[round(fraction * (len(values) - 1))].item(), 6) for fraction in _QUANTILES}
    named = {"min": at[0.0], "median": at[0.5], "max": at[1.0]}
    return named | {f"{fraction:g}": value for fraction, value in at.items() if 0 < fraction < 1}
