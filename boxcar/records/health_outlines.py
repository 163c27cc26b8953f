"""Outlines as paths of SVG over the thumbnails of the health page.

Their length does not depend on the image's size: a polygon has at most `_MOST_CORNERS` corners, a mask `_MOST_STRIPS` strips.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from boxcar.pages.thumbnails import CANVAS
from boxcar.records.annotation import LabeledObject
from boxcar.records.outline import Mask

_MOST_CORNERS = 400
_STRIP = 2  # width on the canvas
_MOST_STRIPS = 2_000  # more than any mask has but one of noise, which is drawn in part


def outline_paths(objects: Sequence[LabeledObject], height: int) -> tuple[str, ...]:
    """The path of each object with an outline, on a canvas whose height is `CANVAS`.

    Args:
        objects: checked, in the stored image.
        height: of this image, pixels.
    """
    scale = CANVAS / height
    paths = []
    for item in objects:
        if item.outline is not None:
            parts = [_polygon(points, scale) for points in item.outline.polygons]
            parts += [strip for mask in item.outline.masks for strip in islice(_strips(mask, scale), _MOST_STRIPS)]
            paths.append("".join(parts))
    return tuple(paths)


def _polygon(points: Sequence[float], scale: float) -> str:
    corners = [(round(x * scale, 1), round(y * scale, 1)) for x, y in zip(points[::2], points[1::2], strict=True)]
    corners = corners[:: -(-len(corners) // _MOST_CORNERS)]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners) + "Z"


def _strips(mask: Mask, scale: float) -> Iterator[str]:
    """The object's runs in some columns of a checked mask, each as a rectangle that reaches to the next of these columns."""
    assert mask.left is not None and mask.top is not None
    ends = np.cumsum(mask.runs)
    step = max(1, round(_STRIP / scale))
    for column in range(0, mask.width, step):
        begin, width = column * mask.height, min(step, mask.width - column)
        x, across = round((mask.left + column) * scale, 1), round(width * scale, 1)
        run = int(np.searchsorted(ends, begin, "right"))
        low = begin
        while low < begin + mask.height:
            high = min(int(ends[run]), begin + mask.height)
            if run % 2:
                y, down = round((mask.top + low - begin) * scale, 1), round((high - low) * scale, 1)
                yield f"M{x:g} {y:g}h{across:g}v{down:g}h-{across:g}z"
            low, run = high, run + 1
