"""The signals that ask a process to end: SIGTERM, and SIGHUP of a lost terminal, which is treated in the same way."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def heeded() -> list[signal.Signals]:
    """Those that are not ignored: `nohup` starts processes that ignore SIGHUP, and they continue to."""
    return [one for one in END_SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]


def handle_end(handler: Callable[[int, FrameType | None], Any]) -> None:
    """Calls `handler` at each of them that is not ignored."""
    for one in heeded():
        signal.signal(one, handler)
