"""One retraining of a model at a time, whoever starts it and wherever.

Whoever is at work renews a note in the model's folder. Who finds one watches it, by its own clock alone, and takes it over
where it stays what it was: whoever wrote it is gone.
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
GONE_SECONDS = 60.0  # without a renewal, after which whoever was at work counts as gone


class _Note(BaseModel):
    """What the object says; `beat` is another one each time, so that no two notes are the same."""

    holder: str | None  # None: nobody is at work
    beat: str


class AtWorkError(BoxcarError):
    """Another retraining of the model is at work."""


class Claim:
    """The note of this process. Taken by `with`; where somebody else takes it meanwhile, the process gets SIGTERM.

    Args:
        model: the model's folder.
        renew_seconds: between renewals.
        gone_seconds: for which the note of another process has to stay the same.
    """

    def __init__(self, model: Store, renew_seconds: float = RENEW_SECONDS, gone_seconds: float = GONE_SECONDS) -> None:
        self._model, self._renew_seconds, self._gone_seconds = model, renew_seconds, gone_seconds
        self._holder = f"{socket.gethostname()}, process {os.getpid()}"
        self._tag = ABSENT
        self._sent: set[str] = set()  # beats of which no answer has come
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="claim", daemon=True)

    def __enter__(self) -> None:
        """Takes the model.

        Raises:
            AtWorkError: where another process is at work.
            BoxcarError: 69 where the store keeps no conditions.
        """
        self._model.require_conditions()
        until = time.monotonic() + self._gone_seconds
        found = self._look()
        while found is not None and found[0].holder is not None:
            if time.monotonic() > until:
                break  # it has stayed what it was
            time.sleep(min(1.0, self._gone_seconds / 10))
            now = self._look()
            if now is not None and now[0].holder is not None and now[0].beat != found[0].beat:
                raise self._taken(now[0])
            found = now
        self._tag = ABSENT if found is None else found[1]
        try:
            self._write(self._holder)
        except Changed:
            other = self._look()
            raise self._taken(None if other is None else other[0]) from None
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._write(None)
        except Changed:
            return  # it is somebody else's, and stays
        except (BoxcarError, OSError) as failure:
            # What was done under it counts, or why it failed. The note stays, and its writer counts as gone after a while.
            print(failure, file=sys.stderr, flush=True)  # noqa: T201

    def _renew(self) -> None:
        while not self._over.wait(self._renew_seconds):
            try:
                self._write(self._holder)
            except Changed:
                os.kill(os.getpid(), signal.SIGTERM)  # which saves what there is, and ends
                return
            except (BoxcarError, OSError):
                # Nothing can be written just now, by whoever else is at work either. Once it can, `Changed` tells.
                continue

    def _look(self) -> tuple[_Note, str] | None:
        try:
            content, tag = self._model.read_tagged(CLAIM)
        except Missing:
            return None
        try:
            return _Note.model_validate_json(content), tag
        except ValueError as error:
            what = f"{self._model.uri}/{CLAIM} cannot be understood."
            raise BoxcarError(ExitCode.DATA, what, "Remove it if no retraining of this model is running.") from error

    def _write(self, holder: str | None) -> None:
        note = _Note(holder=holder, beat=secrets.token_hex(8))
        content = note.model_dump_json().encode()
        self._sent.add(note.beat)
        try:
            self._tag = self._model.write(CLAIM, content, self._tag)
        except Changed:
            found = self._look()
            if found is None or found[0].beat not in self._sent:
                raise
            # Our own: a write before this one arrived, and its answer was lost.
            self._tag = self._model.write(CLAIM, content, found[1])
        self._sent.clear()

    def _taken(self, note: _Note | None) -> AtWorkError:
        who = f" ({note.holder})" if note is not None and note.holder is not None else ""
        return AtWorkError(
            ExitCode.ENVIRONMENT,
            f"Another retraining of {self._model.uri} is running{who}.",
            "Wait until it has ended. The claim of a killed retraining expires after a minute.",
        )
