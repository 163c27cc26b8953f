"""The training targets of an image: each anchor's class and box, from the ground truth."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxcar.detectors.anchor_fitting import MATCHED_IOU
from boxcar.inference.specification import BoxCoder

_EPSILON = 1e-8  # keeps logarithms and divisions finite, as in the API's box_coders/faster_rcnn_box_coder.py


def assign_targets(
    boxes: tf.Tensor, labels: tf.Tensor, anchors: npt.NDArray[np.float32], coder: BoxCoder
) -> tuple[tf.Tensor, tf.Tensor]:
    """Matches anchors and true boxes.

    An anchor is matched to the true box it overlaps most where that is by an IoU of 0.5 or more; besides, each true box gets
    the anchor that overlaps it most (the Object Detection API's argmax matcher with `force_match_for_each_row`).

    Args:
        boxes: [N, 4] float32 (ymin, xmin, ymax, xmax), normalized; N may be 0.
        labels: [N] int, class slots from 1.
        anchors: [A, 4] float32, normalized.
        coder: the scales of the encodings.

    Returns:
        `box_targets` [A, 4] float32, zeros where not matched, and `class_targets` [A] int32, 0 where not matched.
    """
    owner = tf.cond(tf.shape(boxes)[0] > 0, lambda: _owners(boxes, anchors), lambda: tf.fill([len(anchors)], -1))
    # Few anchors own a box: only theirs is computed, and put among zeros.
    matched = tf.where(owner >= 0)
    owner = tf.gather(owner, matched[:, 0])
    encoded = _encode(tf.gather(boxes, owner), tf.gather(anchors, matched[:, 0]), coder)
    classes = tf.cast(tf.gather(labels, owner), tf.int32)
    return tf.scatter_nd(matched, encoded, [len(anchors), 4]), tf.scatter_nd(matched, classes, [len(anchors)])


def _owners(boxes: tf.Tensor, anchors: npt.NDArray[np.float32]) -> tf.Tensor:
    """Which of the true boxes (one at least) each anchor is matched to, int32 [A]; -1: none."""
    overlap = _iou(boxes, anchors)  # [N, A]
    above = tf.where(tf.reduce_max(overlap, axis=0) >= MATCHED_IOU)
    best = tf.argmax(tf.gather(overlap, above[:, 0], axis=1), axis=0, output_type=tf.int32)
    forced = tf.argmax(overlap, axis=1, output_type=tf.int32)
    # Where two boxes claim one anchor, the first one has it, as in the API.
    claimants = tf.argmax(tf.cast(forced[:, None] == forced[None], tf.int32), axis=1, output_type=tf.int32)
    owner = tf.tensor_scatter_nd_update(tf.fill([len(anchors)], -1), above, best)
    return tf.tensor_scatter_nd_update(owner, forced[:, None], claimants)


def _iou(boxes: tf.Tensor, anchors: npt.NDArray[np.float32]) -> tf.Tensor:
    columns = np.ascontiguousarray(anchors.T)
    top, left, bottom, right = tf.split(boxes, 4, axis=1)  # [N, 1] each
    top, left = tf.maximum(top, columns[0]), tf.maximum(left, columns[1])
    bottom, right = tf.minimum(bottom, columns[2]), tf.minimum(right, columns[3])
    common = tf.maximum(bottom - top, 0.0) * tf.maximum(right - left, 0.0)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    anchor_area = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    return common / (area[:, None] + anchor_area[None, :] - common)


def _encode(boxes: tf.Tensor, anchors: tf.Tensor, coder: BoxCoder) -> tf.Tensor:
    height, width = anchors[:, 2] - anchors[:, 0] + _EPSILON, anchors[:, 3] - anchors[:, 1] + _EPSILON
    box_height, box_width = boxes[:, 2] - boxes[:, 0] + _EPSILON, boxes[:, 3] - boxes[:, 1] + _EPSILON
    y = (boxes[:, 0] + boxes[:, 2]) / 2 - (anchors[:, 0] + anchors[:, 2]) / 2
    x = (boxes[:, 1] + boxes[:, 3]) / 2 - (anchors[:, 1] + anchors[:, 3]) / 2
    return tf.stack(
        [
            y / height * coder.y_scale,
            x / width * coder.x_scale,
            tf.math.log(box_height / height) * coder.height_scale,
            tf.math.log(box_width / width) * coder.width_scale,
        ],
        axis=1,
    )
