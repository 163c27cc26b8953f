"""The evaluator as a process of its own: beside a trainer in a pod, killed, told to stop, and without a GPU."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from played_trainer import Training

from boxcar.run.checkpoints import read_scores, write_status
from boxcar.run.step import read_commit

COMMAND = [sys.executable, "-m", "boxcar", "evaluate", "--run"]


@pytest.fixture
def training(begun: Path, tmp_path: Path) -> Training:
    shutil.copytree(begun, tmp_path / "run")
    return Training(tmp_path / "run")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts an evaluator on the run in the test's folder; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def evaluator(*options: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([*COMMAND, str(tmp_path / "run"), *options], stdout=log, stderr=log)
        started.append(process)
        return process

    yield evaluator
    for process in started:
        process.kill()
        process.wait()


def until(what: Callable[[], object], process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    """Waits for something that must come while the process runs."""
    deadline = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def told_to_stop(process: subprocess.Popen[bytes]) -> int:
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=120)


def test_a_sidecar_waits_for_the_run_says_its_verdict_and_ends_when_told_to(
    training: Training, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    run, verdict = training.run, training.run / "eval" / "verdict.json"
    training.checkpoint(10)
    write_status(training.folder, "DONE", 10, 10)
    # In a pod it is started before the trainer: there is nothing yet, for longer than it takes to be loaded.
    run.rename(run.with_name("later"))
    evaluator = start("--sidecar")
    time.sleep(3)
    assert evaluator.poll() is None
    run.with_name("later").rename(run)
    until(verdict.exists, evaluator)
    assert json.loads(verdict.read_text()) == {"state": "DONE", "code": 0, "what": "Every checkpoint is scored.", "do": ""}
    committed = read_commit(run / "eval", "evaluate")
    assert committed is not None
    assert "verdict.json" not in committed.files
    time.sleep(1)
    assert told_to_stop(evaluator) == 0
    # Started again it believes what is finished, and says the same.
    verdict.unlink()
    evaluator = start("--sidecar")
    until(verdict.exists, evaluator)
    assert told_to_stop(evaluator) == 0
    assert read_commit(run / "eval", "evaluate") == committed
    assert training.scored() == [10]


@pytest.mark.slow
def test_a_sidecar_whose_trainer_fails_says_so_and_goes_on_in_its_next_life(
    training: Training, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    verdict = training.run / "eval" / "verdict.json"
    write_status(training.folder, "RUNNING", 0)
    training.checkpoint(10)
    evaluator = start("--sidecar")
    until(lambda: training.scored() == [10], evaluator)
    write_status(training.folder, "FAILED", 15)
    until(verdict.exists, evaluator)
    said = json.loads(verdict.read_text())
    assert (said["state"], said["code"]) == ("FAILED", 69)
    assert said["what"].startswith("Training failed")
    assert (tmp_path / "log").read_text().splitlines()[-1] == f"{said['what']} {said['do']}"
    evaluator.kill()
    evaluator.wait()

    evaluator = start("--sidecar")
    until(lambda: not verdict.exists(), evaluator)
    training.checkpoint(20)
    write_status(training.folder, "DONE", 20, 20)
    until(verdict.exists, evaluator)
    assert json.loads(verdict.read_text())["state"] == "DONE"
    committed = read_commit(training.run / "eval", "evaluate")
    assert committed is not None
    assert "verdict.json" not in committed.files
    assert training.scored() == [10, 20]
    assert told_to_stop(evaluator) == 0


@pytest.mark.slow
def test_a_sidecar_told_to_stop_stops_while_training_goes_on_and_else_finishes(
    training: Training, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    verdict = training.run / "eval" / "verdict.json"
    write_status(training.folder, "RUNNING", 0)
    training.checkpoint(10)
    evaluator = start("--sidecar")
    until(training.scored, evaluator)
    assert told_to_stop(evaluator) == 75
    assert not verdict.exists()

    for step in (20, 30, 40, 50):
        training.checkpoint(step)
    write_status(training.folder, "DONE", 50, 50)
    evaluator = start("--sidecar")
    until(lambda: len(training.scored()) > 1, evaluator)
    assert told_to_stop(evaluator) == 0
    assert json.loads(verdict.read_text())["state"] == "DONE"
    assert training.scored() == [10, 20, 30, 40, 50]
    assert read_commit(training.run / "eval", "evaluate") is not None


def test_it_hides_gpus_before_tensorflow_looks_for_any(training: Training) -> None:
    """No GPU is needed to see it: TensorFlow is asked, before it has started, to leave them out."""
    training.checkpoint(10)
    write_status(training.folder, "DONE", 10, 10)
    program = """
import os, sys
import tensorflow as tf
from tensorflow.python.eager import context
real = tf.config.set_visible_devices
def noted(devices, kind):
    started = context.context()._initialized
    print("HIDDEN", kind, devices, "after the start" if started else "in time", os.environ["CUDA_VISIBLE_DEVICES"])
    real(devices, kind)
tf.config.set_visible_devices = noted
from boxcar.cli.main import main
sys.argv = ["boxcar", "evaluate", "--run", sys.argv[1]]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(training.run)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "0"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "HIDDEN GPU [] in time -1"


@pytest.mark.slow
def test_killed_at_random_moments_each_checkpoint_is_scored_once(
    training: Training, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    steps = list(range(10, 80, 10))
    for step in steps:
        training.checkpoint(step)
    write_status(training.folder, "DONE", steps[-1], steps[-1])
    chance = random.Random(4)
    scores = training.run / "eval" / "scores.jsonl"
    for _ in range(4):
        before = len(training.scored())
        if before == len(steps):
            break
        evaluator = start()
        until(lambda before=before: len(training.scored()) > before, evaluator)
        time.sleep(chance.uniform(0, 0.4))
        evaluator.kill()
        evaluator.wait()
        assert read_commit(training.run / "eval", "evaluate") is None or len(training.scored()) == len(steps)
    assert start().wait(timeout=300) == 0
    assert training.scored() == steps
    assert scores.read_bytes().count(b"\n") == len(steps)
    assert len({line["AP"] for line in read_scores(training.run / "eval")}) == 1  # they are all of the same weights
    assert read_commit(training.run / "eval", "evaluate") is not None
