"""Detections from any exported file: a SavedModel, a TFLite file, a TensorFlow.js folder.

Importing this loads none of the three; each runner loads what it needs when it is opened.
"""

import contextlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.anchors import make_anchors
from boxcar.inference.decoding import decode
from boxcar.inference.detections import Detections
from boxcar.inference.embedded import check_labels
from boxcar.inference.preprocessing import check_value_range, preprocess
from boxcar.inference.specification import Specification, read_specification

Floats = npt.NDArray[np.float32]

HEADS_SIGNATURE = "heads"


@dataclass(frozen=True)
class Tensor:
    """An input or output of a file, as whoever runs it without Boxcar needs it."""

    name: str
    shape: tuple[int, ...]  # -1 where it is not fixed
    dtype: str  # as NumPy calls it


class Runner(ABC):
    """A detector loaded from one exported file. Use it as a context manager, or call `close`.

    Attributes:
        specification: the `detector.json` that lies beside the file.
        path: the file or folder it was opened from.
        inputs, outputs: in the file's own order; of a SavedModel those of `serving_default`.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __init__(self, path: Path, specification: Specification) -> None:
        self.path, self.specification = path, specification

    @property
    def process_id(self) -> int:
        """Of the process that runs the file."""
        return os.getpid()

    @abstractmethod
    def find(self, pixels: Floats) -> Detections:
        """What the detector finds in one preprocessed picture.

        Args:
            pixels: float32 [S, S, 3] in [-1, 1], as `preprocessing.preprocess` gives them.

        Raises:
            BoxcarError: 65 where the file answers what cannot be detections.
        """

    def detect(self, picture: npt.NDArray[np.uint8]) -> Detections:
        """What the detector finds in a uint8 RGB picture [H, W, 3]."""
        return self.find(preprocess(picture, self.specification.image_size))

    def close(self) -> None:  # noqa: B027 - most runners hold nothing that outlives them
        """Ends what the runner started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class HeadsRunner(Runner):
    """A detector that answers with raw heads, which are decoded here."""

    @abstractmethod
    def heads(self, pixels: Floats) -> tuple[Floats, Floats]:
        """The raw answers for one preprocessed picture, float32 [S, S, 3] in [-1, 1].

        Returns:
            `box_encodings` [A, 4] and `class_logits` [A, C], float32.
        """

    def find(self, pixels: Floats) -> Detections:
        return self.decode(*self.heads(pixels))

    def decode(self, box_encodings: Floats, class_logits: Floats) -> Detections:
        """`decoding.decode` for this file's heads.

        Raises:
            BoxcarError: 65 where the file answers numbers that are not finite.
        """
        try:
            return decode(box_encodings, class_logits, self.specification)
        except ValueError as error:
            raise unusable(self.path, str(error)) from error


def open_runner(path: Path, threads: int = 2) -> Runner:
    """Loads an exported detector.

    Args:
        path: the folder that `freeze` wrote or the SavedModel in it, a `.tflite` file, or a folder with a `model.json`;
            `detector.json` lies in that folder, beside the `.tflite` file, or beside the SavedModel.
        threads: how many the host may compute with. TensorFlow keeps the number it was started with, and TensorFlow.js
            always computes with one: its threads do not work in Node.

    Raises:
        BoxcarError: 64 where nothing of the kind is there, 65 where it cannot be loaded or does not fit its `detector.json`,
            69 where the program that runs it is not installed.
    """
    if path.is_file() and path.suffix == ".tflite":
        from boxcar.inference.tflite import open_tflite

        specification = read_specification(path.parent)
        # Before it is loaded: TFLite reads beyond the end of a file that is cut short.
        check_labels(path, specification)
        return open_tflite(path, specification, threads)
    if (path / "model.json").is_file():
        from boxcar.inference.tfjs import TFJSRunner

        return _labels_checked(TFJSRunner(path, read_specification(path)))
    if (path / "saved_model" / "saved_model.pb").is_file():
        return _labels_checked(SavedModelRunner(path / "saved_model", read_specification(path), threads))
    if (path / "saved_model.pb").is_file():
        return _labels_checked(SavedModelRunner(path, read_specification(path.parent), threads))
    raise BoxcarError(
        ExitCode.USAGE,
        f"{path} is no exported detector.",
        "Name a .tflite file, a folder with a model.json, or the folder that `boxcar freeze` wrote.",
    )


