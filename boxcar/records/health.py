"""What a data set's boxes look like in numbers, and the labels that stand out. Needs no model."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from boxcar.config.run_settings import DEFAULT_ARCHITECTURE
from boxcar.detectors.catalog import ARCHITECTURES
from boxcar.records.annotation import LabeledObject, unpack
from boxcar.records.table import Images, ImageTable

# Histograms of sizes and aspect ratios have two bars for each doubling.
SIZE_BARS = range(2, 17)  # bar n is from 2^(n/2) pixels on at the input; the first and the last hold all beyond
RATIO_BARS = range(-7, 8)  # the middle of bar n is 2^(n/2), width by height; the first and the last hold all beyond
GRID = 16  # fields of the map of box centers, across and down
SMALL = 16  # pixels at the input
INPUT = ARCHITECTURES[DEFAULT_ARCHITECTURE].image_size  # pixels; training may choose another

# A box is odd if its size or its aspect ratio is this far from its class's median, in median absolute deviations and as a
# factor.
DEVIATIONS, FACTOR = 5.0, 3.0
FEWEST = 10  # boxes of a class; the median of fewer says little
NEAR_COPY = 0.9  # the IoU above which two boxes nearly coincide
_COMPARED = 16  # boxes that each is compared with, so that an image of a million boxes takes seconds
LISTED = 100  # suspicious labels of each kind; more are counted
_CHUNK = 64  # images
_SORTED = 1 << 16  # boxes
_LEAST = 2.0**-20  # of an image's side; a smaller box counts as this


class Suspect(NamedTuple):
    """A label that stands out."""

    row: int  # of its image
    objects: tuple[LabeledObject, ...]  # the odd box, or the two that nearly coincide
    reason: str  # a clause without the class names


class ClassSizes(NamedTuple):
    """The sizes of a class's boxes."""

    boxes: int
    median: float  # square root of the area, pixels at the input
    small: float  # share of the boxes under `SMALL` pixels, in [0, 1]


class Health(NamedTuple):
    """The boxes of a data set in numbers, and the first `LISTED` suspicious labels of each kind."""

    boxes: int
    small: float  # as in `ClassSizes`, of all boxes
    sizes: Mapping[str, ClassSizes]  # of each class that has a box
    size_counts: Sequence[int]  # boxes, for each of SIZE_BARS
    ratio_counts: Sequence[int]  # boxes, for each of RATIO_BARS
    centers: NDArray[np.int64]  # [GRID, GRID]: boxes by the place of their center, from the top left
    odd_boxes: Sequence[Suspect]  # the largest deviation of size or aspect ratio first
    odd_count: int
    near_copies: Sequence[Suspect]  # in the order of the images
    near_count: int  # pairs


class _Boxes(NamedTuple):
    """All boxes of the data set, 16 bytes each."""

    classes: NDArray[np.int32]  # [N], index into the names
    sizes: NDArray[np.float32]  # [N], square root of box area / image area
    ratios: NDArray[np.float32]  # [N], width / height
    rows: NDArray[np.int32]  # [N], of the image, ascending


def examine(table: ImageTable, images: Images, names: Sequence[str]) -> Health:
    """Looks at all boxes once.

    Args:
        table: holds the objects of the images.
        images: those that are written.
        names: of the classes.
    """
    numbers = {name: number for number, name in enumerate(names)}
    ratio_counts = np.zeros(len(RATIO_BARS), np.int64)
    size_counts = np.zeros(len(SIZE_BARS), np.int64)
    centers = np.zeros((GRID, GRID), np.int64)
    count, small = int(images["boxes"].sum()), 0
    boxes = _Boxes(
        np.empty(count, np.int32), np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.int32)
    )
    end = 0
    near_copies: list[Suspect] = []
    near_count = 0
    for begin in range(0, len(images), _CHUNK):
        classes, sides, rows = [], [], []
        for row, objects in _objects(table, images, begin):
            classes += [numbers[item.name] for item in objects]
            sides += [item[1:5] for item in objects]
            rows += [row] * len(objects)
            for suspect in near_copies_of(row, objects):
                near_count += 1
                if len(near_copies) < LISTED:
                    near_copies.append(suspect)
        if not rows:
            continue
        at = np.array(rows, np.int32)
        corners = np.array(sides, np.float64).reshape(-1, 2, 2)  # [N, lower and upper, x and y]
        extent = np.stack([images["width"][at], images["height"][at]], 1).astype(np.float64)
        shape = corners[:, 1] - corners[:, 0]
        across, down = np.minimum(corners.mean(1) / extent * GRID, GRID - 1).astype(np.int64).T
        np.add.at(centers, (down, across), 1)
        ratios = np.maximum(shape[:, 0], _LEAST) / np.maximum(shape[:, 1], _LEAST)
        ratio_counts += _counted(np.rint(2 * np.log2(ratios)), RATIO_BARS)
        sizes = np.maximum(np.sqrt((shape / extent).prod(1)), _LEAST).astype(np.float32)
        pixels = sizes * INPUT
        size_counts += _counted(np.floor(2 * np.log2(pixels)), SIZE_BARS)
        small += int((pixels < SMALL).sum())
        for column, values in zip(boxes, (classes, sizes, ratios, at), strict=True):
            column[end : end + len(rows)] = values
        end += len(rows)
    odd = _odd_boxes(boxes)
    return Health(
        boxes=count,
        small=small / count,
        sizes={names[number]: _class_sizes(boxes.sizes[inside] * INPUT) for number, inside in _by_class(boxes.classes)},
        size_counts=size_counts.tolist(),
        ratio_counts=ratio_counts.tolist(),
        centers=centers,
        odd_boxes=_suspects(table, images, boxes, odd[:LISTED]),
        odd_count=len(odd),
        near_copies=near_copies,
        near_count=near_count,
    )


