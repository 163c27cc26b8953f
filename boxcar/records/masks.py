"""Outlines as pixels: their check and their drawing.

Polygons are drawn as pycocotools does, to the same pixels. An outline has the same content whatever format it came from:
points have hundredths of a pixel, and masks end where their object does.

Imports NumPy, which the processes that read images load only if there are outlines.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxcar.records.faults import Kind
from boxcar.records.outline import Mask, Outline, decoded_runs

Pixels = NDArray[np.bool_]  # [height, width]
Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax in pixels

MOST_PIXELS = 120_000_000  # of one mask that is read
MOST_MASK_PIXELS = 40_000_000_000  # of all masks of an image, each of which has the image's size: about 40 MB as PNG
_MOST_DRAWN = 2_000_000_000  # pixels in the boxes around an image's outlines: about 10 seconds
_COLUMN = 100  # pixels that are drawn in the time that it takes to find where an edge crosses a column of pixels
_DIGITS = 2  # of a coordinate
_INSIDE = 0.5  # of the box around an outline, the least share that is in the object's box
_SCALE = 5  # points of the grid on which polygons are drawn, per pixel
_AT_ONCE = 1_000_000  # crossings


class _UnusableError(ValueError):
    """An outline cannot be used; the text is a clause that says why."""


class OutlineCheck:
    """Checks the outlines of one image.

    Args:
        width, height: of the image, pixels.
        scale: what polygons' coordinates are multiplied by; None if they are pixels.

    Attributes:
        unused: why outlines cannot be used, a clause each.
    """

    def __init__(self, width: int, height: int, scale: tuple[int, int] | None) -> None:
        self._width, self._height = width, height
        self._scale = np.array([1, 1] if scale is None else scale, np.float64)
        self._drawn = 0.0  # as _MOST_DRAWN
        self._found = False
        self.unused: list[str] = []

    def checked(self, outline: Outline, box: Box, label: str) -> Outline | None:
        """The outline in pixels of the image; None if it has no area or cannot be used.

        Args:
            outline: with content of any kind.
            box: the object's.
            label: what a sentence calls the object.
        """
        if self._drawn > _MOST_DRAWN:
            return None
        try:
            found = self._checked(outline, box)
        except _UnusableError as error:
            self.unused.append(f"{label} {error}")
            return None
        self._found |= found is not None
        return found

    def problems(self, objects: int) -> list[tuple[Kind, str]]:
        """What is wrong with all outlines together, if the image has so many objects."""
        if self._drawn > _MOST_DRAWN:
            return [("labels_too_large", "its outlines have too many pixels and corners to be drawn")]
        if self._found and (pixels := objects * self._width * self._height) > MOST_MASK_PIXELS:
            reason = f"the masks of its {objects:,} objects have {pixels:,} pixels; the limit is {MOST_MASK_PIXELS:,}"
            return [("labels_too_large", reason)]
        return []

    def _checked(self, outline: Outline, box: Box) -> Outline | None:
        if not isinstance(outline.polygons, Sequence) or not isinstance(outline.masks, Sequence):
            raise _UnusableError("has an outline that is no list")
        polygons = [points.tolist() for one in outline.polygons if len(points := self._points(one)) >= 6]
        masks = [cropped for mask in outline.masks if (cropped := self._cropped(mask)) is not None]
        found = Outline(polygons, masks)
        xmin, ymin, xmax, ymax = around = _box_around(found)
        if not (polygons or masks) or xmin >= xmax or ymin >= ymax:
            return None
        across, down = (min(around[at + 2], box[at + 2]) - max(around[at], box[at]) for at in (0, 1))
        if across <= 0 or down <= 0 or across * down < _INSIDE * (xmax - xmin) * (ymax - ymin):
            raise _UnusableError("has an outline that is elsewhere than its box")
        for one in polygons:
            xmin, ymin, xmax, ymax = _box_around(Outline([one]))
            self._drawn += (xmax - xmin) * (ymax - ymin) + float(np.abs(np.diff(one[::2])).sum()) * _COLUMN
        return found

    def _points(self, polygon: Any) -> NDArray[np.float64]:
        """A polygon's coordinates in pixels [x, y, x, y, ...]."""
        if not isinstance(polygon, list | tuple) or len(polygon) % 2 or not set(map(type, polygon)) <= {int, float}:
            raise _UnusableError("has an outline that is no list of x, y, x, y, ...")
        try:
            points = np.array(polygon, np.float64).reshape(-1, 2)
        except OverflowError as error:
            raise _UnusableError("has an outline with a coordinate of too many digits") from error
        if not np.isfinite(points).all():
            raise _UnusableError("has an outline with a coordinate that is not finite")
        with np.errstate(over="ignore"):
            # Without the sign of -0.0, by which the same outlines would be another data set.
            return np.round(points * self._scale, _DIGITS).ravel() + 0.0

    def _cropped(self, mask: Mask) -> Mask | None:
        """A mask without the empty columns and rows at its sides; None if it is empty."""
        width, height, runs, left, top = mask
        of_image = left is None and top is None
        left, top = left or 0, top or 0
        if not all(type(number) is int for number in (width, height, left, top)) or min(width, height) < 1:
            raise _UnusableError("has a mask that cannot be read")
        if (of_image and (width, height) != (self._width, self._height)) or not (
            0 <= left <= left + width <= self._width and 0 <= top <= top + height <= self._height
        ):
            raise _UnusableError(
                f"has a mask of {width}×{height}, which does not fit the image of {self._width}×{self._height}"
            )
        found = decoded_runs(runs) if isinstance(runs, str) else runs
        if not isinstance(found, list) or not all(type(run) is int and run >= 0 for run in found):
            raise _UnusableError("has a mask without runs")
        if sum(found) != width * height:
            raise _UnusableError(f"has a mask whose runs have {sum(found):,} pixels instead of {width * height:,}")
        lengths = np.array(found, np.int64)
        ends = np.cumsum(lengths)
        begins = ends - lengths
        inside = np.flatnonzero(lengths[1::2]) * 2 + 1
        if not inside.size:
            return None
        first, last = int(begins[inside[0]]) // height, (int(ends[inside[-1]]) - 1) // height + 1  # columns
        self._drawn += (last - first) * height
        if self._drawn > _MOST_DRAWN:
            return None
        lengths = np.minimum(np.maximum(ends, first * height), last * height)
        pixels = _from_runs(np.diff(lengths, prepend=first * height), height)
        rows = np.flatnonzero(pixels.any(axis=1))
        low, high = int(rows[0]), int(rows[-1]) + 1
        return mask_of(pixels[low:high], left + first, top + low)


