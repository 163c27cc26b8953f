"""Runs TFLite files in ai-edge-litert: those with raw heads, and those with TFLite_Detection_PostProcess inside."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.decoding import classes_of
from boxcar.inference.detections import Detections
from boxcar.inference.heads import Floats, Heads
from boxcar.inference.preprocessing import check_value_range, to_bytes
from boxcar.inference.runner import HEADS_SIGNATURE, HeadsRunner, Runner, Tensor, first_line, unusable
from boxcar.inference.specification import Specification

# With more threads, a file that returns detections loses whole classes (see export.tflite_postprocess).
DETECTIONS_THREADS = 15


def open_tflite(path: Path, specification: Specification, threads: int) -> Runner:
    """Loads a TFLite file.

    Args:
        path: the file.
        specification: the `detector.json` next to it.
        threads: number of CPU threads; files that return detections use at most `DETECTIONS_THREADS`.

    Raises:
        BoxcarError: 65 if it cannot be loaded or does not fit the specification.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with _without_notices():
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            if HEADS_SIGNATURE in interpreter.get_signature_list():
                return TFLiteRunner(path, specification, interpreter)
            few = Interpreter(model_path=str(path), num_threads=min(threads, DETECTIONS_THREADS))
            return TFLiteDetectionsRunner(path, specification, few)
    except (ValueError, RuntimeError) as error:
        if "Didn't find op for builtin opcode" in str(error):
            raise BoxcarError(
                ExitCode.DATA,
                f"{path} needs a newer TensorFlow Lite than ai-edge-litert {version('ai-edge-litert')}: {first_line(error)}",
                "Update ai-edge-litert, or export the model again with the version of Boxcar that runs it.",
            ) from error
        raise unusable(path, first_line(error)) from error


class TFLiteRunner(HeadsRunner):
    """A file with the signature `heads`."""

    def __init__(self, path: Path, specification: Specification, interpreter: Any) -> None:
        super().__init__(path, specification)
        # Outputs are taken by the signature's names: the order of a TFLite file's outputs is the converter's own.
        self._signature = interpreter.get_signature_runner(HEADS_SIGNATURE)
        if "image" not in self._signature.get_input_details():
            raise unusable(path, "it has no input image")
        self._image = self._signature.get_input_details()["image"]
        _check_input(path, self._image, specification)
        # This also allocates the tensors, so that a damaged file fails here.
        self._run(_black(specification))
        self.inputs = _tensors(self._signature.get_input_details())
        self.outputs = _tensors(self._signature.get_output_details())
        self.check_outputs({tensor.name: tensor.shape for tensor in self.outputs})

    def _run(self, pixels: Floats) -> Heads:
        outputs = self._signature(image=_as_input(pixels, self._image, self.specification))
        return {name: value[0] for name, value in outputs.items()}


class TFLiteDetectionsRunner(Runner):
    """A file that returns detections: boxes, classes from 0, scores, and their count.

    Its outputs are identified by their order, as phone apps do, and not by their names.
    """

    def __init__(self, path: Path, specification: Specification, interpreter: Any) -> None:
        super().__init__(path, specification)
        self._interpreter = interpreter
        self._image = interpreter.get_input_details()[0]
        _check_input(path, self._image, specification)
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]
        interpreter.allocate_tensors()
        self._answer(_black(specification))
        most = specification.thresholds.max_detections
        wanted = [[1, most, 4], [1, most], [1, most], [1]]
        # After a first run, because the operator determines the shapes of its outputs.
        shapes = [[int(size) for size in detail["shape"]] for detail in interpreter.get_output_details()]
        if shapes != wanted:
            raise unusable(path, f"its outputs are {shapes}, but its detector.json says {wanted}")
        key = next(iter(interpreter.get_signature_list()), None)
        if key is None:
            raise unusable(path, "it has no signature")
        signature = interpreter.get_signature_runner(key)
        places = {index: place for place, index in enumerate(self._outputs)}
        named = sorted(signature.get_output_details().items(), key=lambda item: places[item[1]["index"]])
        self.inputs, self.outputs = _tensors(signature.get_input_details()), _tensors(dict(named))

    def find(self, pixels: Floats) -> Detections:
        check_value_range(pixels, self.specification)
        try:
            self._answer(pixels[None])
        except RuntimeError as error:  # for example boxes that end before they start
            raise unusable(self.path, first_line(error)) from error
        boxes, classes, scores, count = (self._interpreter.get_tensor(index)[0] for index in self._outputs)
        if not 0 <= count <= len(scores):
            raise unusable(self.path, f"it returns {count} detections, more than the maximum of {len(scores)}")
        # The other rows were never written.
        boxes, classes, scores = boxes[: int(count)], classes[: int(count)], scores[: int(count)]
        known = (classes >= 0) & (classes < self.specification.class_slots - 1) & (classes == np.floor(classes))
        in_order = known.all() and (scores >= 0).all() and (scores <= 1).all()
        if not in_order or np.isnan(boxes).any():
            raise unusable(self.path, "its outputs are not boxes, classes, scores and their count, in this order")
        clipped = np.clip(boxes, 0.0, 1.0)
        visible = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
        try:
            return Detections(clipped[visible], scores[visible], classes_of(classes[visible] + 1, self.specification))
        except ValueError as error:
            raise unusable(self.path, str(error)) from error

    def _answer(self, pixels: Floats) -> None:
        self._interpreter.set_tensor(self._image["index"], _as_input(pixels, self._image, self.specification))
        self._interpreter.invoke()


def _as_input(pixels: Floats, detail: Mapping[str, Any], specification: Specification) -> npt.NDArray[Any]:
    """Converts preprocessed pixels to an input's data type: float32 unchanged, or the bytes of an image."""
    return pixels if detail["dtype"] == np.float32 else to_bytes(pixels, specification)


def _black(specification: Specification) -> Floats:
    """A black image, [1, S, S, 3]."""
    return np.full([1, specification.image_size, specification.image_size, 3], specification.value_range[0], np.float32)


def _check_input(path: Path, detail: Mapping[str, Any], specification: Specification) -> None:
    """Refuses an input that takes neither float32 nor the bytes of an image, which apps pass on unchanged.

    Raises:
        BoxcarError: 65.
    """
    if detail["dtype"] == np.float32:
        return
    scale, zero_point = detail["quantization"]
    step, black = specification.byte_step, specification.value_range[0]
    if detail["dtype"] != np.uint8 or abs(scale / step - 1) > 0.01 or abs(zero_point + black / step) > 0.51:
        kind = np.dtype(detail["dtype"]).name
        raise unusable(
            path, f"its input takes {kind} of scale {scale:g} and zero point {zero_point}, not the bytes of an image"
        )


def _tensors(details: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Inputs or outputs as the interpreter describes them."""
    return tuple(
        Tensor(name, tuple(map(int, detail["shape"])), np.dtype(detail["dtype"]).name) for name, detail in details.items()
    )


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Keeps lines that start with INFO off standard error; ai-edge-litert has no setting for what its C++ side prints."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as words:
        os.dup2(words.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            words.seek(0)
            for line in words.read().splitlines(keepends=True):
                if not line.startswith(b"INFO"):
                    os.write(2, line)
