"""Runs a SavedModel in TensorFlow."""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxcar.inference.detections import Detections
from boxcar.inference.heads import Floats, Heads
from boxcar.inference.runner import HEADS_SIGNATURE, HeadsRunner, Tensor, first_line, unusable
from boxcar.inference.specification import Specification
from boxcar.storage.plain_path import plain_path


class SavedModelRunner(HeadsRunner):
    """A frozen detector in TensorFlow. `detect` runs the signature `serving_default`, preprocessing and NMS included."""

    def __init__(self, path: Path, specification: Specification, threads: int) -> None:
        super().__init__(path, specification)
        import tensorflow as tf

        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        # If TensorFlow has started already, it keeps its threads.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        self._constant = tf.constant
        try:
            with plain_path(path) as readable:
                self._model = tf.saved_model.load(str(readable))  # held: the signatures do not keep its variables alive
            self._heads = self._model.signatures[HEADS_SIGNATURE]
            self._serving = self._model.signatures["serving_default"]
        except (OSError, LookupError, ValueError, RuntimeError, AttributeError, tf.errors.OpError) as error:
            raise unusable(path, first_line(error)) from error
        self.check_outputs({name: spec.shape.as_list() for name, spec in self._heads.structured_outputs.items()})
        self.inputs = _tensors(self._serving.structured_input_signature[1])
        self.outputs = _tensors(self._serving.structured_outputs)

    def _run(self, pixels: Floats) -> Heads:
        return {name: value.numpy()[0] for name, value in self._heads(image=self._constant(pixels)).items()}

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        outputs = {name: value.numpy()[0] for name, value in self._serving(input_tensor=self._constant(image[None])).items()}
        boxes = outputs["detection_boxes"]
        found = np.arange(len(boxes)) < int(outputs["num_detections"])
        # As in the host's decoder, a box without an area inside the image is no detection.
        found &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Detections(
            boxes=boxes[found],
            scores=outputs["detection_scores"][found],
            classes=outputs["detection_classes"][found].astype(np.int64),
        )


def _tensors(specs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Inputs or outputs as TensorFlow describes them."""
    return tuple(
        Tensor(name, tuple(-1 if side is None else side for side in spec.shape.as_list()), spec.dtype.name)
        for name, spec in sorted(specs.items())
    )
