"""Outlines in the forms that label formats have for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from boxcar.records.annotation import LabeledObject
from boxcar.records.masks import drawn, mask_of
from boxcar.records.outline import Outline

_AWAY = 1.0  # pixels: programs round the sides of a box


def coco_segmentation(outline: Outline, width: int, height: int) -> tuple[Any, int]:
    """A COCO `segmentation`, and its area in pixels.

    Args:
        outline: checked.
        width, height: of the image, pixels.

    Returns:
        Polygons or, if the outline has a mask, {"size": [height, width], "counts": list}.
    """
    pixels, left, top = drawn(outline, width, height)
    area = int(pixels.sum())
    if not outline.masks:
        return outline.polygons, area
    image = np.zeros((height, width), np.bool_)
    image[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return {"size": [height, width], "counts": mask_of(image).runs}, area


def one_polygon(item: LabeledObject, width: int, height: int) -> list[float] | None:
    """An object's outline as one polygon [x, y, x, y, ...], as YOLO has it.

    Several polygons are joined by lines that lead from the first one to each other and back, and have no area.

    Returns:
        None if there is no such polygon with the same pixels and, except for rounding, the same box.
    """
    outline = item.outline
    if outline is None or outline.masks:
        return None
    first = outline.polygons[0]
    joined = list(first)
    for polygon in outline.polygons[1:]:
        joined += [*first[:2], *polygon, *polygon[:2]]
    if len(outline.polygons) > 1:
        joined += first[:2]
        if not np.array_equal(drawn(outline, width, height)[0], drawn(Outline([joined]), width, height)[0]):
            return None  # they overlap
    xs, ys = np.clip(joined[::2], 0, width), np.clip(joined[1::2], 0, height)
    sides: Sequence[float] = (xs.min(), ys.min(), xs.max(), ys.max())
    same = all(abs(side - other) <= _AWAY for side, other in zip(sides, item[1:5], strict=True))
    return joined if same else None
