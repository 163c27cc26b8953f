"""A command as a process: its environment, its signals, and how what goes wrong becomes an exit code and a sentence."""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

import typer

from boxcar.errors import TERMINATION_LOG, BoxcarError, ChildEnded, ExitCode, Refused, Terminated, explain

_R = TypeVar("_R")
_LAST_WORDS_LENGTH = 800  # characters of what happened, and of what to do


def run_command(app: typer.Typer) -> None:
    """Runs the command that the process was started with, and ends the process with one of `errors.ExitCode`.

    An ignored SIGINT stays ignored, as `nohup` and a shell's background jobs want it: Python itself leaves it so. SIGTERM ends
    every command, however it was started.
    """
    _set_environment()
    signal.signal(signal.SIGTERM, _terminate)
    from typer.exceptions import TyperException

    try:
        # Our own exit codes: typer's for wrong usage is 2.
        code = typer.main.get_command(app)(standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = f"boxcar {context.info_name}" if context is not None and context.parent is not None else "boxcar"
        message = error.format_message()
        if "\n" in message:  # the help itself, where `boxcar` was called alone
            print(message, file=sys.stderr)
        else:
            _say(
                BoxcarError(
                    ExitCode.USAGE, message if message.endswith((".", "?")) else f"{message}.", f"See `{command} --help`."
                )
            )
        code = ExitCode.USAGE
    except typer.Abort:
        # A signal outside of a step: while options are read, or while a failure is written down.
        failure = _stopped(by_sigterm=signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
        _say(failure)
        code = failure.code
    _end(int(code or 0))


def run_component(step: str, work: Callable[[], _R], run: str | None = None) -> _R:
    """`do_work` in a process that a pipeline started, in the middle of code that is not ours.

    Args:
        step: the step's name.
        work: what to do.
        run: URI of the run whose failure it would be; None where it would be nobody's.

    Returns:
        What `work` does. Where it fails, nobody is returned to: the process ends.
    """
    _set_environment()
    # Kubeflow's executor has every library say all that it does.
    logging.getLogger().setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _terminate)
    results: list[_R] = []
    try:
        do_work(step, lambda: results.append(work()), run)
    except typer.Exit as end:
        _end(end.exit_code)
    return results[0]


def wait_for_sigterm() -> None:
    """For a process that has nothing to do, and must not end before it is told to."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    if "tensorflow" in sys.modules:
        # Taking the interpreter apart with TensorFlow in it waits for its threads: one training in three took a minute more.
        os._exit(code)
    sys.exit(code)


def do_work(step: str, work: Callable[[], None], run: str | None = None) -> None:
    """Does a command's work, and turns what goes wrong into an exit code, a last line on stderr and `<run>/failure.json`.

    Args:
        step: the command's name, which is the step's.
        work: what to do.
        run: URI of the run whose failure it would be; None where it would be nobody's.

    Raises:
        typer.Exit: with the exit code, where something went wrong.
    """
    try:
        work()
        if run is not None:
            _clear(run)
        return
    except BoxcarError as error:
        failure = error
    except ChildEnded as ended:
        raise typer.Exit(ended.code) from None
    except Terminated:
        failure = _stopped(by_sigterm=True)
        failure.resumable = step == "run"
    except KeyboardInterrupt:
        failure = _stopped(by_sigterm=False)
        failure.resumable = step == "run"
    except Exception as error:  # noqa: BLE001 - the outermost place
        failure = explain(error)
        if failure.code == ExitCode.DEFECT:
            import traceback

            traceback.print_exc()
    failure.step = failure.step or step
    _say(failure)
    _leave_last_words(failure)
    if run is not None and not isinstance(failure, Refused):
        _record(run, failure)
    raise typer.Exit(int(failure.code))


def _clear(run: str) -> None:
    from boxcar.sync.failure import clear_failure

    clear_failure(run)


def _leave_last_words(failure: BoxcarError) -> None:
    """Writes the error's fields where the container's Job has asked for them. They stay known when the log is gone."""
    path = os.environ.get(TERMINATION_LOG)
    if path:
        record = failure.record()
        # A pod keeps 12 KB of all its containers, and cuts off what is more.
        record |= {name: record[name][:_LAST_WORDS_LENGTH] for name in ("what", "do")}
        try:
            with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - a mount, which cannot be replaced
                json.dump(record, file, ensure_ascii=False)
        except OSError as error:
            print(f"{path} cannot be written: {error.strerror}", file=sys.stderr, flush=True)


def _record(run: str, failure: BoxcarError) -> None:
    from boxcar.sync.failure import record_failure

    try:
        record_failure(run, str(failure.step), failure)
    except (BoxcarError, OSError) as error:
        if str(error) != str(failure):
            # The last line is the failure's own.
            print(f"failure.json could not be written: {error}\n{failure}", file=sys.stderr, flush=True)


def _stopped(*, by_sigterm: bool) -> BoxcarError:
    code, how = (ExitCode.AGAIN, "SIGTERM") if by_sigterm else (ExitCode.INTERRUPTED, "Ctrl-C")
    return BoxcarError(code, f"Stopped by {how}.", "", again=True)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough; a second must not disturb the tidying up
    raise Terminated


def _say(failure: BoxcarError) -> None:
    print(*failure.details, failure, sep="\n", file=sys.stderr, flush=True)


def _set_environment() -> None:
    """Settings of TensorFlow's that must stand before it is imported, and are inherited by child processes."""
    # Its start-up noise tells a person nothing.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    # TensorFlow turns oneDNN on by itself on processors with AVX-512 only; on others too it nearly doubles training's speed.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
