"""Converters as child processes: whatever becomes of one, it ends as a sentence."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import Child, run_children

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def _child(how: str, *arguments: str, timeout: float = 60.0) -> Child:
    return Child("tflite_int8", "failing_converter", (how, *arguments), timeout)


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("crash", ExitCode.DEFECT, "it crashed (SIGSEGV)"),
        ("be killed", ExitCode.ENVIRONMENT, "memory"),
        ("raise", ExitCode.DEFECT, "it ended with exit code 1"),
        ("refuse", ExitCode.DATA, "A shard is damaged."),
        ("fill the disk", ExitCode.ENVIRONMENT, "No space left on device"),
        ("lie", ExitCode.DEFECT, "it ended with exit code 65"),
    ],
)
def test_a_child_that_fails(how: str, code: ExitCode, words: str) -> None:
    ended: list[Child] = []
    with pytest.raises(BoxcarError) as caught:
        run_children([_child(how)], ended.append)
    assert caught.value.code == code
    assert words in caught.value.what
    assert not ended
    if code == ExitCode.DEFECT:
        assert "tflite_int8" in caught.value.what
        assert caught.value.details  # its last words
    if how == "crash":
        assert caught.value.details[-1] == "about to crash"
    if how == "raise":
        assert caught.value.details[-1] == "RuntimeError: no such operation: FancyNMS"


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    number = tmp_path / "number"
    with pytest.raises(BoxcarError) as caught:
        run_children([_child("write its number and wait", str(number), timeout=5.0)], lambda child: None)
    assert caught.value.code == ExitCode.DEFECT
    assert "more than 5 s" in caught.value.what
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def test_a_failure_ends_the_others_and_starts_no_more(tmp_path: Path) -> None:
    number, empty = tmp_path / "number", tmp_path / "empty"
    waiting = _child("write its number and wait", str(number))
    with pytest.raises(BoxcarError):
        run_children([waiting, _child("crash"), _child("write an empty file", str(empty))], lambda child: None)
    if number.exists():  # the one that waits may not have come so far
        with pytest.raises(ProcessLookupError):
            os.kill(int(number.read_text()), 0)
    assert not empty.exists()


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    number = tmp_path / "number"
    program = (
        "from boxcar.export.children import Child, run_children\n"
        f"run_children([Child('x', 'failing_converter', ('write its number and wait', {str(number)!r}), 60)], print)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    _wait_for(lambda: number.exists() and number.read_text() != "")
    parent.kill()
    parent.wait()
    _wait_for(lambda: not _runs(int(number.read_text())))


def _runs(number: int) -> bool:
    # An orphan that nobody has waited for is a zombie, and runs no more.
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_for(condition: object, seconds: float = 30.0) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
