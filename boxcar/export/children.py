"""Runs converters and other work that may crash as child processes. A crash, a hang, or a kill becomes an error."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from boxcar.errors import BoxcarError, ExitCode, read_error
from boxcar.run.child import start_child

AT_ONCE = 2  # a converter needs up to 1.3 GB and little more than one core
_POLL_SECONDS = 0.1
_LAST_LINES = 8


@dataclass(frozen=True)
class Child:
    """A converter or other program to run."""

    format: str
    module: str  # run as `python -m module arguments`
    arguments: tuple[str, ...]
    timeout_seconds: float
    doing: str = "The converter to"  # how the message of a failure starts; the format follows


@dataclass
class _Running:
    child: Child
    process: subprocess.Popen[bytes]
    output: IO[bytes]  # what it prints, on both streams
    started: float


def run_children(children: Sequence[Child], finished: Callable[[Child], None]) -> None:
    """Runs the children, `AT_ONCE` at a time. The first that fails ends the others.

    Args:
        children: what to run, the longest first for the shortest total time.
        finished: called as each succeeds.

    Raises:
        BoxcarError: a child's own error, with its code; 69 if one was killed, as happens when memory runs out; 70 if one
            crashed, failed with a traceback, or took too long, with its last lines.
    """
    waiting, running = list(children), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(_start(waiting.pop(0)))
            for one in list(running):
                if one.process.poll() is not None:
                    running.remove(one)
                    _judge(one)
                    finished(one.child)
                elif time.monotonic() - one.started > one.child.timeout_seconds:
                    raise _failure(one, f"it took more than {one.child.timeout_seconds:.0f} s", ExitCode.DEFECT)
            if running:
                time.sleep(_POLL_SECONDS)
    finally:
        for one in running:
            one.process.kill()
            one.process.wait()


def run_as_child(main: Callable[[], None]) -> None:
    """Runs a child's `main` and passes a BoxcarError to the parent as JSON."""
    try:
        main()
        return
    except BoxcarError as error:
        refused = error
    except OSError as error:
        # For example a full disk; a converter's own faults end in a traceback.
        what = f"{error.filename or 'A file'} cannot be read or written: {error.strerror or error}."
        refused = BoxcarError(ExitCode.ENVIRONMENT, what, "Free disk space.", again=True)
    sys.stderr.write(json.dumps(refused.record()) + "\n")
    sys.stderr.flush()
    os._exit(refused.code)  # the interpreter's own end waits for TensorFlow's threads


def _start(child: Child) -> _Running:
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
    process = start_child(
        child.module,
        child.arguments,
        stdout=output,
        stderr=output,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "1"},
    )
    return _Running(child, process, output, time.monotonic())


def _judge(one: _Running) -> None:
    code = one.process.returncode
    if code == 0:
        return
    if code in (ExitCode.DATA, ExitCode.ENVIRONMENT):
        try:
            error = read_error(json.loads(_lines(one)[-1]))
        except (IndexError, ValueError, KeyError, TypeError):
            raise _failure(one, f"it ended with exit code {code}", ExitCode.DEFECT) from None
        raise error
    if code == -signal.SIGKILL:
        raise _failure(one, "it was killed, probably because memory ran out", ExitCode.ENVIRONMENT)
    if code < 0:
        raise _failure(one, f"it crashed ({signal.Signals(-code).name})", ExitCode.DEFECT)
    raise _failure(one, f"it ended with exit code {code}", ExitCode.DEFECT)


def _failure(one: _Running, reason: str, code: ExitCode) -> BoxcarError:
    do = (
        "Free memory, or give the machine more."
        if code == ExitCode.ENVIRONMENT
        else "Report this with the lines above."
        if one.child.format == "saved_model"
        else f"Report this with the lines above, or leave {one.child.format} out of --formats."
    )
    what = f"{one.child.doing} {one.child.format} failed: {reason}."
    return BoxcarError(code, what, do, tuple(_lines(one)[-_LAST_LINES:]), again=code == ExitCode.ENVIRONMENT)


def _lines(one: _Running) -> list[str]:
    one.output.seek(0)
    return [line for line in one.output.read().decode(errors="replace").splitlines() if line.strip()]
