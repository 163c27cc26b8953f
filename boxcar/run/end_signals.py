"""The signals that ask a process to end: SIGTERM, and SIGHUP of a lost terminal, which is treated in the same way."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def handle_end(handler: Callable[[int, FrameType | None], Any]) -> None:
    """Calls `handler` at each of them. An ignored SIGHUP stays ignored, because `nohup` starts processes like that."""
    for one in END_SIGNALS:
        if one == signal.SIGTERM or signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, handler)
