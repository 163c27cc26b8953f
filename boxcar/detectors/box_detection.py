"""The task of finding boxes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from boxcar.detectors.task import Losses, Task, Tensors
from boxcar.inference.anchors import make_anchors
from boxcar.inference.decoders import DECODERS
from boxcar.inference.detections import Detections
from boxcar.inference.specification import Specification

if TYPE_CHECKING:
    import tensorflow as tf

    from boxcar.scoring import GroundTruth


def _targets(objects: Tensors, specification: Specification) -> "dict[str, tf.Tensor]":
    from boxcar.detectors.targets import assign_targets

    anchors = make_anchors(specification.image_size, specification.anchors)
    boxes, classes = assign_targets(objects["boxes"], objects["labels"], anchors, specification.box_coder)
    return {"box_targets": boxes, "class_targets": classes}


def _count_matches(batch: Tensors) -> "tf.Tensor":
    from boxcar.detectors.losses import count_matches

    return count_matches(batch["class_targets"])


def _losses(heads: Tensors, batch: Tensors, matches: "tf.Tensor") -> Losses:
    from boxcar.detectors.losses import detection_losses

    return detection_losses(
        heads["box_encodings"], heads["class_logits"], batch["box_targets"], batch["class_targets"], matches
    )


def _detect(heads: Tensors, specification: Specification) -> "dict[str, tf.Tensor]":
    from boxcar.inference import graph

    return graph.detect(heads, specification)


def _score(truths: "Sequence[GroundTruth]", found: Sequence[Detections], labels: Mapping[int, str]) -> dict[str, Any]:
    from boxcar.scoring import score

    return score(truths, found, labels)


BOXES = Task(
    name="boxes",
    features={
        **{f"image/object/bbox/{side}": "float32" for side in ("ymin", "xmin", "ymax", "xmax")},
        "image/object/class/label": "int64",
    },
    loss_names=("classification", "localization"),
    decoder=DECODERS["boxes"],
    targets=_targets,
    count_matches=_count_matches,
    losses=_losses,
    detect=_detect,
    score=_score,
)
