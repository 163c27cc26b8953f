"""Two processes on loopback train one detector: together they are one, and neither outlives the other."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxcar.config.run_settings import make_configuration, write_configuration
from boxcar.run.checkpoints import list_checkpoints
from boxcar.run.layout import COMMIT, UNFINISHED
from boxcar.training.history import read_history

STEPS, INTERVAL = 20, 10
SETTINGS = {
    "image_size": 64,
    "batch_size": 4,
    "checkpoint_interval_steps": INTERVAL,
    "learning_rate": 0.02,
    "init": "none",
}


def make_run(folder: Path, records: Path, **changes: Any) -> Path:
    shutil.copytree(records, folder / "records")
    write_configuration(folder, make_configuration(None, SETTINGS | changes))
    return folder


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(run: Path, workers: int, only: int | None = None) -> list[subprocess.Popen[str]]:
    """Starts so many workers, or one of them only."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    started = []
    for index in range(workers) if only is None else [only]:
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = os.environ | ({"TF_CONFIG": json.dumps(config)} if workers > 1 else {})
        command = [sys.executable, "-m", "boxcar", "train", "--run", str(run), "--evaluator", "none"]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    return started


def finish(processes: list[subprocess.Popen[str]], seconds: float = 240) -> list[tuple[int, str]]:
    """Exit code and last words of each; none is left behind."""
    ends = []
    try:
        for process in processes:
            _, said = process.communicate(timeout=seconds)
            ends.append((process.returncode, said))
    finally:
        for process in processes:
            process.kill()
    return ends


def step_losses(run: Path) -> list[float]:
    return [loss for line in read_history(run / "train") for loss in line["step_losses"]]


def wait_for_checkpoint(run: Path, processes: list[subprocess.Popen[str]]) -> None:
    until = time.monotonic() + 240
    while not list_checkpoints(run / "train"):
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one(tmp_path: Path, shapes_records: Path) -> None:
    # At a higher rate the rounding of gradients, a hundredth and more in maps this small, is soon another training (at 0.001
    # the losses were 0.004 apart after ten steps). At this one training still moves them by ten times what they may differ by,
    # and that the gradients are the same is held to float64 in test_network.py.
    settings = {"steps": STEPS, "batch_size": 8, "learning_rate": 1e-5}
    runs = {workers: make_run(tmp_path / str(workers), shapes_records, **settings) for workers in (1, 2)}
    for workers, run in runs.items():
        for code, said in finish(start(run, workers)):
            assert code == 0, said
    one, two = step_losses(runs[1]), step_losses(runs[2])
    assert len(one) == len(two) == STEPS
    assert np.ptp(one) > 0.01, "losses that stand still would agree, whatever was computed"
    np.testing.assert_allclose(two, one, rtol=1e-4)
    train = runs[2] / "train"
    assert [checkpoint.step for checkpoint in list_checkpoints(train)] == [INTERVAL, STEPS]
    assert not list(train.glob(".writing*"))

    # One that was interrupted behind the last step does not wait for the others, which have ended.
    (train / COMMIT).rename(train / UNFINISHED)
    for index in (1, 0):
        ((code, said),) = finish(start(runs[2], 2, only=index))
        assert code == 0, said
        assert step_losses(runs[2]) == two
        assert (train / COMMIT).exists() == (index == 0)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_lost_worker_stops_the_other_and_both_resume_together(
    tmp_path: Path, shapes_records: Path, number: signal.Signals
) -> None:
    steps = 2000  # more than are trained here
    run = make_run(tmp_path / "run", shapes_records, steps=steps)
    processes = start(run, 2)
    wait_for_checkpoint(run, processes)
    processes[1].send_signal(number)
    (chief, chief_said), (other, other_said) = finish(processes)
    assert chief == 75, chief_said
    assert other == (75 if number is signal.SIGTERM else -9), other_said
    reached = list_checkpoints(run / "train")[-1].step
    assert reached >= INTERVAL
    assert json.loads((run / "failure.json").read_text())["code"] == 75

    processes = start(run, 2)
    until = time.monotonic() + 240
    while list_checkpoints(run / "train")[-1].step < reached + INTERVAL:
        assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
        assert time.monotonic() < until
        time.sleep(0.05)
    for process in processes:
        process.terminate()
    for code, said in finish(processes):
        assert code == 75, said
        assert f"Resuming from the checkpoint of step {reached}." in said
