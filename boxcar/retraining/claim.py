"""One retraining of a model at a time, on all machines.

The process that retrains a model claims it with a small object in the model's folder, and renews the claim. Another process
watches an existing claim by its own clock, and takes it over if it is not renewed: its holder was killed.
"""

import os
import secrets
import signal
import socket
import sys
import threading
import time

from pydantic import BaseModel

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import ABSENT, Changed, Missing, Store

CLAIM = "at-work.json"  # in the model's folder
RENEW_SECONDS = 15.0
EXPIRY_SECONDS = 60.0


class _Note(BaseModel):
    """The content of the object."""

    holder: str | None  # None: the model is free
    beat: str  # the holder's random digits and a counter: different in every renewal


class ModelBusyError(BoxcarError):
    """Another retraining of the model is running."""


class Claim:
    """Claims a model in a `with` block. If another process takes the claim over, this process gets SIGTERM.

    Args:
        model: the model's folder.
        renew_seconds: between renewals.
        expiry_seconds: after which another process's claim that is not renewed has expired.
    """

    def __init__(self, model: Store, renew_seconds: float = RENEW_SECONDS, expiry_seconds: float = EXPIRY_SECONDS) -> None:
        self._model, self._renew_seconds, self._expiry_seconds = model, renew_seconds, expiry_seconds
        self._holder = f"{socket.gethostname()}, process {os.getpid()}"
        self._own, self._count = secrets.token_hex(8), 0
        self._tag = ABSENT
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="claim", daemon=True)

    def __enter__(self) -> None:
        """Claims the model.

        Raises:
            ModelBusyError: 69 if another process has claimed it.
            BoxcarError: 65 if the claim cannot be read; 69 if the store does not obey conditional writes.
        """
        self._model.require_conditions()
        expiry = time.monotonic() + self._expiry_seconds
        first, self._tag = self._read()
        while first.holder is not None and time.monotonic() <= expiry:
            time.sleep(min(1.0, self._expiry_seconds / 10))
            now, self._tag = self._read()
            if now.holder is None:
                break
            if now.beat != first.beat:
                raise self._busy(now)
        try:
            self._write(self._holder)
        except Changed:
            raise self._busy(self._read()[0]) from None
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._write(None)
        except Changed:
            return  # another process holds it
        except (BoxcarError, OSError) as failure:
            # The result of the block is more important. The claim expires by itself.
            print(failure, file=sys.stderr, flush=True)  # noqa: T201

    def _renew(self) -> None:
        while not self._over.wait(self._renew_seconds):
            try:
                self._write(self._holder)
            except Changed:
                os.kill(os.getpid(), signal.SIGTERM)  # saves a checkpoint, and ends
                return
            except (BoxcarError, OSError):
                continue  # the store fails for other processes, too; a later renewal finds out whether one has taken over

    def _read(self) -> tuple[_Note, str]:
        """The note in the store and its tag."""
        try:
            content, tag = self._model.read_tagged(CLAIM)
        except Missing:
            return _Note(holder=None, beat=""), ABSENT
        try:
            return _Note.model_validate_json(content), tag
        except ValueError as error:
            what = f"{self._model.uri}/{CLAIM} is not valid."
            raise BoxcarError(ExitCode.DATA, what, "Remove it if no retraining of this model is running.") from error

    def _write(self, holder: str | None) -> None:
        self._count += 1
        content = _Note(holder=holder, beat=f"{self._own}-{self._count}").model_dump_json().encode()
        try:
            self._tag = self._model.write(CLAIM, content, self._tag)
        except Changed:
            found, tag = self._read()
            if not found.beat.startswith(self._own):
                raise
            # An earlier write of this process has arrived, although its response was lost.
            self._tag = self._model.write(CLAIM, content, tag)

    def _busy(self, note: _Note) -> ModelBusyError:
        holder = "" if note.holder is None else f" ({note.holder})"
        return ModelBusyError(
            ExitCode.ENVIRONMENT,
            f"Another retraining of {self._model.uri} is running{holder}.",
            "Wait until it has ended. The claim of a killed retraining expires after a minute.",
        )
