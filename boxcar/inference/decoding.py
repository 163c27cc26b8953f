"""Decodes raw heads to boxes on the host, for TFLite, TensorFlow.js, and evaluation."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from boxcar.inference.anchors import make_anchors
from boxcar.inference.boxes import iou_matrix
from boxcar.inference.detections import Detections
from boxcar.inference.heads import CLASS_AXIS, Decoder, Floats, Heads, Output
from boxcar.inference.specification import Anchors, BoxCoder, Specification

_BLOCK = 64  # candidates that are compared at once during suppression
_FIRST = 2000  # the best candidates, which are tried before all are


@lru_cache(maxsize=8)
def _cached_anchors(image_size: int, anchors: Anchors) -> Floats:
    made = make_anchors(image_size, anchors)
    made.setflags(write=False)
    return made


def decode(heads: Heads, specification: Specification) -> Detections:
    """Turns one image's heads into detections.

    Args:
        heads: the outputs that `BOXES.outputs` lists: `box_encodings` [A, 4] and `class_logits` [A, C].
        specification: the detector they came from.

    Returns:
        Detections after per-class non-maximum suppression, best score first, boxes clipped to the image. Boxes with no area
        inside the image are left out.

    Raises:
        ValueError: shapes that do not fit the specification, or values that are not finite.
    """
    box_encodings, class_logits = heads["box_encodings"], heads["class_logits"]
    anchors = _cached_anchors(specification.image_size, specification.anchors)
    if box_encodings.shape != (len(anchors), 4) or class_logits.shape != (len(anchors), specification.class_slots):
        raise ValueError(
            f"heads {list(box_encodings.shape)} and {list(class_logits.shape)} do not fit a detector with "
            f"{len(anchors)} anchors and {specification.class_slots} class slots"
        )
    if not (_finite(box_encodings) and _finite(class_logits)):
        raise ValueError("the heads hold values that are not finite")
    thresholds = specification.thresholds
    # Comparing logits with the threshold's logit saves the sigmoid of the 99 % of anchors that see nothing. Searching along one
    # axis is four times as fast as along two.
    lowest = np.log(thresholds.score / (1 - thresholds.score)) if thresholds.score > 0 else -np.inf
    logits = class_logits.reshape(-1)
    anchor_index, classes = np.divmod(np.flatnonzero(logits > lowest), specification.class_slots)
    candidates = np.flatnonzero(classes)  # slot 0 is background
    anchor_index, classes = anchor_index[candidates], classes[candidates]
    scores = _sigmoid(class_logits[anchor_index, classes])
    if len(scores) > _FIRST:
        # An untrained network scores every anchor above the threshold. The best of them nearly always suffice.
        least = np.partition(scores, -_FIRST)[-_FIRST]
        best = np.flatnonzero(scores >= least)
        found = _decode(box_encodings, anchors, anchor_index[best], classes[best], scores[best], specification)
        if len(found.scores) == thresholds.max_detections:
            return found
    return _decode(box_encodings, anchors, anchor_index, classes, scores, specification)


def _decode(
    box_encodings: Floats,
    anchors: Floats,
    anchor_index: npt.NDArray[np.intp],
    classes: npt.NDArray[np.intp],
    scores: Floats,
    specification: Specification,
) -> Detections:
    """Detections from candidates: anchor, class slot and score [N] of each, earlier anchors and lower slots first."""
    boxes = decode_boxes(box_encodings[anchor_index], anchors[anchor_index], specification.box_coder)
    clipped = np.clip(boxes, 0.0, 1.0)
    visible = np.flatnonzero((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1]))
    # Best score first, of equals the lower class, then the earlier anchor.
    order = visible[np.lexsort((classes[visible], -scores[visible]))]
    thresholds = specification.thresholds
    kept = suppress(
        boxes[order], classes[order], thresholds.iou, thresholds.max_detections_per_class, thresholds.max_detections
    )
    chosen = order[kept]
    return Detections(boxes=clipped[chosen], scores=scores[chosen], classes=classes_of(classes[chosen], specification))


def classes_of(slots: npt.NDArray[Any], specification: Specification) -> npt.NDArray[np.int64]:
    """The class ids of class slots [M]."""
    ids = specification.slot_ids
    return np.array([ids[int(slot)] for slot in slots], np.int64)


def decode_boxes(encodings: Floats, anchors: Floats, coder: BoxCoder) -> Floats:
    """Boxes [N, 4] (ymin, xmin, ymax, xmax) from their encodings [N, 4] and anchors [N, 4]; not clipped."""
    height, width = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    y = encodings[:, 0] / coder.y_scale * height + (anchors[:, 0] + anchors[:, 2]) / 2
    x = encodings[:, 1] / coder.x_scale * width + (anchors[:, 1] + anchors[:, 3]) / 2
    # An untrained or damaged network may return any number: e^20 times the anchor is beyond every image, and finite.
    half_height = np.exp(np.minimum(encodings[:, 2] / coder.height_scale, 20.0)) * height / 2
    half_width = np.exp(np.minimum(encodings[:, 3] / coder.width_scale, 20.0)) * width / 2
    return np.stack([y - half_height, x - half_width, y + half_height, x + half_width], axis=1).astype(np.float32)


def suppress(
    boxes: Floats, classes: npt.NDArray[np.intp], iou_threshold: float, most_per_class: int, most: int
) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression within each class.

    Args:
        boxes: [N, 4], sorted by descending score.
        classes: [N].
        iou_threshold: a box is removed if its IoU with a better box of its class exceeds this.
        most_per_class: the maximum number of boxes of a class.
        most: the maximum number of boxes in total.

    Returns:
        The indices of the remaining boxes, ascending.
    """
    kept: list[int] = []
    full: list[int] = []  # classes that have `most_per_class` boxes
    counts = dict.fromkeys(classes.tolist(), 0)
    # All classes together, because this stops at `most` boxes: a detector of ninety classes has them long before the last
    # class's candidates are reached.
    for start in range(0, len(boxes), _BLOCK):
        block, labels = boxes[start : start + _BLOCK], classes[start : start + _BLOCK]
        alive = ~np.isin(labels, full)
        if kept:
            rivals = labels[:, None] == classes[kept]
            alive &= ~((iou_matrix(block, boxes[kept]) > iou_threshold) & rivals).any(axis=1)
        stays = ~((iou_matrix(block, block) > iou_threshold) & (labels[:, None] == labels))
        for index, label in enumerate(labels.tolist()):
            if not alive[index]:
                continue
            kept.append(start + index)
            if len(kept) == most:
                return np.asarray(kept, np.intp)
            alive &= stays[index]
            counts[label] += 1
            if counts[label] == most_per_class:
                full.append(label)
                alive &= labels != label
    return np.asarray(kept, np.intp)


def _finite(values: Floats) -> bool:
    # A sum is finite only if every number is, and takes a tenth of the time; a sum of huge numbers may not be.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _sigmoid(logits: Floats) -> Floats:
    # Clipped because e^88 is the largest float32 power; nothing above changes a score.
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80.0, 80.0))), np.float32)


def _count_anchors(specification: Specification) -> int:
    return len(_cached_anchors(specification.image_size, specification.anchors))


BOXES = Decoder(
    outputs=(
        Output(
            "box_encodings",
            ("anchor", "coordinate"),
            lambda specification: (_count_anchors(specification), 4),
            "For each anchor, ty, tx, th and tw: offsets from it, multiplied by the scales in detector.json.",
        ),
        Output(
            "class_logits",
            ("anchor", CLASS_AXIS),
            lambda specification: (_count_anchors(specification), specification.class_slots),
            "For each anchor, a number before the sigmoid for each class slot; slot 0 is background.",
        ),
    ),
    decode=decode,
)
