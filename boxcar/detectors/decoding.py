"""From raw heads to detections, on the host: the one decoder behind TFLite, TensorFlow.js and evaluation."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from boxcar.detectors.anchors import make_anchors
from boxcar.detectors.boxes import iou_matrix
from boxcar.detectors.detections import Detections
from boxcar.detectors.specification import Anchors, BoxCoder, Specification

Floats = npt.NDArray[np.float32]

_BLOCK = 64  # candidates that are compared at once during suppression


@lru_cache(maxsize=8)
def _cached_anchors(image_size: int, anchors: Anchors) -> Floats:
    made = make_anchors(image_size, anchors)
    made.setflags(write=False)
    return made


def decode(box_encodings: Floats, class_logits: Floats, specification: Specification) -> Detections:
    """Turns one picture's heads into detections.

    Args:
        box_encodings: [A, 4] float32, (ty, tx, th, tw) relative to the anchors.
        class_logits: [A, C] float32; slot 0 is background.
        specification: the detector they came from.

    Returns:
        Detections after per-class non-maximum suppression, best score first, boxes clipped to the picture. Boxes with no area
        inside the picture are left out.

    Raises:
        ValueError: shapes that do not fit the specification, or values that are not finite.
    """
    anchors = _cached_anchors(specification.image_size, specification.anchors)
    if box_encodings.shape != (len(anchors), 4) or class_logits.shape != (len(anchors), specification.class_slots):
        raise ValueError(
            f"heads {list(box_encodings.shape)} and {list(class_logits.shape)} do not fit a detector with "
            f"{len(anchors)} anchors and {specification.class_slots} class slots"
        )
    if not (np.isfinite(box_encodings).all() and np.isfinite(class_logits).all()):
        raise ValueError("the heads hold values that are not finite")
    thresholds = specification.thresholds
    logits = class_logits[:, 1:]
    # Comparing logits with the threshold's logit saves the sigmoid of the 99 in 100 anchors that see nothing.
    lowest = np.log(thresholds.score / (1 - thresholds.score)) if thresholds.score > 0 else -np.inf
    anchor_index, class_index = np.nonzero(logits > lowest)
    scores = _sigmoid(logits[anchor_index, class_index])
    boxes = decode_boxes(box_encodings[anchor_index], anchors[anchor_index], specification.box_coder)
    clipped = np.clip(boxes, 0.0, 1.0)
    visible = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    kept: list[npt.NDArray[np.intp]] = []
    for label in np.unique(class_index):
        candidates = np.nonzero((class_index == label) & visible)[0]
        order = candidates[np.argsort(-scores[candidates], kind="stable")]
        kept.append(order[suppress(boxes[order], thresholds.iou, thresholds.max_detections_per_class)])
    chosen = np.concatenate(kept) if kept else np.zeros(0, np.intp)
    best = np.argsort(-scores[chosen], kind="stable")[: thresholds.max_detections]
    return Detections(
        boxes=clipped[chosen][best],
        scores=scores[chosen][best],
        classes=(class_index[chosen][best] + 1).astype(np.int64),
    )


def decode_boxes(encodings: Floats, anchors: Floats, coder: BoxCoder) -> Floats:
    """Boxes [N, 4] (ymin, xmin, ymax, xmax) from their encodings [N, 4] and anchors [N, 4]; not clipped."""
    height, width = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    y = encodings[:, 0] / coder.y_scale * height + (anchors[:, 0] + anchors[:, 2]) / 2
    x = encodings[:, 1] / coder.x_scale * width + (anchors[:, 1] + anchors[:, 3]) / 2
    # An untrained or spoiled network may answer anything: e^20 times the anchor is beyond every picture, and finite.
    half_height = np.exp(np.minimum(encodings[:, 2] / coder.height_scale, 20.0)) * height / 2
    half_width = np.exp(np.minimum(encodings[:, 3] / coder.width_scale, 20.0)) * width / 2
    return np.stack([y - half_height, x - half_width, y + half_height, x + half_width], axis=1).astype(np.float32)


def suppress(boxes: Floats, iou_threshold: float, most: int) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression of boxes [N, 4] sorted by falling score; indices of at most `most` that stay."""
    kept: list[int] = []
    for start in range(0, len(boxes), _BLOCK):
        block = boxes[start : start + _BLOCK]
        alive: npt.NDArray[np.bool_] = np.ones(len(block), np.bool_)
        if kept:
            alive = np.logical_not((iou_matrix(block, boxes[kept]) > iou_threshold).any(axis=1))
        overlaps = iou_matrix(block, block) > iou_threshold
        for index in range(len(block)):
            if alive[index]:
                kept.append(start + index)
                if len(kept) == most:
                    return np.asarray(kept, np.intp)
                alive &= ~overlaps[index]
    return np.asarray(kept, np.intp)


def _sigmoid(logits: Floats) -> Floats:
    # Clipped because e^88 is the largest float32 power; nothing above changes a score.
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80.0, 80.0))), np.float32)
