"""Intersection over union of boxes (ymin, xmin, ymax, xmax)."""

import numpy as np
from numpy.typing import NDArray


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every box in `a` with every box in `b`.

    Args:
        a: [N, 4], in any unit.
        b: [M, 4], in the same unit.

    Returns:
        [N, M] in 0 to 1; 0 if neither box has an area. An inverted box has no area.
    """
    height = np.minimum(a[:, None, 2], b[:, 2]) - np.maximum(a[:, None, 0], b[:, 0])
    width = np.minimum(a[:, None, 3], b[:, 3]) - np.maximum(a[:, None, 1], b[:, 1])
    intersection = np.maximum(height, 0) * np.maximum(width, 0)
    area_a = np.maximum(a[:, 2] - a[:, 0], 0) * np.maximum(a[:, 3] - a[:, 1], 0)
    area_b = np.maximum(b[:, 2] - b[:, 0], 0) * np.maximum(b[:, 3] - b[:, 1], 0)
    union = area_a[:, None] + area_b[None, :] - intersection
    result: NDArray[np.float32] = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return result
