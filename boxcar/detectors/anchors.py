"""Anchors of all levels, in the order of the heads' outputs."""

import numpy as np
import numpy.typing as npt

from boxcar.detectors.specification import Anchors


def feature_sizes(image_size: int, anchors: Anchors) -> list[int]:
    """Side of each level's feature map: the input halved with rounding up, level after level (SAME padding, stride 2)."""
    return [-(-image_size // 2**level) for level in range(anchors.min_level, anchors.max_level + 1)]


def make_anchors(image_size: int, anchors: Anchors) -> npt.NDArray[np.float32]:
    """Anchor boxes [A, 4] as (ymin, xmin, ymax, xmax), normalised to the input; they may stand out of it.

    Order: level, row, column, aspect ratio, scale. A level whose stride divides the input has its anchors in the middle of
    the cells, any other level at their upper left corner: so the Object Detection API does it
    (anchor_generators/multiscale_grid_anchor_generator.py), and so the zoo's weights expect it.
    """
    boxes = []
    scales = 2.0 ** (np.arange(anchors.scales_per_octave) / anchors.scales_per_octave)
    roots = np.sqrt(np.asarray(anchors.aspect_ratios))
    for level, size in enumerate(feature_sizes(image_size, anchors), start=anchors.min_level):
        stride = 2**level
        offset = stride / 2 if image_size % stride == 0 else 0.0
        centres = np.arange(size) * stride + offset
        base = anchors.anchor_scale * stride
        heights = (base / roots[:, None] * scales[None, :]).ravel()
        widths = (base * roots[:, None] * scales[None, :]).ravel()
        y, x, shape = np.meshgrid(centres, centres, np.arange(heights.size), indexing="ij")
        half_height, half_width = heights[shape] / 2, widths[shape] / 2
        level_boxes = np.stack([y - half_height, x - half_width, y + half_height, x + half_width], axis=-1)
        boxes.append(level_boxes.reshape(-1, 4) / image_size)
    return np.concatenate(boxes).astype(np.float32)
