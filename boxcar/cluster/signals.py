"""Being told to end while a Job is watched."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Told(BaseException):
    """A signal came. Not an error, and not to be taken for one on its way up.

    Args:
        number: of the signal, SIGTERM or SIGINT.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def raising_told() -> Iterator[None]:
    """Inside, the first SIGTERM or SIGINT raises Told wherever the program is. A second SIGTERM is nothing new; a second
    SIGINT is a person who does not wait, and raises KeyboardInterrupt."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def tell(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise Told(number)

    for number in before:
        signal.signal(number, tell)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
