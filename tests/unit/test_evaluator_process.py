"""The evaluator as a sidecar, and as a process of its own: waiting for a trainer, stopped, killed, and without a GPU."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from played_trainer import Training, meanwhile, wait_for

from boxcar.evaluation import evaluator
from boxcar.evaluation.sidecar import evaluate_as_sidecar
from boxcar.run.checkpoints import read_scores, write_status
from boxcar.run.step import read_commit

# The command, saying when it hides GPUs. No GPU is needed to see it: TensorFlow is asked before it has started.
PROGRAM = """
import os, sys
import tensorflow as tf
from tensorflow.python.eager import context
real = tf.config.set_visible_devices
def noted(devices, kind):
    started = context.context()._initialized
    print("HIDDEN", kind, devices, "after the start" if started else "in time", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    real(devices, kind)
tf.config.set_visible_devices = noted
from boxcar.cli.main import main
from boxcar.detectors.catalog import ARCHITECTURES
from tiny_detector import NAME, TINY
ARCHITECTURES[NAME] = TINY
sys.argv[0] = "boxcar"
main()
"""
COMMAND = [sys.executable, "-c", PROGRAM, "evaluate", "--run"]
PATH = f"{Path(__file__).parents[2]}:{Path(__file__).parent}"


class Stopped(BaseException):
    """What the command's handler of SIGTERM raises."""


@pytest.fixture
def training(begun: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr(evaluator, "POLL_SECONDS", 0.01)
    shutil.copytree(begun, tmp_path / "run")
    return Training(tmp_path / "run")


@pytest.fixture
def live(training: Training) -> Callable[..., bool]:
    """Runs a sidecar in this process beside a trainer that is played, then sends SIGTERM; whether it returned by itself."""

    def stop(number: int, frame: object) -> None:
        raise Stopped

    def run(trainer: Callable[[], None]) -> bool:
        ended = threading.Event()
        errors: list[BaseException] = []
        returned: list[bool] = []

        def play() -> None:
            try:
                trainer()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the test's own thread
                errors.append(error)
            returned.append(ended.wait(0.2))
            if not returned[0]:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = meanwhile(play)
        try:
            evaluate_as_sidecar(str(training.run))
        finally:
            ended.set()
            thread.join()
            if errors:
                raise errors[0]
        return returned[0]

    signal.signal(signal.SIGTERM, stop)
    return run


def test_a_sidecar_waits_for_the_run_writes_its_verdict_and_ends_at_sigterm(
    training: Training, live: Callable[..., bool]
) -> None:
    run, verdict = training.run, training.run / "eval" / "verdict.json"
    training.checkpoint(10)
    write_status(training.folder, "DONE", 10, 10)
    # In a pod it is started before the trainer: there is nothing yet.
    run.rename(run.with_name("later"))

    def trainer() -> None:
        time.sleep(0.5)
        run.with_name("later").rename(run)
        wait_for(verdict.exists)

    assert not live(trainer), "a sidecar that ends by itself is started again"
    assert json.loads(verdict.read_text()) == {"state": "DONE", "code": 0, "what": "Every checkpoint is scored.", "do": ""}
    committed = read_commit(run / "eval", "evaluate")
    assert committed is not None
    assert "verdict.json" not in committed.files
    # Started again it finds what is finished, and gives the same verdict.
    verdict.unlink()
    assert not live(lambda: wait_for(verdict.exists))
    assert json.loads(verdict.read_text())["state"] == "DONE"
    assert read_commit(run / "eval", "evaluate") == committed
    assert training.scored() == [10]


@pytest.mark.slow
def test_a_sidecar_whose_trainer_fails_says_so_and_resumes_when_it_is_started_again(
    training: Training, live: Callable[..., bool], capfd: pytest.CaptureFixture[str]
) -> None:
    verdict = training.run / "eval" / "verdict.json"
    write_status(training.folder, "RUNNING", 0)
    training.checkpoint(10)

    def failing() -> None:
        wait_for(lambda: training.scored() == [10])
        write_status(training.folder, "FAILED", 15)
        wait_for(verdict.exists)

    assert not live(failing)
    said = json.loads(verdict.read_text())
    assert (said["state"], said["code"]) == ("FAILED", 69)
    assert said["what"].startswith("Training failed")
    assert capfd.readouterr().err.splitlines()[-1] == f"{said['what']} {said['do']}"

    def finishing() -> None:
        wait_for(lambda: not verdict.exists())
        training.checkpoint(20)
        write_status(training.folder, "DONE", 20, 20)
        wait_for(verdict.exists)

    assert not live(finishing)
    assert json.loads(verdict.read_text())["state"] == "DONE"
    committed = read_commit(training.run / "eval", "evaluate")
    assert committed is not None
    assert "verdict.json" not in committed.files
    assert training.scored() == [10, 20]


def test_a_sidecar_is_stopped_as_every_step_is_while_training_runs(training: Training, live: Callable[..., bool]) -> None:
    write_status(training.folder, "RUNNING", 0)
    training.checkpoint(10)
    with pytest.raises(Stopped):
        live(lambda: wait_for(lambda: training.scored() == [10]))
    assert not (training.run / "eval" / "verdict.json").exists()
    assert read_commit(training.run / "eval", "evaluate") is None


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts an evaluator on the run in the test's folder; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def evaluator(*options: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0", "PYTHONPATH": PATH}
            process = subprocess.Popen([*COMMAND, str(tmp_path / "run"), *options], stdout=log, stderr=log, env=environment)
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


def stopped(process: subprocess.Popen[bytes]) -> int:
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=120)


@pytest.mark.slow
def test_a_process_stops_with_75_while_training_runs_and_else_finishes_without_a_gpu(
    training: Training, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    verdict = training.run / "eval" / "verdict.json"
    write_status(training.folder, "RUNNING", 0)
    training.checkpoint(10)
    process = start("--sidecar")
    until(training.scored, process)
    assert stopped(process) == 75
    assert not verdict.exists()
    assert (tmp_path / "log").read_text().splitlines()[0] == "HIDDEN GPU [] in time -1"

    for step in (20, 30, 40, 50):
        training.checkpoint(step)
    write_status(training.folder, "DONE", 50, 50)
    process = start("--sidecar")
    until(lambda: len(training.scored()) > 1, process)
    assert stopped(process) == 0
    assert json.loads(verdict.read_text())["state"] == "DONE"
    assert training.scored() == [10, 20, 30, 40, 50]
    assert read_commit(training.run / "eval", "evaluate") is not None


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
