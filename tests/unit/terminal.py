"""A child process whose standard error is a terminal, as a person sees it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from types import TracebackType

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Starts a command with a pseudo-terminal as its standard error; a context manager that ends with the command.

    Attributes:
        process: the command.
        text: what it has written so far, without control sequences; all of it once the context has ended.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.text = ""
        self._reader, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
        self.process = subprocess.Popen(command, stderr=terminal)
        os.close(terminal)
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Terminal":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.process.kill()
        self.process.wait()
        self._thread.join()
        os.close(self._reader)

    @property
    def bars(self) -> list[str]:
        """Every state of the bar that was drawn, in order; what did not change is not repeated."""
        lines = [line.strip() for line in re.split(r"[\r\n]+", self.text) if "elapsed" in line]
        return [line for place, line in enumerate(lines) if place == 0 or line != lines[place - 1]]

    def _read(self) -> None:
        written = b""
        while True:
            try:
                piece = os.read(self._reader, 65536)
            except OSError:  # Linux' word for a terminal that nobody writes to any more
                return
            if not piece:
                return
            written += piece
            self.text = _CONTROL.sub("", written.decode(errors="replace"))
