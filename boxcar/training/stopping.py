"""Requests to stop. The loop checks for them between steps, saves a checkpoint, and ends."""

import signal
from pathlib import Path
from types import FrameType

from boxcar.errors import BoxcarError, ExitCode, read_error
from boxcar.run.checkpoints import read_stop
from boxcar.run.end_signals import handle_end
from boxcar.run.layout import STOP


class StopRequest:
    """Remembers the first SIGTERM, SIGHUP, or SIGINT; a second SIGINT ends the process as usual. Also checks for `.stop.json`.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.signal: signal.Signals | None = None
        self._run = run
        self.listen()

    def listen(self) -> None:
        """Installs the signal handlers. Call it again after TensorFlow has joined several workers, because it then handles
        SIGTERM itself."""
        handle_end(self._remember)
        if self.signal is None:  # else the second Ctrl-C is to end the process
            signal.signal(signal.SIGINT, self._remember)

    def asked(self) -> bool:
        """Whether to stop."""
        return self.signal is not None or (self._run / STOP).exists()

    def check(self, step: int, steps: int) -> None:
        """Raises `error` if training is to stop."""
        if self.asked():
            raise self.error(step, steps)

    def error(self, step: int, steps: int) -> BoxcarError:
        """The error to end with: 130 after Ctrl-C, the code in `.stop.json` if there is one, else 75."""
        reason = read_stop(self._run) if self.signal is None else None
        if reason is not None:
            saved = f" The checkpoint of step {step} of {steps} is saved." if step else ""
            return read_error({**reason.record(), "what": f"{reason.what}{saved}"})
        return BoxcarError(
            ExitCode.INTERRUPTED if self.signal is signal.SIGINT else ExitCode.AGAIN,
            f"Stopped at step {step} of {steps}; its checkpoint is saved." if step else "Stopped before the first step.",
            "To resume from there, start training again with `boxcar train`, or `boxcar run` with --resume.",
        )

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
