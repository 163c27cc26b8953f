"""Boxes are (ymin, xmin, ymax, xmax), in the last axis of an array."""

import numpy as np
from numpy.typing import NDArray


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every box in `a` with every box in `b`.

    Args:
        a: [N, 4], in any unit.
        b: [M, 4], in the same unit.

    Returns:
        [N, M] in 0 to 1; 0 where neither box has an area. A box that is upside down counts as one without area.
    """
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.prod(np.maximum(bottom_right - top_left, 0), axis=-1, dtype=np.float32)
    area_a = np.prod(np.maximum(a[:, 2:] - a[:, :2], 0), axis=-1, dtype=np.float32)
    area_b = np.prod(np.maximum(b[:, 2:] - b[:, :2], 0), axis=-1, dtype=np.float32)
    union = area_a[:, None] + area_b[None, :] - intersection
    result: NDArray[np.float32] = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return result
