"""Memory that runs out while TensorFlow computes, as an error that says what to do. Does not load TensorFlow."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from boxcar.errors import BoxcarError, ExitCode

# TensorFlow's errors for GPUs are not all of one kind: "Dst tensor is not initialized" is what a copy to a full GPU says.
_SIGNS = ("out of memory", "out_of_memory", "dst tensor is not initialized")

_NODE = re.compile(r"\{\{.*?\}\}|\[\[.*?\]\]")  # the operation in the graph


@contextmanager
def memory_errors(doing: str) -> Iterator[None]:
    """Turns the errors of memory that ran out, of a GPU or of the machine, into one that names the options to change.

    Args:
        doing: what ran out of memory, as the subject of a sentence: `Training`.

    Raises:
        BoxcarError: 69.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, BoxcarError | OSError) or not _is_of_memory(error):
            raise
        reason = _reason(error)
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{doing} ran out of memory: {reason}.",
            "Start another run with a smaller --batch-size or --image-size, or on a machine with more memory.",
        ) from error


def _reason(error: Exception) -> str:
    """The part of an error's message that says what could not be allocated. In a graph, TensorFlow adds many lines."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    of_memory = [line for line in lines if "OOM" in line or any(sign in line.lower() for sign in _SIGNS)]
    line = _NODE.sub("", (of_memory or lines)[0]).partition(" on /job:")[0]
    return line.strip().rstrip(".")[:300]


def _is_of_memory(error: Exception) -> bool:
    # By name, because importing TensorFlow takes seconds, and whoever raises its errors has done it.
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).lower()
    if "ResourceExhaustedError" in names:
        return "no space left" not in text  # a full disk is of the same kind
    return isinstance(error, MemoryError) or ("OpError" in names and any(sign in text for sign in _SIGNS))