def mask_of(pixels: Pixels, left: int | None = None, top: int | None = None) -> Mask:
    """A mask of the pixels of a part of an image, which begins at `left` and `top`, or of a whole image."""
    height, width = pixels.shape
    flat = np.ascontiguousarray(pixels.T).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return Mask(width, height, [0, *runs] if flat[0] else runs, left, top)


def box_of(pixels: Pixels) -> tuple[int, int, int, int] | None:
    """The box around pixels: xmin, ymin, xmax, ymax; None if there are none."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if rows.size else None


def pixels_of_rows(runs: list[int], width: int, height: int) -> Pixels | None:
    """The pixels of a mask whose runs go along the rows, from top to bottom; None if they do not fit its size."""
    if sum(runs) != width * height or min(width, height) < 1 or width * height > MOST_PIXELS:
        return None
    return _from_runs(np.array(runs, np.int64), width).T


def _from_runs(lengths: NDArray[np.int64], height: int) -> Pixels:
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(-1, height).T


def _box_around(outline: Outline) -> Box:
    """The box around a checked outline."""
    boxes = [(min(one[::2]), min(one[1::2]), max(one[::2]), max(one[1::2])) for one in outline.polygons]
    for mask in outline.masks:
        left, top = mask.left or 0, mask.top or 0
        boxes.append((left, top, left + mask.width, top + mask.height))
    if not boxes:
        return 0.0, 0.0, 0.0, 0.0
    xmin, ymin, xmax, ymax = zip(*boxes, strict=True)
    return min(xmin), min(ymin), max(xmax), max(ymax)


def drawn(outline: Outline, width: int, height: int) -> tuple[Pixels, int, int]:
    """The pixels of a checked outline in the part of an image of `width` × `height` pixels around it, and where that is.

    Returns:
        The pixels, which may be none, and the part's left and top edge.
    """
    left, top, right, bottom = _part_around(outline, width, height)
    pixels = np.zeros((bottom - top, right - left), np.bool_)
    for polygon in outline.polygons:
        xmin, ymin, xmax, ymax = _part_around(Outline([polygon]), width, height)
        if xmin < xmax and ymin < ymax:
            points = np.array(polygon, np.float64).reshape(-1, 2)
            inside = _filled(points, xmin, ymin, ymax - ymin, xmax - xmin)
            pixels[ymin - top : ymax - top, xmin - left : xmax - left] |= inside
    for mask in outline.masks:
        assert mask.left is not None and mask.top is not None
        x, y = mask.left - left, mask.top - top
        pixels[y : y + mask.height, x : x + mask.width] |= _from_runs(np.array(mask.runs, np.int64), mask.height)
    return pixels, left, top


def _part_around(outline: Outline, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of an image around an outline: left, top, right, and bottom edge, pixels."""
    xmin, ymin, xmax, ymax = _box_around(outline)
    left, top = min(max(0, math.floor(xmin)), width), min(max(0, math.floor(ymin)), height)
    return left, top, max(left, min(width, math.ceil(xmax) + 1)), max(top, min(height, math.ceil(ymax) + 1))


