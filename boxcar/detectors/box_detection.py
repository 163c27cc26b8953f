"""The box detection task. Loads TensorFlow."""

import tensorflow as tf

from boxcar.detectors.losses import count_matches, detection_losses
from boxcar.detectors.targets import assign_targets
from boxcar.detectors.task import Losses, Task, Tensors
from boxcar.inference import graph
from boxcar.inference.anchors import make_anchors
from boxcar.inference.decoders import DECODERS
from boxcar.inference.specification import Specification
from boxcar.scoring import score


def _targets(objects: Tensors, specification: Specification) -> dict[str, tf.Tensor]:
    anchors = make_anchors(specification.image_size, specification.anchors)
    slots = objects["labels"]
    if specification.dense_slots:
        slots = tf.searchsorted(tf.constant(specification.slot_ids, slots.dtype), slots)
    boxes, classes = assign_targets(objects["boxes"], slots, anchors, specification.box_coder)
    return {"box_targets": boxes, "class_targets": classes}


def _count_matches(batch: Tensors) -> tf.Tensor:
    return count_matches(batch["class_targets"])


def _losses(heads: Tensors, batch: Tensors, matches: tf.Tensor) -> Losses:
    answer, wanted = (heads["box_encodings"], heads["class_logits"]), (batch["box_targets"], batch["class_targets"])
    return detection_losses(*answer, *wanted, matches)


BOXES = Task(
    features={
        **{f"image/object/bbox/{side}": tf.float32 for side in ("ymin", "xmin", "ymax", "xmax")},
        "image/object/class/label": tf.int64,
    },
    loss_names=("classification", "localization"),
    decoder=DECODERS["boxes"],
    targets=_targets,
    count_matches=_count_matches,
    losses=_losses,
    detect=graph.detect,
    score=score,
)
