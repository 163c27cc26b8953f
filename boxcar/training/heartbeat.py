"""The trainer's heartbeat in `train/status.json`."""

import threading
from pathlib import Path

from boxcar.errors import BoxcarError
from boxcar.run.checkpoints import write_status

HEARTBEAT_SECONDS = 10.0


class Heart:
    """Says every few seconds that the trainer lives, also while TensorFlow is busy with one long call."""

    def __init__(self, train: Path) -> None:
        self.step = 0
        self._train = train
        self._last: int | None = None
        self._refused: BoxcarError | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def done(self, last_checkpoint: int) -> None:
        """Training is over; the evaluator may finish."""
        with self._lock:
            self._last = last_checkpoint
            self._write()

    def stop(self, *, failed: bool) -> None:
        """The last beat."""
        self._stop.set()
        self._thread.join()
        if failed and self._last is None:
            write_status(self._train, "FAILED", self.step)

    def check(self) -> None:
        """Raises what kept a beat from being written: a trainer that nobody hears counts as dead."""
        if self._refused is not None:
            raise self._refused

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                with self._lock:
                    self._write()
            except BoxcarError as error:
                self._refused = error
                return

    def _write(self) -> None:
        write_status(self._train, "RUNNING" if self._last is None else "DONE", self.step, self._last)
