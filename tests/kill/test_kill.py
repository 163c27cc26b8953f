"""A run that is killed in every step, and gone on with: the end is as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from boxcar.records import build_records
from boxcar.run.step import read_commit
from boxcar.shapes import make_shapes

STEPS = 60
CHOSEN = ["--image-size", "64", "--steps", str(STEPS), "--batch-size", "4", "--init", "none"]


def start(pictures: Path, run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "boxcar", "run", "--data", str(pictures), "--output", str(run), *CHOSEN]
    if run.exists():
        command.append("--resume")
    with (run.parent / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def children(pid: int) -> dict[str, int]:
    """The sub-commands of `boxcar` that a process has started, and their process ids."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid and b"boxcar" in words:
                found[words[words.index(b"boxcar") + 1].decode()] = int(entry.name)
    return found


def kill_when(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    """Sends SIGKILL to the command alone, as soon as it is where it shall die; its children must follow by themselves."""
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, f"it ended before it was killed:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"it never got there:\n{log.read_text()}"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the trainer's processes through /proc")
def test_a_run_killed_in_every_step_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    pictures, run, log = tmp_path / "pictures", tmp_path / "run", tmp_path / "log"
    make_shapes(str(pictures), pictures=120, image_size=96)
    undisturbed = build_records(str(pictures), str(tmp_path / "records"))

    committed: dict[str, int] = {}  # when each step was

    def note_committed(*finished: str) -> None:
        """What was finished before a kill must be the very same afterwards: each step commits once."""
        for name in finished:
            step, folder = name.split(" in ")
            assert read_commit(run / folder, step) is not None, name
            assert committed.setdefault(name, (run / folder / "step.json").stat().st_mtime_ns) > 0
        assert committed == {name: (run / name.split(" in ")[1] / "step.json").stat().st_mtime_ns for name in committed}

    # In the order in which a run gets there: each kill hits one step in its middle, and the next start gets further.
    kill_when(start(pictures, run), lambda: (run / "records" / ".unfinished").exists(), log)
    assert not (run / "records" / "step.json").exists()
    kill_when(start(pictures, run), lambda: any((run / "train").glob("ckpt-*.json")), log)
    note_committed("records in records")

    # The evaluator alone is killed: the run goes on by itself and starts it again.
    process = start(pictures, run)
    scores = run / "eval" / "scores.jsonl"
    while not scores.exists():
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    evaluator = children(process.pid)["evaluate"]
    os.kill(evaluator, signal.SIGKILL)
    kill_when(process, lambda: (run / "export" / "saved_model" / ".unfinished").exists(), log)
    assert read_commit(run / "export" / "saved_model", "freeze") is None
    note_committed("train in train", "evaluate in eval")

    kill_when(start(pictures, run), lambda: (run / "export" / ".unfinished").exists(), log)
    assert read_commit(run / "export", "convert") is None
    note_committed("freeze in export/saved_model")
    kill_when(start(pictures, run), lambda: (run / "report" / ".unfinished").exists(), log)
    assert not (run / "run.json").exists()
    note_committed("convert in export")
    last = start(pictures, run)
    assert last.wait(timeout=300) == 0, log.read_text()
    note_committed("report in report")

    records = read_commit(run / "records", "records")
    assert records is not None
    assert records.files == undisturbed.files
    for name in records.files:
        assert (run / "records" / name).read_bytes() == (undisturbed.folder / name).read_bytes()
    scored = [json.loads(line)["step"] for line in scores.read_text().splitlines()]
    interval = json.loads((run / "train" / "step.json").read_text())["parameters"]["checkpoint_interval_steps"]
    assert scored == [*range(interval, STEPS, interval), STEPS]
    manifest = json.loads((run / "export" / "manifest.json").read_text())
    assert all(entry["agrees"] or not entry["judged"] for entry in manifest["files"])
    assert json.loads((run / "run.json").read_text())["dataset_version"]
    assert not (run / "failure.json").exists()
    leftovers = [str(path) for path in run.rglob("*") if path.name in (".unfinished", ".writing") or path.suffix == ".tmp"]
    assert leftovers == []
