"""The worker processes: none remains after the step, and the message names the image at which one was killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from labelled import label, picture, save

from boxcar.records import build_records

_STEP = """
import signal, sys
from boxcar.errors import BoxcarError
from boxcar.records import build_records
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests
try:
    build_records(*sys.argv[1:])
except BoxcarError as error:
    sys.exit(f"{int(error.code)} {error.what}")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that take some seconds to check. They are links to a few files."""
    folder = tmp_path_factory.mktemp("workers") / "data"
    for number in range(900):
        if number < 3:
            save(folder / f"{number}.png", picture(number, (900, 800)))
        else:
            (folder / f"{number}.png").hardlink_to(folder / f"{number % 3}.png")
        label(folder / f"{number}.xml", (900, 800))
    return folder


class _Running:
    """The step in a process group of its own, with the processes that it has started."""

    def __init__(self, data: Path, out: Path, until: Callable[[], bool]) -> None:
        command = [sys.executable, "-c", _STEP, str(data), str(out)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        while len(self.workers()) < min(2, len(os.sched_getaffinity(0))) or not until():
            assert self.process.poll() is None, "it ended too early"
            time.sleep(0.005)

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def workers(self) -> list[int]:
        return [pid for pid in self.children() if b"spawn_main" in _command(pid)]

    def end(self) -> str:
        """Its last words, after which nobody of its group is left."""
        _, words = self.process.communicate(timeout=60)
        deadline = time.monotonic() + 20
        while _group_lives(self.process.pid):
            assert time.monotonic() < deadline, "a process outlives the step"
            time.sleep(0.02)
        return words


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _group_lives(group: int) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _command(int(entry.name)):
            try:
                if os.getpgid(int(entry.name)) == group:
                    return True
            except ProcessLookupError:
                continue
    return False


def test_a_killed_step_leaves_no_process_and_the_next_start_finishes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = tmp_path / "few"
    for number in range(150):
        save(few / f"{number}.bmp", picture(number, (500, 400)))
        label(few / f"{number}.xml", (500, 400))
    running = _Running(few, out, lambda: bool(list(out.glob("*.tfrecord"))))
    running.process.kill()
    running.end()
    assert not (out / "step.json").exists()
    again = build_records(str(few), str(out))
    fresh = build_records(str(few), str(tmp_path / "fresh"))
    assert again.files == fresh.files


def test_a_killed_worker_is_named_with_its_image(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))

    def all_read() -> bool:
        notes = list((tmp_path / "scratch").glob("boxcar-*/*"))
        return len(notes) >= min(2, len(os.sched_getaffinity(0))) and all(note.stat().st_size for note in notes)

    running = _Running(data, tmp_path / "out", all_read)
    os.kill(running.workers()[0], signal.SIGKILL)
    words = running.end()
    assert running.process.returncode == 1
    assert re.search(r"69 A process that reads images was killed by signal 9 while it read \d+\.png\.", words), words
    assert not (tmp_path / "out").exists()


def test_ctrl_c_is_answered_by_the_step_alone(data: Path, tmp_path: Path) -> None:
    running = _Running(data, tmp_path / "out", lambda: True)
    os.killpg(running.process.pid, signal.SIGINT)
    words = running.end()
    assert running.process.returncode == -signal.SIGINT
    assert words.count("Traceback") == 1, words  # the step's own, which the command turns into a sentence
    assert not (tmp_path / "out").exists()


def test_no_tensorflow_is_loaded_and_little_by_the_workers() -> None:
    for modules, unwanted in (
        ("boxcar.records.build", {"tensorflow"}),
        ("boxcar.records.check, boxcar.records.shards", {"tensorflow", "numpy", "pydantic"}),
    ):
        code = f"import sys, {modules}; print(sorted({unwanted} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout == "[]\n", modules
