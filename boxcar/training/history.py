"""`train/history.jsonl` and the `train` run in TensorBoard: losses and speed over the steps."""

import json
import math
import resource
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from boxcar.run.layout import HISTORY
from boxcar.storage import read_whole_lines, replace_text
from boxcar.training.trainer import LogWindow


class History:
    """Appends one line every few steps, and the same values as scalars. Removes what an earlier start wrote after
    `first_step`."""

    def __init__(self, train: Path, first_step: int) -> None:
        self._path = train / HISTORY
        self._train = train
        self.cut(first_step)
        if first_step:
            self._hide_later(first_step)
        self._writer = tf.summary.create_file_writer(str(train), flush_millis=5_000)

    def cut(self, step: int) -> None:
        """Removes the lines of later steps, which are trained again."""
        kept = [line for line in read_history(self._train) if line["step"] <= step]
        self._seconds = kept[-1]["seconds"] if kept else 0.0
        replace_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))

    def append(self, step: int, window: LogWindow, seconds: float, images: int) -> None:
        """Adds the means over the steps up to `step`, which took `seconds` in all and saw `images` images."""
        self._seconds += seconds
        losses = dict(zip(window.names, window.scalars.mean(axis=0).tolist(), strict=True))
        losses["learning_rate"] = float(window.scalars[-1, window.names.index("learning_rate")])
        speed = {
            "images_per_second": images / seconds,
            "steps_per_second": window.steps / seconds,
            "input_wait_share": window.waited_seconds / seconds,
            "memory_gb": memory_gb(),
        }
        line: dict[str, Any] = {"step": step, **losses, **{name: round(value, 3) for name, value in speed.items()}}
        line["seconds"] = round(self._seconds, 2)
        line["step_losses"] = [value if math.isfinite(value) else None for value in window.scalars[:, 0].tolist()]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: _number(v) for k, v in line.items()}) + "\n")
        with self._writer.as_default(step=step):
            for name, value in {**losses, **speed}.items():
                tf.summary.scalar(name, value)

    def images(self, panel: Any) -> None:
        """Writes images, uint8 [N, H, W, 3], as training sees them at its start."""
        with self._writer.as_default(step=0):
            tf.summary.image("augmented_pictures", panel, max_outputs=len(panel))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _hide_later(self, step: int) -> None:
        """Tells TensorBoard to forget what an earlier start wrote behind the checkpoint."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(str(self._train))
        writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        writer.close()


def read_history(train: Path) -> list[dict[str, Any]]:
    """The complete lines written so far, without a last line that a kill cut short."""
    return [json.loads(line) for line in read_whole_lines(train / HISTORY)]


def step_losses(train: Path, step: int) -> list[float]:
    """The losses of all steps up to one, as far as they are recorded and finite."""
    lines = (line for line in read_history(train) if line["step"] <= step)
    return [loss for line in lines for loss in line.get("step_losses", [line["loss"]]) if loss is not None]


def memory_gb() -> float:
    """Peak memory of a GPU, or of this process without a GPU, in units of 10^9 bytes."""
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        return max(float(tf.config.experimental.get_memory_info(f"GPU:{i}")["peak"]) for i in range(len(gpus))) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