def _labels_checked(runner: Runner) -> Runner:
    """The runner; what is worse than other labels was told when it was opened."""
    try:
        check_labels(runner.path, runner.specification)
    except BoxcarError:
        runner.close()
        raise
    return runner


class SavedModelRunner(HeadsRunner):
    """A frozen detector in TensorFlow. `detect` runs the signature `serving_default`, preprocessing and NMS included."""

    def __init__(self, path: Path, specification: Specification, threads: int) -> None:
        super().__init__(path, specification)
        import tensorflow as tf

        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        # Where TensorFlow computes already, it refuses, and keeps the threads that it has.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        self._constant = tf.constant
        try:
            self._model = tf.saved_model.load(str(path))  # held: the signatures do not keep its variables alive
            self._heads = self._model.signatures[HEADS_SIGNATURE]
            self._serving = self._model.signatures["serving_default"]
        except (OSError, LookupError, ValueError, RuntimeError, AttributeError, tf.errors.OpError) as error:
            raise unusable(path, first_line(error)) from error
        check_heads(path, specification, {n: s.shape.as_list() for n, s in self._heads.structured_outputs.items()})
        self.inputs = _tensors(self._serving.structured_input_signature[1])
        self.outputs = _tensors(self._serving.structured_outputs)

    def heads(self, pixels: Floats) -> tuple[Floats, Floats]:
        check_value_range(pixels)
        outputs = self._heads(image=self._constant(pixels[None]))
        return outputs["box_encodings"].numpy()[0], outputs["class_logits"].numpy()[0]

    def detect(self, picture: npt.NDArray[np.uint8]) -> Detections:
        outputs = {name: value.numpy()[0] for name, value in self._serving(input_tensor=self._constant(picture[None])).items()}
        boxes = outputs["detection_boxes"]
        found = np.arange(len(boxes)) < int(outputs["num_detections"])
        # As the host's decoder does: a box that clipping has left without an area is no find.
        found &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Detections(
            boxes=boxes[found],
            scores=outputs["detection_scores"][found],
            classes=outputs["detection_classes"][found].astype(np.int64),
        )


def _tensors(specs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """From TensorFlow's words for them."""
    return tuple(
        Tensor(name, tuple(-1 if side is None else side for side in spec.shape.as_list()), spec.dtype.name)
        for name, spec in sorted(specs.items())
    )


def check_heads(path: Path, specification: Specification, shapes: Mapping[str, Sequence[int]]) -> None:
    """Holds the shapes of a file's outputs against its `detector.json`.

    Raises:
        BoxcarError: 65 where they differ.
    """
    anchors = len(make_anchors(specification.image_size, specification.anchors))
    for name, wanted in (("box_encodings", [1, anchors, 4]), ("class_logits", [1, anchors, specification.class_slots])):
        if name not in shapes:
            raise unusable(path, f"it has no output {name}, only {', '.join(sorted(shapes)) or 'none'}")
        if [int(size) for size in shapes[name]] != wanted:
            raise unusable(path, f"its {name} are {list(map(int, shapes[name]))}, and by its detector.json {wanted}")


def unusable(path: Path, reason: str) -> BoxcarError:
    """What to raise where a file cannot be run, or answers nonsense."""
    return BoxcarError(ExitCode.DATA, f"{path} cannot be used: {reason.rstrip('.')}.", "Export the model again.")


def first_line(error: Exception) -> str:
    """What an exception of a runtime says, without the lines that only its makers understand."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
