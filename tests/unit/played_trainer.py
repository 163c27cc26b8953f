"""The trainer's part, played for tests of the evaluator: checkpoints of an untrained network, and words of its own."""

import json
import shutil
import threading
from collections.abc import Callable
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


def meanwhile(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_for(what: Callable[[], bool]) -> None:
    event = threading.Event()
    for _ in range(9000):  # three minutes, on a machine that is busy with other tests
        if what():
            return
        event.wait(0.02)
    raise AssertionError("it never came")
