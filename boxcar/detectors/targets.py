"""What the network should answer for a picture: each anchor's class and box, from the true boxes."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxcar.detectors.specification import BoxCoder

MATCHED_IOU = 0.5
_EPSILON = 1e-8  # keeps logarithms and divisions finite, as in the API's box_coders/faster_rcnn_box_coder.py


def assign_targets(
    boxes: tf.Tensor, labels: tf.Tensor, anchors: npt.NDArray[np.float32], coder: BoxCoder
) -> tuple[tf.Tensor, tf.Tensor]:
    """Matches anchors and true boxes.

    An anchor is matched to the true box it overlaps most where that is by an IoU of 0.5 or more; besides, each true box gets
    the anchor that overlaps it most (the Object Detection API's argmax matcher with `force_match_for_each_row`).

    Args:
        boxes: [N, 4] float32 (ymin, xmin, ymax, xmax), normalised; N may be 0.
        labels: [N] int, ids from 1.
        anchors: [A, 4] float32, normalised.
        coder: the scales of the encodings.

    Returns:
        `box_targets` [A, 4] float32, zeros where not matched, and `class_targets` [A] int32, 0 where not matched.
    """
    count = tf.shape(boxes)[0]

    def match() -> tuple[tf.Tensor, tf.Tensor]:
        overlap = _iou(boxes, anchors)  # [N, A]
        best = tf.argmax(overlap, axis=0, output_type=tf.int32)
        matched = tf.reduce_max(overlap, axis=0) >= MATCHED_IOU
        # Where two boxes claim one anchor, the first one has it, as in the API.
        forced = tf.one_hot(tf.argmax(overlap, axis=1, output_type=tf.int32), len(anchors), dtype=tf.int32)
        is_forced = tf.reduce_any(forced > 0, axis=0)
        owner = tf.where(is_forced, tf.argmax(forced, axis=0, output_type=tf.int32), best)
        positive = matched | is_forced
        encoded = _encode(tf.gather(boxes, owner), anchors, coder)
        return (
            tf.where(positive[:, None], encoded, 0.0),
            tf.where(positive, tf.gather(tf.cast(labels, tf.int32), owner), 0),
        )

    def nothing() -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros([len(anchors), 4]), tf.zeros([len(anchors)], tf.int32)

    box_targets, class_targets = tf.cond(count > 0, match, nothing)
    return tf.ensure_shape(box_targets, [len(anchors), 4]), tf.ensure_shape(class_targets, [len(anchors)])


def _iou(boxes: tf.Tensor, anchors: npt.NDArray[np.float32]) -> tf.Tensor:
    top = tf.maximum(boxes[:, None, 0], anchors[None, :, 0])
    left = tf.maximum(boxes[:, None, 1], anchors[None, :, 1])
    bottom = tf.minimum(boxes[:, None, 2], anchors[None, :, 2])
    right = tf.minimum(boxes[:, None, 3], anchors[None, :, 3])
    common = tf.maximum(bottom - top, 0.0) * tf.maximum(right - left, 0.0)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    anchor_area = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    return common / (area[:, None] + anchor_area[None, :] - common)


def _encode(boxes: tf.Tensor, anchors: npt.NDArray[np.float32], coder: BoxCoder) -> tf.Tensor:
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
