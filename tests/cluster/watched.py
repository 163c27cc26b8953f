"""Processes that start and watch runs, and what they leave."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from cluster_under_test import Place, wait_for

from boxcar.cluster.job import job_name
from boxcar.storage import Missing, Store

TRAIN_ALONE = Path(__file__).with_name("train_alone.py")


class Watcher:
    """A process that runs `boxcar run --launcher cluster`, or trains alone on the run's own records.

    Args:
        place: where.
        run: URI of the run.
        settings: of `Place.settings`.
        data: URI of the images.
        earlier: URI of the run that this one starts from, instead of images.
        resume: whether the run was begun.
    """

    def __init__(
        self,
        place: Place,
        run: str,
        settings: dict[str, Any],
        *,
        data: str | None = None,
        earlier: str | None = None,
        resume: bool = False,
    ) -> None:
        self.place, self.run = place, run
        self.log = place.folder / f"watcher-{len(place.watchers)}.log"
        config = place.folder / f"config-{len(place.watchers)}.yaml"
        config.write_text(yaml.safe_dump(settings))
        if data is None and earlier is None:
            command = [str(TRAIN_ALONE), str(config), run]
        else:
            source = ["--data", data] if earlier is None else ["--from", earlier]
            command = ["-m", "boxcar", "run", "--launcher", "cluster", *map(str, source), "--output", run]
            command += ["--config", str(config), *(["--resume"] if resume else [])]
        cache = {"BOXCAR_CACHE": str(place.folder / f"cache-{len(place.watchers)}")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **place.variables(), **cache},
                text=True,
            )
        place.watchers.append(self.process)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, seconds: float = 600) -> int:
        """Its exit code."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the watcher did not end in {seconds:.0f} s:\n{self.text}") from None

    def must_succeed(self, seconds: float = 600) -> None:
        assert self.end(seconds) == 0, self.text

    def must_fail(self, code: int, *patterns: str, seconds: float = 600) -> None:
        """It ends with a code, and its last line matches the patterns."""
        assert self.end(seconds) == code, self.text
        last = self.text.strip().splitlines()[-1]
        for pattern in patterns:
            assert re.search(pattern, last), f"{pattern!r} is not in: {last}\n\n{self.text}"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def says(self, pattern: str, seconds: float = 300) -> None:
        """Waits until its log matches."""
        wait_for(f"{pattern!r} in {self.log}", lambda: re.search(pattern, self.text) or self._ended(pattern), seconds)

    def _ended(self, pattern: str) -> bool:
        assert self.process.poll() is None or re.search(pattern, self.text), f"{pattern!r} is not in:\n{self.text}"
        return False


def train_job(run: str) -> str:
    return job_name("train", run)


def begin(place: Place, run: str, records: str, settings: dict[str, Any]) -> None:
    """Makes a run with such records, ready to train."""
    source, target = place.store(records), place.store(f"{run}/records")
    for entry in source.entries():
        target.write(entry.name, source.read(entry.name))
    own = {name: value for name, value in settings.items() if name != "cluster"}
    place.store(run).write("config.yaml", yaml.safe_dump(own).encode())


def begun(place: Place, records: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    """A new run that has its records, and its settings: the toy's with these changes."""
    run, settings = place.new_run(), place.settings(**changes)
    begin(place, run, records, settings)
    return run, settings


def checkpoints(place: Place, run: str) -> list[int]:
    """The steps of the checkpoints in the bucket, in order."""
    names = [entry.name for entry in place.store(f"{run}/train").entries()]
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"ckpt-(\d+)\.json", name)))


def after_checkpoint(place: Place, run: str, step: int, seconds: float = 300) -> list[int]:
    """Waits until the bucket holds a checkpoint of that step or a later one."""
    return wait_for(f"the checkpoint of step {step}", lambda: [one for one in checkpoints(place, run) if one >= step], seconds)


def step_losses(place: Place, run: str) -> dict[int, float]:
    """The loss of each step, as `train/history.jsonl` has them."""
    losses: dict[int, float] = {}
    for line in place.store(f"{run}/train").read("history.jsonl").decode().splitlines():
        record = json.loads(line)
        first = record["step"] - len(record["step_losses"])
        losses |= dict(enumerate(record["step_losses"], first + 1))
    return losses


def scored_steps(place: Place, run: str) -> list[int]:
    content = place.store(f"{run}/eval").read("scores.jsonl").decode()
    return [json.loads(line)["step"] for line in content.splitlines()]


def read_object(store: Store, name: str) -> Any:
    """An object as JSON; None where it is not there."""
    try:
        return json.loads(store.read(name))
    except Missing:
        return None


def running_pod(place: Place, run: str) -> dict[str, Any]:
    """The trainer's pod, once its trainer runs."""

    def look() -> dict[str, Any] | None:
        for pod in place.pods(train_job(run)):
            states = pod["status"].get("containerStatuses", [])
            if states and "running" in states[0]["state"] and "deletionTimestamp" not in pod["metadata"]:
                return pod
        return None

    found: dict[str, Any] = wait_for("a running trainer", look)
    return found


def failed_count(place: Place, run: str) -> int:
    """How many of the Job's pods count as failed."""
    return int(place.get("job", train_job(run))["status"].get("failed", 0))
