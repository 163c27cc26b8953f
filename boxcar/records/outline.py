"""An object's outline as a label gives it, and the box of one as COCO has it.

A mask's runs alternate between background and object, and go down the columns, from left to right. As text, a run is a number
with 5 bits per character, the lowest first, from the fourth run on less the run before the last.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

_LARGEST = 2**31 - 1  # pixels of a side

Sides = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax in pixels


class Mask(NamedTuple):
    """The pixels of an object in a part of its image."""

    width: int  # of the part, pixels
    height: int
    runs: Sequence[int] | str  # their lengths, or COCO's text of them
    left: int | None = None  # where the part is in the image; None if it is the whole image
    top: int | None = None


class Outline(NamedTuple):
    """What an object covers: all that its polygons and masks cover together.

    `boxcar.records.masks` checks what comes from a label. Before that, the elements may be of any type and have any value.
    """

    polygons: Sequence[Sequence[float]] = ()  # each x, y, x, y, ... in pixels or, before the check, in the unit of the boxes
    masks: Sequence[Mask] = ()


def restored(outline: Any) -> Outline:
    """An outline that went through JSON.

    Raises:
        TypeError, ValueError: it is none.
    """
    polygons, masks = outline
    return Outline(polygons, [Mask(*mask) for mask in masks])


def coco_outline(segmentation: Any) -> Outline:
    """A COCO `segmentation` of any content, unchecked.

    Args:
        segmentation: polygons, each [x, y, x, y, ...], or one of them; or {"size": [height, width], "counts": list or text}.
    """
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        height, width = size if isinstance(size, list) and len(size) == 2 else (0, 0)
        return Outline((), [Mask(width, height, segmentation.get("counts", ""))])
    return Outline(segmentation if isinstance(segmentation[0], list) else [segmentation])


def outline_box(outline: Any) -> Sides | None:
    """The box around a COCO `segmentation` of any content; None if it has no outline that can be understood.

    Args:
        outline: polygons, each [x, y, x, y, ...], or one of them; or {"size": [height, width], "counts": list or text}.

    Returns:
        NaN for a polygon with NaN.
    """
    if isinstance(outline, dict):
        return _mask_box(outline)
    if not isinstance(outline, list) or not outline:
        return None
    polygons = outline if isinstance(outline[0], list) else [outline]
    numbers = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(type(number) in (int, float) for number in polygon):
            return None
        numbers += polygon
    if any(number != number for number in numbers):
        return math.nan, math.nan, math.nan, math.nan
    if not numbers:
        return None
    xmin, ymin, xmax, ymax = min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    return as_float(xmin), as_float(ymin), as_float(xmax), as_float(ymax)


def as_float(number: float) -> float:
    """A float of a number that may be an int of any size."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _mask_box(mask: dict[str, Any]) -> Sides | None:
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and 0 < side <= _LARGEST for side in size):
        return None
    runs = decoded_runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return None
    height, width = size
    if sum(runs) > height * width:
        return None
    xmin, ymin, xmax, ymax = width, height, 0, 0
    end = 0
    for number, run in enumerate(runs):
        begin, end = end, end + run
        if number % 2 and run:
            first, last = begin // height, (end - 1) // height  # columns
            through = first != last  # the run goes through the bottom of one column and the top of the next
            xmin, xmax = min(xmin, first), max(xmax, last + 1)
            ymin = min(ymin, 0 if through else begin % height)
            ymax = max(ymax, height if through else (end - 1) % height + 1)
    return (float(xmin), float(ymin), float(xmax), float(ymax)) if xmin < xmax else None


def decoded_runs(text: str) -> Sequence[int] | None:
    """The lengths of the runs in a compressed mask; None if it is not one."""
    runs: list[int] = []
    value = shift = 0
    for sign in text:
        code = ord(sign) - 48
        if not 0 <= code < 64 or shift > 60:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:  # more of this number follows
            continue
        if code & 0x10:  # it is negative
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            return None
        value = shift = 0
    return None if shift else runs
