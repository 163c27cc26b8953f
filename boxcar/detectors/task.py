"""A detector's task, and everything that depends on it. Loads TensorFlow.

Another kind of output needs a task (such as `box_detection.BOXES`), a decoder for hosts (`inference.decoders`), and the same
for browsers (demo_page/page/tasks.js).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from boxcar.inference.detections import Detections
from boxcar.inference.heads import Decoder
from boxcar.inference.specification import Specification
from boxcar.scoring import GroundTruth

Tensors = Mapping[str, tf.Tensor]


class Losses(NamedTuple):
    """Of a batch.

    Attributes:
        parts: scalars, float32, by the task's `loss_names` and in their order; training minimizes their sum.
        finite: [B], whether an image's share of the losses is finite.
    """

    parts: dict[str, tf.Tensor]
    finite: tf.Tensor


@dataclass(frozen=True)
class Task:
    """One kind of detector.

    Attributes:
        features: the type of each key that is read from a record, in addition to the image.
        loss_names: the parts of the loss.
        decoder: the network's outputs and their decoder on the host.
        targets: from an image's objects (`boxes` [N, 4] normalized, `labels` [N]) to the training targets, which batches
            contain next to `image`.
        count_matches: from a batch to the divisor of its losses, a scalar that can be summed over parts of a batch.
        losses: from the network's outputs, the batch, and `count_matches` of the whole batch to the losses.
        detect: from the network's outputs to the SavedModel's outputs, in the graph.
        score: from ground truth, detections (one of each per image) and labels to the metrics.
    """

    features: Mapping[str, tf.DType]
    loss_names: tuple[str, ...]
    decoder: Decoder
    targets: Callable[[Tensors, Specification], dict[str, tf.Tensor]]
    count_matches: Callable[[Tensors], tf.Tensor]
    losses: Callable[[Tensors, Tensors, tf.Tensor], Losses]
    detect: Callable[[Tensors, Specification], dict[str, tf.Tensor]]
    score: Callable[[Sequence[GroundTruth], Sequence[Detections], Mapping[int, str]], dict[str, Any]]
