"""Training killed at random moments and resumed is to the last bit the training that was never interrupted."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxcar.config.run_settings import make_configuration, write_configuration
from boxcar.run.checkpoints import list_checkpoints
from boxcar.run.step import read_commit
from boxcar.training.history import read_history

KILLS = 20
STEPS = 400
SETTINGS = {
    "image_size": 64,
    "steps": STEPS,
    "batch_size": 4,
    "checkpoint_interval_steps": 7,  # not in step with the ten steps of a loop
    "keep_last": 4,
    "init": "none",
    "ema_decay": 0.99,
}


def start(run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "boxcar", "train", "--run", str(run), "--evaluator", "none"]
    with (run / ".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def step_losses(run: Path) -> dict[int, float]:
    """The loss of every step, by its number from 1."""
    losses: dict[int, float] = {}
    for line in read_history(run / "train"):
        first = line["step"] - len(line["step_losses"])
        for number, loss in enumerate(line["step_losses"], first + 1):
            assert number not in losses, "a step is told twice"
            losses[number] = loss
    return losses


def tensors(run: Path) -> dict[str, Any]:
    import tensorflow as tf

    latest = list_checkpoints(run / "train")[-1]
    assert latest.step == STEPS
    reader = tf.train.load_checkpoint(str(latest.prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_killed_twenty_times_it_is_the_training_that_was_never_touched(tmp_path: Path, shapes_records: Path) -> None:
    runs = {}
    for name in ("untouched", "killed"):
        runs[name] = tmp_path / name
        shutil.copytree(shapes_records, runs[name] / "records")
        write_configuration(runs[name], make_configuration(None, SETTINGS))
    began = time.monotonic()
    assert start(runs["untouched"]).wait(timeout=900) == 0, (runs["untouched"] / ".log").read_text()
    undisturbed_seconds = time.monotonic() - began

    killed, chance = runs["killed"], random.Random(0)
    for number in range(KILLS):
        before = step_of(killed)
        process = start(killed)
        # From the loading of TensorFlow to any moment of the next few checkpoints. On average, 20 kills are two thirds of the
        # way, so that even on an unsteady machine the last one comes before the end.
        goal = before + chance.randrange(0, 2 * SETTINGS["checkpoint_interval_steps"])  # type: ignore[call-overload]
        until = time.monotonic() + 120
        while step_of(killed) < goal and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(chance.random() * undisturbed_seconds / KILLS / 4)
        assert process.poll() is None, f"kill {number}: {(killed / '.log').read_text()}"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert read_commit(killed / "train", "train") is None, "it was killed before its end"
    assert start(killed).wait(timeout=900) == 0, (killed / ".log").read_text()

    losses = step_losses(killed)
    assert losses == step_losses(runs["untouched"])
    assert sorted(losses) == list(range(1, STEPS + 1))
    straight, resumed = tensors(runs["untouched"]), tensors(killed)
    assert straight.keys() == resumed.keys()
    assert any(name.startswith("trained/") for name in straight), "the weights beside their averages"
    for name, value in straight.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def step_of(run: Path) -> int:
    """The newest checkpoint's step."""
    found = list_checkpoints(run / "train") if (run / "train").is_dir() else []
    return found[-1].step if found else 0
