"""TensorBoard's `eval` run."""

from pathlib import Path
from types import TracebackType
from typing import Any

import tensorflow as tf


class Board:
    """Writes the scores of each checkpoint as scalars at its step."""

    def __init__(self, evaluation: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(evaluation))

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()

    def scalars(self, line: dict[str, Any]) -> None:
        """A line of the ledger. What has no ground truth, and so no score, is left out."""
        with self._writer.as_default(step=line["step"]):
            for name, value in line.items():
                if isinstance(value, float) and name != "seconds":
                    tf.summary.scalar(name, value)
            for label, scores in line["per_class"].items():
                if scores["AP"] is not None:
                    tf.summary.scalar(f"AP_per_class/{label}", scores["AP"])
        self._writer.flush()
