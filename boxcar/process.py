"""A command as a process: its environment, its signals, and how errors become an exit code and a sentence."""

import errno
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn, TypeVar

import typer

from boxcar.errors import PART_OF_RUN, TERMINATION_LOG, BoxcarError, ChildEnded, ExitCode, Refused, Terminated, explain
from boxcar.run.end_signals import END_SIGNALS, handle_end

_R = TypeVar("_R")
_TERMINATION_LENGTH = 800  # characters of what happened, and of what to do


def run_command(app: typer.Typer) -> None:
    """Runs the command that the process was started with, and ends the process with one of `errors.ExitCode`.

    An ignored SIGINT or SIGHUP stays ignored, as `nohup` and a shell's background jobs want it: Python itself leaves SIGINT
    so. SIGHUP, as of a lost terminal, ends a command like SIGTERM. Whoever stops listening to the output ends only that.
    """
    _set_environment()
    _open_outputs()
    handle_end(_terminate)
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
        failure = _stopped(KeyboardInterrupt() if _terminated is None else _terminated)
        _say(failure)
        code = failure.code
    return int(code or 0)


def run_component(step: str, work: Callable[[], _R], run: str | None = None) -> _R:
    """`do_work` in a process that Kubeflow started. If `work` fails, the process ends; else its result is returned."""
    _set_environment()
    # Kubeflow's executor makes every library log everything.
    logging.getLogger().setLevel(logging.WARNING)
    _open_outputs()
    handle_end(_terminate)
    results: list[_R] = []
    try:
        do_work(step, lambda: results.append(work()), run)
    except typer.Exit as end:
        _end(end.exit_code)
    return results[0]


def wait_for_sigterm() -> None:
    """For a process that has nothing to do and must not end before SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    signal.sigwait(END_SIGNALS)


class _Output(io.FileIO):
    """Standard output or error. When nobody reads it any longer, what follows is discarded, and the work goes on."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # a pipe without a reader; a terminal that was closed
                raise
            _discard(self.fileno())
            return len(content)


def _open_outputs() -> None:
    """Replaces standard output and error by those that nobody needs to read. A closed one is opened, and discards all."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would get its number, and all that is printed
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = _Output(number, "w", closefd=False)
        before = getattr(sys, name)  # None if it was closed
        setattr(
            sys,
            name,
            io.TextIOWrapper(
                io.BufferedWriter(raw),
                "utf-8" if before is None else before.encoding,
                "backslashreplace",  # a file's name may not be UTF-8, or the terminal's encoding narrow
                line_buffering=number == 2 or raw.isatty(),
                write_through=before is not None and before.write_through,  # PYTHONUNBUFFERED
            ),
        )


def _discard(number: int) -> None:
    """Everything that is written to a descriptor from now on is discarded, also by libraries and child processes."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)


def _end(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:  # a full disk
            _discard(stream.fileno())
            print(explain(error), file=sys.stderr)
            code = code or ExitCode.ENVIRONMENT
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
        failure = _stopped(received)
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


def _stopped(received: KeyboardInterrupt) -> BoxcarError:
    if isinstance(received, Terminated):
        return BoxcarError(ExitCode.AGAIN, f"Stopped by {received.name}.", "", again=True)
    return BoxcarError(ExitCode.INTERRUPTED, "Stopped by Ctrl-C.", "", again=True)


_terminated: Terminated | None = None  # the one that was raised


def _terminate(number: int, frame: FrameType | None) -> None:
    global _terminated
    for one in END_SIGNALS:
        signal.signal(one, signal.SIG_IGN)  # a second one must not interrupt the cleanup
    _terminated = Terminated(number)
    raise _terminated


def _say(failure: BoxcarError) -> None:
    print(*failure.details, failure, sep="\n", file=sys.stderr, flush=True)


def _set_environment() -> None:
    """Settings that TensorFlow reads when it is imported. Child processes inherit them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up messages help no user
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    # Else TensorFlow imports Keras 3 as well, which nothing uses: a fifth of the time that loading it takes.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    # TensorFlow enables oneDNN itself on CPUs with AVX-512 only. On others too it nearly doubles the speed of training.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
