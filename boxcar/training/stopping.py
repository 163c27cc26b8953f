"""Being told to stop: the loop looks at this between its blocks of steps, saves, and leaves."""

import signal
from types import FrameType


class StopRequest:
    """Remembers the first SIGTERM or SIGINT; a second one of SIGINT ends the process as usual."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        signal.signal(signal.SIGTERM, self._remember)
        signal.signal(signal.SIGINT, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
