"""TensorBoard's `eval` run."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata

from boxcar.scoring import Curve


class SummaryWriter:
    """Writes the scores, images, and curves of each checkpoint at its step.

    All of them may be written again, for example after a kill. TensorBoard shows the last one of a step.
    """

    def __init__(self, evaluation: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(evaluation))
        self._without: list[str] = []

    def __enter__(self) -> "SummaryWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()

    def scalars(self, line: dict[str, Any]) -> None:
        """A line of `scores.jsonl`. A class without ground truth has no score, and a sentence says so."""
        with self._writer.as_default(step=line["step"]):
            for name, value in line.items():
                if isinstance(value, float) and name != "seconds":
                    tf.summary.scalar(name, value)
            for label, scores in line["per_class"].items():
                if scores["AP"] is not None:
                    tf.summary.scalar(f"AP_per_class/{label}", scores["AP"])
            without = [label for label, scores in line["per_class"].items() if scores["AP"] is None]
            if without != self._without:
                self._without = without
                tf.summary.text("no score", f"No score for {', '.join(without)}: the validation images contain no such object.")
        self._writer.flush()

    def images(self, step: int, images: Sequence[NDArray[np.uint8]]) -> None:
        """Images [H, W, 3] of any sizes, under the same tags at each step."""
        with self._writer.as_default(step=step):
            for number, image in enumerate(images, 1):
                _write_image(f"pictures/{number}", image, "JPEG")
        self._writer.flush()

    def curves(self, step: int, curves: Mapping[str, Curve]) -> None:
        """Precision over recall, by class name."""
        with self._writer.as_default(step=step):
            for name, curve in curves.items():
                hits, false = curve.true_positives, curve.false_positives
                rows = [hits, false, np.zeros(len(hits)), curve.truths - hits, curve.precision, curve.recall]
                tf.summary.write(
                    f"precision_recall/{name}",
                    tf.constant(np.stack(rows), tf.float32),
                    metadata=pr_curve_metadata.create_summary_metadata(
                        display_name=name, description="Test images, IoU 0.5.", num_thresholds=len(hits)
                    ),
                )
        self._writer.flush()

    def confusion(self, step: int, image: NDArray[np.uint8]) -> None:
        """The confusion matrix as an image [H, W, 3]."""
        with self._writer.as_default(step=step):
            _write_image("confusion", image, "PNG")
        self._writer.flush()


def _write_image(tag: str, image: NDArray[np.uint8], kind: str) -> None:
    # tf.summary.image writes only PNG, which is ten times as large for a photograph.
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=85)
    height, width = image.shape[:2]
    tf.summary.write(
        tag,
        tf.constant([f"{width}".encode(), f"{height}".encode(), buffer.getvalue()]),
        metadata=image_metadata.create_summary_metadata(display_name=None, description=""),
    )
