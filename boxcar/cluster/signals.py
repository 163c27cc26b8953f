"""Signals that come while a Job is watched."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class SignalReceived(BaseException):
    """A signal came. Not an error, and no handler of errors on the way up may catch it.

    Args:
        number: of the signal, SIGTERM or SIGINT.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def raising_signals() -> Iterator[None]:
    """Inside, the first SIGTERM or SIGINT raises SignalReceived wherever the program is. A second SIGTERM is ignored, and a
    second SIGINT, of a person who does not want to wait, raises KeyboardInterrupt. A SIGINT that is ignored stays so."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    if before[signal.SIGINT] is signal.SIG_IGN:  # started by nohup or in a shell's background
        del before[signal.SIGINT]

    def receive(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        raise SignalReceived(number)

    for number in before:
        signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
