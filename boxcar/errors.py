"""How a command ends: its exit code, and the error that carries a sentence for the person who started it."""

import signal
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

# The variable that names a file for the fields of the error that ended a container, as JSON.
TERMINATION_LOG = "BOXCAR_TERMINATION_LOG"
# The variable by which `boxcar run` tells its child processes that a person repeats it with --resume.
PART_OF_RUN = "BOXCAR_PART_OF_RUN"


class ExitCode(IntEnum):
    """How a process of ours ended. Kubernetes and KFP decide by these numbers."""

    DONE = 0
    NO = 1  # it ran, and the answer is no: a file does not agree with its model
    USAGE = 64  # bad configuration or usage
    DATA = 65  # bad data, divergence included
    ENVIRONMENT = 69  # disk, permission, network, a GPU asked for and not seen
    DEFECT = 70  # a defect of ours
    AGAIN = 75  # stopped from outside, start me again
    STOPPED = 76  # stopped for good: orphaned, budget, deadline
    INTERRUPTED = 130  # Ctrl-C


class BoxcarError(Exception):
    """Something that a person can act on. It is made into text once, at the process's edge.

    Args:
        code: the exit code of the process.
        what: one sentence, what happened, with the names of the files or options it is about; ends with a full stop.
        do: one sentence, what to do about it; ends with a full stop. May be empty where `again` says it all.
        details: further lines, one finding each, shown before the sentence (five faults in a folder: five lines).
        again: whether the same command is to be run again after that.

    Attributes:
        step: the step of a run that it happened in, where a chain of steps has set it.
        resumable: whether it happened in a run that was started, so that the same command needs --resume.
    """

    def __init__(self, code: ExitCode, what: str, do: str, details: tuple[str, ...] = (), *, again: bool = False) -> None:
        super().__init__(code, what, do, details)
        self.code = code
        self.what = what
        self.details = details
        self.again = again
        self.step: str | None = None
        self.resumable = False
        self._do = do

    @property
    def do(self) -> str:
        """What to do, in one or two sentences."""
        if not self.again:
            return self._do
        command = "the same command again with --resume" if self.resumable else "the same command again"
        return f"{self._do} Then run {command}." if self._do else f"Run {command}."

    @do.setter
    def do(self, do: str) -> None:
        self._do, self.again = do, False

    def __str__(self) -> str:
        return f"{self.what} {self.do}"

    def record(self) -> dict[str, Any]:
        """The fields as JSON has them, for another process to read with `read_error`."""
        return {"step": self.step, "code": int(self.code), "what": self.what, "do": self._do, "again": self.again}


def read_error(record: Mapping[str, Any]) -> BoxcarError:
    """The error that another process has written.

    Raises:
        KeyError, TypeError, ValueError: where it is none.
    """
    what, do = record["what"], record["do"]
    if not (isinstance(what, str) and isinstance(do, str)):
        raise TypeError("what and do are sentences")
    error = BoxcarError(ExitCode(record["code"]), what, do, again=bool(record.get("again")))
    error.step = record.get("step")
    return error


class Refused(BoxcarError):
    """A run's folder belongs to something else, to another run, or to a running process: no failure is written there."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, or SIGHUP of a lost terminal. Like Ctrl-C it can come anywhere, and no handler of errors catches it.

    Args:
        number: which of the two.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name


class ChildEnded(Exception):
    """A child process ended with this code and has said why.

    Args:
        code: the child's exit code, which becomes ours.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"a child process ended with {code}")
        self.code = code


def explain(error: Exception) -> BoxcarError:
    """What any exception means to a person: 69 for what the operating system refused, 70 for a defect of ours."""
    if isinstance(error, BoxcarError):
        return error
    if isinstance(error, OSError):
        what = f"{error.filename or 'The operating system'}: {error.strerror or error}."
        return BoxcarError(ExitCode.ENVIRONMENT, what, "Free disk space, or correct the permissions.", again=True)
    what = f"Boxcar itself failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}."
    return BoxcarError(ExitCode.DEFECT, what, "Please report this with the lines above.")
