"""Anchors of all levels, in the order of the heads' outputs."""

import numpy as np
import numpy.typing as npt

from boxcar.inference.specification import Anchors


def feature_sizes(image_size: int, anchors: Anchors) -> list[int]:
    """Side of each level's feature map: the input halved with rounding up, level after level (SAME padding, stride 2)."""
    return [-(-image_size // 2**level) for level in range(anchors.min_level, anchors.max_level + 1)]


def make_anchors(image_size: int, anchors: Anchors) -> npt.NDArray[np.float32]:
    """Anchor boxes [A, 4] as (ymin, xmin, ymax, xmax), normalized to the input; they may reach beyond it.

    Order: level, row, column, aspect ratio, scale. A level whose stride divides the input has its anchors in the middle of
    the cells, any other level at their upper left corners, as in the Object Detection API
    (anchor_generators/multiscale_grid_anchor_generator.py, grid_anchor_generator.py) and as the zoo's weights expect. The
    numbers equal the API's to the last bit, by the same float32 operations: a small box is inside several anchors of one area,
    and rounding decides which of them it is matched to.
    """
    boxes = []
    scales = np.asarray([2.0 ** (step / anchors.scales_per_octave) for step in range(anchors.scales_per_octave)], np.float32)
    roots = np.sqrt(np.asarray(anchors.aspect_ratios, np.float32))
    for level, size in enumerate(feature_sizes(image_size, anchors), start=anchors.min_level):
        stride = np.float32(2**level)
        offset = stride / 2 if image_size % 2**level == 0 else np.float32(0)
        centres = np.arange(size, dtype=np.float32) * stride + offset
        base = np.float32(anchors.anchor_scale) * stride
        heights = (scales[None, :] / roots[:, None] * base).ravel()
        widths = (scales[None, :] * roots[:, None] * base).ravel()
        y, x, shape = np.meshgrid(centres, centres, np.arange(heights.size), indexing="ij")
        half_height, half_width = heights[shape] / 2, widths[shape] / 2
        level_boxes = np.stack([y - half_height, x - half_width, y + half_height, x + half_width], axis=-1)
        boxes.append(level_boxes.reshape(-1, 4) * (np.float32(1) / np.float32(image_size)))
    return np.concatenate(boxes)
