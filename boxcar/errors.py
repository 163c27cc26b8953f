"""How a command ends: its exit code, and the error that carries a sentence for the person who started it."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a process of ours says to whoever started it. Kubernetes and KFP decide by these numbers."""

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
    """Something that a person can act on.

    Args:
        code: the exit code of the process.
        what: one sentence, what happened, with the names of the files or options it is about; ends with a full stop.
        do: one sentence, what to do about it; ends with a full stop.
        details: further lines, one finding each, shown before the sentence (five faults in a folder: five lines).

    Attributes:
        step: the step of a run that it happened in, where a chain of steps has set it.
    """

    def __init__(self, code: ExitCode, what: str, do: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(f"{what} {do}")
        self.code = code
        self.what = what
        self.do = do
        self.details = details
        self.step: str | None = None

    def __reduce__(self) -> tuple[type["BoxcarError"], tuple[object, ...]]:
        """For a process that raises it in place of another."""
        return type(self), (self.code, self.what, self.do, self.details)


class Refused(BoxcarError):
    """A run's folder is somebody else's, or of another run, or taken: not even this failure is to be written there."""


class ChildEnded(Exception):
    """A child process ended with this code after saying why; nothing is left to say.

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
        return BoxcarError(ExitCode.ENVIRONMENT, what, "Free disk space or mend its permissions, then run this again.")
    what = f"Boxcar itself failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no word'}."
    return BoxcarError(ExitCode.DEFECT, what, "Please report this with the lines above.")
