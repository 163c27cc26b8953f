"""A command as a process: its environment, its signals, and how errors become an exit code and a sentence."""

import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn, TypeVar

import typer

from boxcar.errors import PART_OF_RUN, TERMINATION_LOG, BoxcarError, ChildEnded, ExitCode, Refused, Terminated, explain

_R = TypeVar("_R")
_TERMINATION_LENGTH = 800  # characters of what happened, and of what to do


def run_command(app: typer.Typer) -> None:
    """Runs the command that the process was started with, and ends the process with one of `errors.ExitCode`.

    An ignored SIGINT stays ignored, as `nohup` and a shell's background jobs want it: Python itself leaves it so. SIGTERM ends
    every command, however it was started.
    """
    _set_environment()
    signal.signal(signal.SIGTERM, _terminate)
    _end(call_command(app, sys.argv[1:]))


def call_command(app: typer.Typer, words: Sequence[str]) -> int:
    """Runs a command in this process.

    Args:
        app: the commands.
        words: what follows `boxcar` on the command line.

    Returns:
        The exit code, one of `errors.ExitCode`. An error is printed on stderr.
    """
    from typer.exceptions import TyperException

    try:
        # Typer's own exit code for wrong usage is 2.
        code = typer.main.get_command(app)(list(words), prog_name="boxcar", standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = f"boxcar {context.info_name}" if context is not None and context.parent is not None else "boxcar"
        message = error.format_message()
        if "\n" in message:  # the help itself, if `boxcar` was called alone
            print(message, file=sys.stderr)
        else:
            _say(
                BoxcarError(
                    ExitCode.USAGE, message if message.endswith((".", "?")) else f"{message}.", f"See `{command} --help`."
                )
            )
        code = ExitCode.USAGE
    except typer.Abort:
        # A signal outside of a step: while options are read, or while a failure is recorded.
        failure = _stopped(by_sigterm=signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
        _say(failure)
        code = failure.code
    return int(code or 0)


def run_component(step: str, work: Callable[[], _R], run: str | None = None) -> _R:
    """`do_work` in a process that Kubeflow started. If `work` fails, the process ends; else its result is returned."""
    _set_environment()
    # Kubeflow's executor makes every library log everything.
    logging.getLogger().setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _terminate)
    results: list[_R] = []
    try:
        do_work(step, lambda: results.append(work()), run)
    except typer.Exit as end:
        _end(end.exit_code)
    return results[0]


def wait_for_sigterm() -> None:
    """For a process that has nothing to do and must not end before SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    if "tensorflow" in sys.modules:
        # An interpreter that exits with TensorFlow loaded waits for its threads: one training in three took a minute more.
        os._exit(code)
    sys.exit(code)


def do_work(step: str, work: Callable[[], None], run: str | None = None) -> None:
    """Does a command's work. Turns errors into an exit code, a last line on stderr, and `<run>/failure.json`.

    Args:
        step: the command's name, which is the step's.
        work: what to do.
        run: URI of the run that a failure belongs to; None if it belongs to no run.

    Raises:
        typer.Exit: with the exit code, if it fails.
    """
    if step == "run":
        os.environ[PART_OF_RUN] = "1"
    try:
        work()
        if run is not None:
            from boxcar.sync.failure import clear_failure

            clear_failure(run)
        return
    except BoxcarError as error:
        failure = error
    except ChildEnded as ended:
        raise typer.Exit(ended.code) from None
    except KeyboardInterrupt as received:
        failure = _stopped(by_sigterm=isinstance(received, Terminated))
        failure.resumable = step == "run"
    except Exception as error:  # noqa: BLE001 - the outermost place
        failure = explain(error)
        if failure.code == ExitCode.DEFECT:
            import traceback

            traceback.print_exc()
    finally:
        if step == "run":
            del os.environ[PART_OF_RUN]
    failure.step = failure.step or step
    if step != "run":
        failure.resumable = PART_OF_RUN in os.environ  # no other command has --resume
    _say(failure)
    _write_termination_message(failure)
    if run is not None and not isinstance(failure, Refused):
        _record(run, failure)
    raise typer.Exit(int(failure.code))


def _write_termination_message(failure: BoxcarError) -> None:
    """Writes the error's fields where the container's Job expects them. They remain known when the log is gone."""
    path = os.environ.get(TERMINATION_LOG)
    if path:
        record = failure.record()
        # A pod keeps 12 KB of all its containers and truncates the rest.
        record |= {name: record[name][:_TERMINATION_LENGTH] for name in ("what", "do")}
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
            # The failure itself is repeated as the last line.
            print(f"failure.json could not be written: {error}\n{failure}", file=sys.stderr, flush=True)


def _stopped(*, by_sigterm: bool) -> BoxcarError:
    code, how = (ExitCode.AGAIN, "SIGTERM") if by_sigterm else (ExitCode.INTERRUPTED, "Ctrl-C")
    return BoxcarError(code, f"Stopped by {how}.", "", again=True)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleanup
    raise Terminated


def _say(failure: BoxcarError) -> None:
    print(*failure.details, failure, sep="\n", file=sys.stderr, flush=True)


def _set_environment() -> None:
    """Prints every name, and sets what TensorFlow reads when it is imported. Child processes inherit the settings."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may not be UTF-8, or the terminal's encoding narrow
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up messages help no user
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    # Else TensorFlow imports Keras 3 as well, which nothing uses: a fifth of the time that loading it takes.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    # TensorFlow enables oneDNN itself on CPUs with AVX-512 only. On others too it nearly doubles the speed of training.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