def _filled(points: NDArray[np.float64], left: int, top: int, height: int, width: int) -> Pixels:
    """A polygon's pixels, as `rleFrPoly` of pycocotools has them (common/maskApi.c).

    It draws the polygon's edges on a grid of `_SCALE` points per pixel and notes where they cross the middle of a column of
    pixels. Between an odd crossing and the next, the column's pixels are inside.

    Args:
        points: [N, 2], x and y in pixels of the image.
        left, top, height, width: the part of the image to draw.
    """
    corners = np.trunc(points * _SCALE + 0.5)
    toggles = np.zeros(width * (height + 1), np.bool_)
    for columns, rows in _crossings(corners, left, width):
        places, counts = np.unique(columns * (height + 1) + np.clip(rows - top, 0, height), return_counts=True)
        toggles[places[counts % 2 == 1]] ^= True
    inside = toggles.reshape(width, height + 1)
    np.logical_xor.accumulate(inside, axis=1, out=inside)
    return inside[:, :height].T


def _crossings(corners: NDArray[np.float64], left: int, width: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Where a polygon's edges cross the middles of columns: the columns, counted from `left`, and rows of the image.

    Args:
        corners: [N, 2], x and y, whole points of the grid.
        left, width: the columns that count.
    """
    begins, ends = corners, np.roll(corners, -1, axis=0)
    wide = (np.abs(ends - begins) @ [1, -1]) >= 0
    # From left to right or, if an edge is steep, from top to bottom.
    swapped = np.where(wide, begins[:, 0] > ends[:, 0], begins[:, 1] > ends[:, 1])[:, None]
    begins, ends = np.where(swapped, ends, begins), np.where(swapped, begins, ends)
    low, high = np.minimum(begins[:, 0], ends[:, 0]), np.maximum(begins[:, 0], ends[:, 0])
    # The middle of a column n is between the points 5 n + 2 and 5 n + 3.
    first = np.maximum(np.ceil((low - 2) / _SCALE), left).astype(np.int64)
    last = np.minimum(np.floor((high - 3) / _SCALE), left + width - 1).astype(np.int64)
    numbers = np.maximum(last - first + 1, 0)
    totals = np.cumsum(numbers)
    bounds = np.searchsorted(totals, np.arange(0, totals[-1] + _AT_ONCE, _AT_ONCE))
    for start, end in zip(bounds, [*bounds[1:], len(corners)], strict=True):
        some = numbers[start:end]
        if not some.sum():
            continue
        edge = np.repeat(np.arange(start, end), some)
        column = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(some) - some, some)
        (x, y), (to_x, to_y) = begins[edge].T, ends[edge].T
        before = _SCALE * column + 2
        with np.errstate(divide="ignore", invalid="ignore"):
            across = np.where(wide[edge], (to_y - y) / (to_x - x), (to_x - x) / (to_y - y))
            step = before - x
            upper = np.minimum(np.trunc(y + across * step + 0.5), np.trunc(y + across * (step + 1) + 0.5))
            # The first step of a steep edge that is past the middle, which rounding may move by one.
            past = np.floor((before + 0.5 - x) / across) - 1
            for _ in range(3):
                there = np.trunc(x + across * past + 0.5)
                past += np.where(across > 0, there <= before, there > before)
        point = np.where(wide[edge], upper, y + past - 1)
        yield column - left, np.ceil((point - 2) / _SCALE).astype(np.int64)
