"""Preprocessing and decoding in a TensorFlow graph, for the SavedModel and the training input.

`preprocessing.preprocess` and `decoding.decode` do the same on the host; tests compare each pair.
"""

from collections.abc import Mapping

import tensorflow as tf

from boxcar.inference.anchors import make_anchors
from boxcar.inference.specification import Specification


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """The pixels, uint8 [H, W, 3], of a JPEG or PNG, identical to Pillow's to the last bit."""
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        # TensorFlow's default is a faster transform, which deviates by up to 8 of 255.
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(encoded, channels=3),
    )
    return tf.ensure_shape(image, [None, None, 3])


def resize(image: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Numbers 0 to 255 [H, W, 3], or a batch [B, H, W, 3], to float32, as `preprocessing.preprocess` does it.

    `size` is the side of what is returned in pixels, or int32 [2], its height and width.
    """
    batch = image if image.shape.rank == 4 else image[None]
    resized = tf.raw_ops.ResizeBilinear(images=batch, size=tf.broadcast_to(size, [2]), half_pixel_centers=False)
    return resized if image.shape.rank == 4 else resized[0]


def normalize(pixels: tf.Tensor, specification: Specification) -> tf.Tensor:
    """float32 0 to 255 to the specification's value range."""
    # A subtraction, so that the graphs of detectors with [-1, 1] do not change.
    return pixels * specification.byte_step - -specification.value_range[0]


def decode_boxes(box_encodings: tf.Tensor, specification: Specification) -> tf.Tensor:
    """[B, A, 4] encodings to boxes (ymin, xmin, ymax, xmax), normalized, not clipped."""
    anchors = make_anchors(specification.image_size, specification.anchors)
    coder = specification.box_coder
    height, width = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    y = box_encodings[..., 0] / coder.y_scale * height + (anchors[:, 0] + anchors[:, 2]) / 2
    x = box_encodings[..., 1] / coder.x_scale * width + (anchors[:, 1] + anchors[:, 3]) / 2
    half_height = tf.exp(tf.minimum(box_encodings[..., 2] / coder.height_scale, 20.0)) * height / 2
    half_width = tf.exp(tf.minimum(box_encodings[..., 3] / coder.width_scale, 20.0)) * width / 2
    return tf.stack([y - half_height, x - half_width, y + half_height, x + half_width], axis=-1)


def detect(heads: Mapping[str, tf.Tensor], specification: Specification) -> dict[str, tf.Tensor]:
    """Detections of a batch from its heads, `box_encodings` [B, A, 4] and `class_logits` [B, A, C].

    Returns:
        The zoo's outputs, float32: `detection_boxes` [B, M, 4] normalized, `detection_scores` [B, M], `detection_classes`
        [B, M] from 1, `num_detections` [B]; rows after `num_detections` are zeros (their class, the first, has no meaning).
    """
    thresholds = specification.thresholds
    decoded = decode_boxes(heads["box_encodings"], specification)
    clipped = tf.clip_by_value(decoded, 0.0, 1.0)
    visible = (clipped[..., 2] > clipped[..., 0]) & (clipped[..., 3] > clipped[..., 1])
    boxes, scores, classes, count = tf.image.combined_non_max_suppression(
        decoded[:, :, None, :],
        tf.where(visible[..., None], tf.sigmoid(heads["class_logits"][:, :, 1:]), 0.0),
        max_output_size_per_class=thresholds.max_detections_per_class,
        max_total_size=thresholds.max_detections,
        iou_threshold=thresholds.iou,
        score_threshold=thresholds.score,
        clip_boxes=True,
    )
    return {
        "detection_boxes": boxes,
        "detection_scores": scores,
        "detection_classes": _ids(classes + 1.0, specification),
        "num_detections": tf.cast(count, tf.float32),
    }


def _ids(slots: tf.Tensor, specification: Specification) -> tf.Tensor:
    """The class ids of class slots, both float32 of any shape. Every id up to `label_map.LARGEST_ID` is exact."""
    if not specification.dense_slots:
        return slots
    return tf.gather(tf.constant(specification.slot_ids, tf.float32), tf.cast(slots, tf.int32))
