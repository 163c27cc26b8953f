"""`train/history.jsonl` and the `train` run in TensorBoard: what the losses did."""

import json
import math
from pathlib import Path
from typing import Any

import tensorflow as tf

from boxcar.storage import read_whole_lines, replace_text

HISTORY = "history.jsonl"


class History:
    """Appends one line a loop, and the same as scalars. What an earlier start wrote beyond `first_step` is cut off."""

    def __init__(self, train: Path, first_step: int) -> None:
        self._path = train / HISTORY
        kept = [line for line in read_history(train) if line["step"] <= first_step]
        self._seconds = kept[-1]["seconds"] if kept else 0.0
        replace_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._writer = tf.summary.create_file_writer(str(train), flush_millis=10_000)

    def append(self, step: int, losses: dict[str, float], seconds: float, pictures: int, steps: int) -> None:
        """Adds the means over the last `steps` steps, which took `seconds` and saw `pictures` pictures."""
        self._seconds += seconds
        speed = {"images_per_second": pictures / seconds, "steps_per_second": steps / seconds}
        line: dict[str, Any] = {"step": step, **losses, "images_per_second": round(speed["images_per_second"], 2)}
        line["seconds"] = round(self._seconds, 2)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: v if math.isfinite(v) else None for k, v in line.items()}) + "\n")
        with self._writer.as_default(step=step):
            for name, value in {**losses, **speed}.items():
                tf.summary.scalar(name, value)

    def close(self) -> None:
        self._writer.close()


def read_history(train: Path) -> list[dict[str, Any]]:
    """The whole lines written so far; a last line that a kill cut short is left out."""
    return [json.loads(line) for line in read_whole_lines(train / HISTORY)]
