"""The trainer's part, played for tests of the evaluator: checkpoints of an untrained network, and words of its own."""

import json
import shutil
from pathlib import Path

from boxcar.inference.specification import SPECIFICATION
from boxcar.run.checkpoints import mark_checkpoint, read_scores


class Training:
    """The trainer's part."""

    def __init__(self, run: Path) -> None:
        self.run, self.folder = run, run / "train"
        self.version = json.loads((self.folder / SPECIFICATION).read_text())["dataset_version"]

    def checkpoint(self, step: int) -> None:
        for path in self.run.glob("ckpt.*"):
            shutil.copy(path, self.folder / path.name.replace("ckpt.", f"ckpt-{step}."))
        mark_checkpoint(self.folder, step, self.version)

    def scored(self) -> list[int]:
        return [score["step"] for score in read_scores(self.run / "eval")]