def _objects(table: ImageTable, images: Images, begin: int) -> Iterator[tuple[int, list[LabeledObject]]]:
    """The row and the objects of each image of a chunk that has any."""
    for row in range(begin, min(begin + _CHUNK, len(images))):
        if images["boxes"][row]:
            yield row, unpack(table.objects(images[row : row + 1]))


def _counted(values: NDArray[np.floating], bars: range) -> NDArray[np.int64]:
    places = np.clip(values, bars.start, bars.stop - 1).astype(np.int64) - bars.start
    return np.bincount(places, minlength=len(bars))


def _by_class(classes: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Each class that has a box, and the places of its boxes, ascending."""
    counts = np.bincount(classes)
    ends = np.cumsum(counts)
    order = np.empty(len(classes), np.int32)  # NumPy's own sort of all places would take four times its memory
    free = ends - counts
    for begin in range(0, len(classes), _SORTED):
        some = classes[begin : begin + _SORTED]
        ascending = np.argsort(some, kind="stable")
        number = np.bincount(some, minlength=len(counts))
        order[np.repeat(free - (np.cumsum(number) - number), number) + np.arange(len(some))] = begin + ascending
        free += number
    for found in np.flatnonzero(counts).tolist():
        yield found, order[ends[found] - counts[found] : ends[found]]


def _class_sizes(pixels: NDArray[np.float32]) -> ClassSizes:
    return ClassSizes(len(pixels), float(np.median(pixels)), float((pixels < SMALL).mean()))


class _Odd(NamedTuple):
    """A box whose size or aspect ratio is far from those of its class's others."""

    place: int
    octaves: float
    below: str  # what it is more than the others if the octaves are below 0
    above: str


def _odd_boxes(boxes: _Boxes) -> list[_Odd]:
    """The odd boxes, each once, the farthest from its class's median first."""
    found: dict[int, _Odd] = {}
    for values, below, above in ((boxes.sizes, "smaller", "larger"), (boxes.ratios, "taller", "wider")):
        for _, inside in _by_class(boxes.classes):
            octaves = odd_octaves(values[inside])
            for at in np.flatnonzero(octaves).tolist():
                one = _Odd(int(inside[at]), float(octaves[at]), below, above)
                before = found.get(one.place)
                if before is None or abs(one.octaves) > abs(before.octaves):
                    found[one.place] = one
    return sorted(found.values(), key=lambda one: (-abs(one.octaves), one.place))


def odd_octaves(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far each odd size or aspect ratio of a class is from the median, in octaves; 0 for those that are not odd.

    Args:
        values: [N], above 0, in any unit.
    """
    away = np.log2(values, dtype=np.float64)
    away -= np.median(away)
    limit = max(DEVIATIONS * float(np.median(np.abs(away), overwrite_input=True)), math.log2(FACTOR))
    away[(np.abs(away) <= limit) | (len(values) < FEWEST)] = 0.0
    return away


def _suspects(table: ImageTable, images: Images, boxes: _Boxes, odd: Sequence[_Odd]) -> list[Suspect]:
    """These boxes, in their order."""
    found: dict[int, Suspect] = {}
    rows: NDArray[np.int32] = boxes.rows[[one.place for one in odd]]
    for row in np.unique(rows).tolist():
        objects = unpack(table.objects(images[row : row + 1]))
        first = int(np.searchsorted(boxes.rows, row))
        for one in odd:
            if boxes.rows[one.place] == row:
                factor, than = 2 ** abs(one.octaves), one.above if one.octaves > 0 else one.below
                times = f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}"
                reason = f"{times} times {than} than is typical of its class"
                found[one.place] = Suspect(row, (objects[one.place - first],), reason)
    return [found[one.place] for one in odd]


def near_copies_of(row: int, objects: Sequence[LabeledObject]) -> Iterator[Suspect]:
    """The pairs of an image's boxes that nearly coincide, of one class or of two."""
    ordered = sorted(objects, key=lambda item: item[1:5])
    for number, one in enumerate(ordered):
        # The sides of boxes whose IoU is above 0.9 differ by less than a ninth of the box's.
        across, down = ((high - low) * (1 / NEAR_COPY - 1) for low, high in ((one.xmin, one.xmax), (one.ymin, one.ymax)))
        farthest = one.xmin + across
        for other in ordered[number + 1 : number + 1 + _COMPARED]:
            if other.xmin > farthest:
                break
            if abs(other.ymin - one.ymin) <= down and (overlap := iou(one, other)) > NEAR_COPY:
                kind = "one object labeled twice" if one.name == other.name else "one object with two classes"
                yield Suspect(row, (one, other), f"{kind}? The boxes have an IoU of {math.floor(overlap * 100) / 100:.2f}")


def iou(one: LabeledObject, other: LabeledObject) -> float:
    """Intersection over union of two boxes with areas above 0."""
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((item.xmax - item.xmin) * (item.ymax - item.ymin) for item in (one, other))
    return width * height / (areas - width * height)


def image_sizes(images: Images, most: int) -> tuple[list[tuple[int, int, int]], int]:
    """The most frequent sizes of images as (width, height, number of images), and how many sizes there are."""
    counts = Counter(zip(images["width"].tolist(), images["height"].tolist(), strict=True))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(width, height, count) for (width, height), count in ordered[:most]], len(counts)
