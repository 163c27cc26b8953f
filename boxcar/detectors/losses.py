"""The zoo's losses: sigmoid focal loss for classes, smooth L1 for boxes, both per matched anchor, and weight decay."""

from collections.abc import Sequence

import tensorflow as tf

from boxcar.detectors.task import Losses

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0
WEIGHT_DECAY = 4e-5


def count_matches(class_targets: tf.Tensor) -> tf.Tensor:
    """Anchors of a batch that are matched to an object, float32; from the targets [B, A] of `targets.assign_targets`."""
    return tf.reduce_sum(tf.cast(class_targets > 0, tf.float32))


def detection_losses(
    box_encodings: tf.Tensor,
    class_logits: tf.Tensor,
    box_targets: tf.Tensor,
    class_targets: tf.Tensor,
    matches: tf.Tensor | None = None,
) -> Losses:
    """`classification` and `localization` of a batch.

    As in the Object Detection API, core/losses.py and meta_architectures/ssd_meta_arch.py.

    Args:
        box_encodings: [B, A, 4]. class_logits: [B, A, C], slot 0 background.
        box_targets: [B, A, 4]. class_targets: [B, A] int32, 0 where the anchor is background.
        matches: the divisor if this batch is part of a larger one; by default the batch's own `count_matches`.

    Both losses are divided by the number of matched anchors in the batch (at least 1), localization also by the code size 4.
    An unmatched anchor has target 0 in every slot, the background slot included.
    """
    matched = tf.cast(class_targets > 0, tf.float32)
    matches = tf.maximum(count_matches(class_targets) if matches is None else matches, 1.0)

    target = tf.one_hot(tf.where(class_targets > 0, class_targets, -1), tf.shape(class_logits)[-1])
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=class_logits)
    # 1 - p_t of Lin et al. 2017: how far the answer is from the target.
    miss = tf.abs(target - tf.sigmoid(class_logits))
    alpha = target * FOCAL_ALPHA + (1 - target) * (1 - FOCAL_ALPHA)
    classification = tf.reduce_sum(alpha * miss**FOCAL_GAMMA * cross_entropy, axis=[1, 2]) / matches

    distance = tf.abs(box_encodings - box_targets)
    smooth = tf.where(distance < 1.0, 0.5 * distance**2, distance - 0.5)
    localization = tf.reduce_sum(tf.reduce_sum(smooth, -1) * matched, axis=1) / (matches * 4.0)

    parts = {"classification": tf.reduce_sum(classification), "localization": tf.reduce_sum(localization)}
    return Losses(parts, tf.math.is_finite(classification + localization))


def weight_decay(regularized: Sequence[tf.Variable]) -> tf.Tensor:
    """The regularization loss of the variables under weight decay, a scalar."""
    squares = [tf.nn.l2_loss(tf.cast(variable, tf.float32)) for variable in regularized]
    return WEIGHT_DECAY * tf.add_n(squares) if squares else tf.zeros([])
