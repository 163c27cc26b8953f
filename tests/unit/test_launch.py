"""Trainer and evaluator as child processes: how they end, and that nobody else works in their run.

The children are real processes, but small programs that play the two parts.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from boxcar import storage
from boxcar.errors import BoxcarError, ChildEnded, Refused
from boxcar.local import training as launch
from boxcar.local.training import lock, train_and_evaluate
from boxcar.run.child import start_child
from boxcar.run.layout import EVALUATOR_LOG

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what has become of a child is read from /proc")

# Leaves its process id and its GPUs, and waits to be told to stop where it has nothing else to do.
PLAYER = """
import os, signal, sys, time
part, run = sys.argv[1], sys.argv[-1]
def note(name, text):
    with open(f"{{run}}/{{part}}.{{name}}", "a") as file:
        file.write(f"{{text}}\\n")
def told(number, frame):
    note("told", signal.Signals(number).name)
    sys.exit(130 if number == signal.SIGINT else 75)
signal.signal(signal.SIGINT, told)
signal.signal(signal.SIGTERM, told)
note("gpus", os.environ.get("CUDA_VISIBLE_DEVICES"))
note("pid", os.getpid())
wait = lambda: time.sleep(60)
done = lambda other: os.path.exists(f"{{run}}/{{other}}.pid")
if part == "train":
    {train}
else:
    {evaluate}
"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Makes the children run these lines instead of `boxcar`; answers the run's folder."""

    def prepare(train: str, evaluate: str) -> Path:
        (tmp_path / "player.py").write_text(PLAYER.format(train=train, evaluate=evaluate))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(launch, "start_child", lambda _, *given, **options: start_child("player", *given, **options))
        run = tmp_path / "run"
        run.mkdir()
        return run

    return prepare


def wait_for(what: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def pid(run: Path, part: str) -> int:
    return int((run / f"{part}.pid").read_text().splitlines()[-1])


def send(number: signal.Signals, run: Path) -> threading.Thread:
    """Sends this process, and no other, a signal when both children have begun."""

    def work() -> None:
        wait_for(lambda: all((run / f"{part}.pid").exists() for part in ("train", "evaluate")))
        time.sleep(0.3)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_both_end_well_and_only_the_trainer_sees_a_gpu(
    play: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    run = play("sys.exit(0)", "sys.exit(0 if os.path.isdir(f'{run}/train') else 64)")
    train_and_evaluate(str(run))
    assert (run / "train.gpus").read_text() == "0\n"
    assert (run / "evaluate.gpus").read_text() == "-1\n"


def test_a_trainer_that_fails_has_said_why_and_takes_the_evaluator_along(play: Callable[[str, str], Path]) -> None:
    run = play("while not done('evaluate'): time.sleep(0.01)\n    sys.exit(65)", "wait()")
    with pytest.raises(ChildEnded) as end:
        train_and_evaluate(str(run))
    assert end.value.code == 65
    assert ended(pid(run, "evaluate"))
    assert (run / "evaluate.told").read_text() == "SIGTERM\n"


def test_a_killed_trainer_is_named(play: Callable[[str, str], Path]) -> None:
    run = play("os.kill(os.getpid(), signal.SIGKILL)", "wait()")
    with pytest.raises(BoxcarError, match=r"SIGKILL.*memory") as error:
        train_and_evaluate(str(run))
    assert error.value.code == 69


def test_a_failing_evaluator_is_started_again_and_given_up_in_the_end(play: Callable[[str, str], Path]) -> None:
    run = play("wait()", "print('The disk is on fire.', file=sys.stderr)\n    sys.exit(69)")
    with pytest.raises(BoxcarError, match="The disk is on fire") as error:
        train_and_evaluate(str(run))
    assert error.value.code == 69
    assert len((run / "evaluate.pid").read_text().splitlines()) == launch.EVALUATOR_STARTS
    assert (run / EVALUATOR_LOG).read_text().count("fire") == launch.EVALUATOR_STARTS
    assert ended(pid(run, "train"))


def test_an_evaluator_that_fails_once_costs_nothing(play: Callable[[str, str], Path]) -> None:
    run = play(
        "while len(open(f'{run}/evaluate.pid').readlines() if done('evaluate') else []) < 2: time.sleep(0.01)",
        "sys.exit(0 if len(open(f'{run}/evaluate.pid').readlines()) == 2 else 70)",
    )
    train_and_evaluate(str(run))


@pytest.mark.parametrize("train", ["wait()", "sys.exit(0)"], ids=["while training", "while the last are scored"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)])
def test_stopped_from_outside(play: Callable[[str, str], Path], train: str, number: signal.Signals, code: int) -> None:
    run = play(train, "wait()")
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    sender = send(number, run)
    with pytest.raises((BoxcarError, ChildEnded)) as stopped:
        train_and_evaluate(str(run))
    sender.join()
    assert stopped.value.code == code  # type: ignore[attr-defined]
    assert ended(pid(run, "train"))
    assert ended(pid(run, "evaluate"))
    assert {one: signal.getsignal(one) for one in handlers} == handlers


def test_the_children_die_with_their_parent(play: Callable[[str, str], Path]) -> None:
    run = play("wait()", "wait()")
    program = (
        "import sys\nfrom boxcar.local import training\nfrom boxcar.run.child import start_child\n"
        "training.start_child = lambda _, *given, **options: start_child('player', *given, **options)\n"
        "training.train_and_evaluate(sys.argv[1])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(run)])
    wait_for(lambda: (run / "train.pid").exists() and (run / "evaluate.pid").exists())
    parent.kill()
    parent.wait()
    wait_for(lambda: ended(pid(run, "train")) and ended(pid(run, "evaluate")))


def test_a_run_is_taken_once_and_for_as_long_as_a_child_lives(
    play: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = play("wait()", "wait()")
    descriptor = lock(run)
    monkeypatch.setattr(storage, "lock", partial(storage.lock, patience_seconds=0.0))
    with pytest.raises(Refused) as error:
        lock(run)
    assert error.value.code == 69
    assert str(run) in error.value.what
    child = launch._start(run, "train")
    os.close(descriptor)
    with pytest.raises(Refused):
        lock(run)
    child.kill()
    child.wait()
    os.close(lock(run))


def test_a_lock_in_a_folder_that_cannot_be_written_names_it(tmp_path: Path) -> None:
    with pytest.raises(BoxcarError, match="missing") as error:
        lock(tmp_path / "missing")
    assert error.value.code == 69
