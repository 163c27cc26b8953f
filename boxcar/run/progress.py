"""Progress of long work: a bar with rate and time left on a terminal, and elsewhere a line every 15 seconds."""

import os
import sys
import threading
import time
from types import TracebackType

PLAIN_SECONDS = 15.0
_REFRESH_SECONDS = 0.1
_BAR_WIDTH = 28  # characters


class Progress:
    """Shows progress on stderr. Use it as a context manager, and call `advance` after each unit.

    A thread draws the bar, so that its clock moves during long calls. It is not rich's bar, because rich imports modules while
    it draws. When TensorFlow is loaded, tensorflow_datasets replaces `builtins.__import__` for the whole process
    (etils.epy.lazy_imports), and that ended rich's thread. This thread imports nothing.

    Args:
        title: the work ("Reading images").
        total: the number of units.
        unit: the unit's plural ("images", "steps").
    """

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self._first = 0
        self._note = ""
        self._printed: int | None = None  # units done at the last plain line
        self._opened = self._started = self._printed_at = time.monotonic()
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        if self._is_live:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_live:
            self._closed.set()
            self._thread.join()
            self._write(f"\r\x1b[2K{self._bar()}\n")
        elif kind is None and self._printed != self.done:
            self._print_plain()

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Counts finished units. `note` is a short text after the bar ("loss 0.31")."""
        self.done += units
        if note is not None:
            self._note = note
        if not self._is_live and time.monotonic() - self._printed_at >= PLAIN_SECONDS:
            self._print_plain()

    def resume_from(self, done: int) -> None:
        """Sets the units that an earlier process finished. Rate and time left are measured from here."""
        self.done = self._first = done
        self._started = time.monotonic()

    def note(self, text: str) -> None:
        """Shows a short text after the bar without counting a unit."""
        self._note = text

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._write(f"\r\x1b[2K{line}\n{self._bar()}" if self._thread.is_alive() else f"{line}\n")

    def _keep_drawing(self) -> None:
        while not self._closed.wait(_REFRESH_SECONDS):
            self._write(f"\r\x1b[2K{self._bar()}")

    def _write(self, text: str) -> None:
        with self._lock:
            sys.stderr.write(text)
            sys.stderr.flush()

    def _bar(self) -> str:
        """The bar, cut to one line of the terminal, because a longer one could not be overwritten."""
        filled = min(_BAR_WIDTH * self.done // self.total, _BAR_WIDTH) if self.total else _BAR_WIDTH
        rate = self._rate()
        parts = [
            f"{self.title} {'━' * filled}{'╌' * (_BAR_WIDTH - filled)} {self.done:>{len(str(self.total))}}/{self.total}",
            self._rate_text(),
            f"elapsed {_clock(time.monotonic() - self._opened)}",
            f"left {_clock(max(self.total - self.done, 0) / rate) if rate else '-:--:--'}",
            self._note,
        ]
        return " ".join(filter(None, parts))[: _columns() - 1]

    def _rate(self) -> float:
        return (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def _rate_text(self) -> str:
        rate = self._rate()
        if rate == 0:
            return ""
        return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"

    def _print_plain(self) -> None:
        self._printed_at, self._printed = time.monotonic(), self.done
        rate = self._rate()
        left = f"{(self.total - self.done) / rate:.0f} s left" if rate > 0 and self.done < self.total else ""
        words = [f"{self.title}: {self.done} of {self.total} {self.unit}", self._rate_text(), left, self._note]
        self._write(", ".join(filter(None, words)) + "\n")


def _columns() -> int:
    """The width of the terminal. One that was closed meanwhile has none, and shows nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def _clock(seconds: float) -> str:
    """3725 as 1:02:05."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
