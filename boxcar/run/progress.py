"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PLAIN_SECONDS = 15.0


class Progress:
    """Shows how far a piece of work is, on stderr.

    Args:
        title: what is being done ("Reading pictures").
        total: how many units there are.
        unit: the unit's plural ("pictures", "steps").

    Use as a context manager and call `advance` after each unit.
    """

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self._first = 0
        self._note = ""
        self._said: int | None = None  # where the last plain line stood
        self._started = self._spoken = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            # Only here: its import takes a tenth of a second, which a pod and a child process need not spend.
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=28),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TextColumn("elapsed"),
                progress.TimeElapsedColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, rate="", note="")

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None and self._said != self.done:
            self._say()

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Counts finished units; `note` is a short text shown behind the bar ("loss 0.31")."""
        self.done += units
        if note is not None:
            self._note = note
        if self._bar:
            self._bar.update(self._task, total=self.total, completed=self.done, rate=self._rate_text(), note=self._note)
        elif time.monotonic() - self._spoken >= PLAIN_SECONDS:
            self._say()

    def go_on_from(self, done: int) -> None:
        """Units that an earlier start did; rate and time left count from here."""
        self.done = self._first = done
        self._started = time.monotonic()
        if self._bar:
            self._bar.update(self._task, total=self.total, completed=done)

    def note(self, text: str) -> None:
        """A short text behind the bar, when there is something to say but nothing to count."""
        self._note = text
        if self._bar:
            self._bar.update(self._task, note=text)

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def _rate(self) -> float:
        return (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def _rate_text(self) -> str:
        rate = self._rate()
        if rate == 0:
            return ""
        return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"

    def _say(self) -> None:
        self._spoken, self._said = time.monotonic(), self.done
        rate = self._rate()
        left = f"{(self.total - self.done) / rate:.0f} s left" if rate > 0 and self.done < self.total else ""
        words = [f"{self.title}: {self.done} of {self.total} {self.unit}", self._rate_text(), left, self._note]
        print(", ".join(filter(None, words)), file=sys.stderr, flush=True)  # noqa: T201
