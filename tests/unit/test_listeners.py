"""Whoever stops listening ends only the talking, and a lost terminal ends a command as SIGTERM does."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from boxcar import process
from boxcar.detect.lists import JsonLines
from boxcar.errors import BoxcarError
from boxcar.process import do_work
from boxcar.run.end_signals import handle_end
from boxcar.run.progress import Progress
from boxcar.training.stopping import StopRequest

LINES = 20_000  # more than a pipe and a buffer hold


def in_a_process(outputs: dict[int, int | None], work: Callable[[], object], run: Path | None = None) -> int:
    """Does the work in a forked process as a command's, with these descriptors in place of its own; its exit code.

    Args:
        outputs: a descriptor by its number in the process; None to close that number.
        work: what to do.
        run: the folder of the run that a failure is recorded in.
    """
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for number, descriptor in outputs.items():
                if descriptor is None:
                    os.close(number)
                    setattr(sys, {1: "stdout", 2: "stderr"}[number], None)
                else:
                    os.dup2(descriptor, number)
            process._open_outputs()
            handle_end(process._terminate)
            try:
                do_work("work", work, None if run is None else str(run))  # type: ignore[arg-type]
                process._end(0)
            except typer.Exit as end:
                process._end(end.exit_code)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:  # noqa: BLE001 - the parent asks for the code only
            traceback.print_exc()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def unheard() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def talk(done: Path) -> None:
    """Prints much on both outputs, and then does something."""
    for number in range(LINES):
        print("line", number)
    print("line", flush=True)
    print("line", file=sys.stderr)
    with Progress("Working", 1, "units") as progress:
        progress.say("line")
        progress.advance()
    done.write_text("done")


@pytest.mark.parametrize("numbers", [(1,), (2,), (1, 2)])
@pytest.mark.parametrize("how", ["closed", "nobody reads", "the terminal is gone"])
def test_the_work_is_done_whoever_listens(tmp_path: Path, numbers: tuple[int, ...], how: str) -> None:
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    outputs: dict[int, int | None] = {1: log, 2: log}
    if how == "the terminal is gone":
        terminal, slave = pty.openpty()
        outputs |= dict.fromkeys(numbers, slave)
        os.close(terminal)
    else:
        outputs |= dict.fromkeys(numbers, None if how == "closed" else unheard())
    assert in_a_process(outputs, lambda: talk(tmp_path / "done")) == 0
    assert (tmp_path / "done").exists()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_file_does_not_get_what_a_closed_output_would_have_got(tmp_path: Path) -> None:
    def work() -> None:
        with (tmp_path / "file").open("w") as file:
            file.write("mine")
            talk(tmp_path / "done")

    assert in_a_process({1: None, 2: None}, work) == 0
    assert (tmp_path / "file").read_text() == "mine"


def test_a_child_process_is_as_unheard_as_its_parent(tmp_path: Path) -> None:
    def work() -> None:
        talk(tmp_path / "done")
        subprocess.run(["sh", "-c", "echo line && echo line"], check=True)

    assert in_a_process({1: unheard()}, work) == 0


def test_a_full_disk_is_no_listener_that_left(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    assert in_a_process({1: full, 2: log}, lambda: print("line")) == 69
    assert "No space left" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_every_file_name_can_be_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    assert in_a_process({1: log}, lambda: print(os.fsdecode(b"b\xe4r.jpg"), "東京")) == 0
    wanted = "b\\udce4r.jpg " + ("東京" if encoding == "utf-8" else "\\u6771\\u4eac")
    assert (tmp_path / "log").read_text() == f"{wanted}\n"


def test_a_list_that_goes_into_a_pipe_may_lose_its_reader() -> None:
    with JsonLines(Path(f"/dev/fd/{unheard()}")) as file:
        for _ in range(3):
            file.add({"path": "a.jpg", "detections": []})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_lost_terminal_is_a_request_to_end(tmp_path: Path, number: signal.Signals) -> None:
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)

    def work() -> None:
        try:
            signal.raise_signal(number)
        finally:  # a second signal does not disturb the cleanup
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)

    assert in_a_process({2: log}, work) == 75
    assert f"Stopped by {number.name}." in (tmp_path / "log").read_text()


def test_nohup_keeps_a_command_alive() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert in_a_process({}, lambda: signal.raise_signal(signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_training_saves_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    def work() -> None:
        stop = StopRequest(tmp_path)
        assert not stop.asked()
        signal.raise_signal(number)
        stop.check(5, 10)

    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    assert in_a_process({2: log}, work) == 75
    assert "checkpoint is saved" in (tmp_path / "log").read_text()


def test_the_command_in_a_shell() -> None:
    boxcar = f"{sys.executable} -m boxcar architectures"
    for command in (f"{boxcar} | head -1; echo ${{PIPESTATUS[0]}}", f"{boxcar} >&-; echo; echo $?"):
        ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
        assert ended.stdout.splitlines()[-1] == "0"
        assert ended.stderr == ""


def test_a_failure_is_recorded_although_nobody_hears_it(tmp_path: Path) -> None:
    def work() -> None:
        print("line", flush=True)
        raise BoxcarError(65, "It failed.", "Mend it.")  # type: ignore[arg-type]

    (tmp_path / "records").mkdir()
    assert in_a_process({1: unheard(), 2: unheard()}, work, tmp_path) == 65
    assert json.loads((tmp_path / "failure.json").read_text())["what"] == "It failed."
