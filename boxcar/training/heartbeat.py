"""The trainer's heartbeat in `train/status.json`."""

import threading
from pathlib import Path
from types import TracebackType

from boxcar.errors import BoxcarError
from boxcar.run.checkpoints import write_status

HEARTBEAT_SECONDS = 10.0


class Heartbeat:
    """Writes RUNNING every few seconds, even during one long TensorFlow call, and DONE or FAILED at the end.

    A context manager. An error that leaves it marks the training as FAILED, unless `done` was called before.
    """

    def __init__(self, train: Path) -> None:
        self.step = 0
        self._train = train
        self._last: int | None = None
        self._write_error: BoxcarError | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_writing, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None and self._last is None:
            write_status(self._train, "FAILED", self.step)

    def done(self, last_checkpoint: int) -> None:
        """Training is over; the evaluator may finish."""
        with self._lock:
            self._last = last_checkpoint
            self._write()

    def check(self) -> None:
        """Raises the error that prevented a heartbeat, because other processes consider a trainer without one dead."""
        if self._write_error is not None:
            raise self._write_error

    def _keep_writing(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                with self._lock:
                    self._write()
            except BoxcarError as error:
                self._write_error = error
                return

    def _write(self) -> None:
        write_status(self._train, "RUNNING" if self._last is None else "DONE", self.step, self._last)
