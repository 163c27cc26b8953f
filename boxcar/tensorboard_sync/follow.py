"""Keeps a local copy of the event files of a folder of runs, as a sidecar of TensorBoard, until SIGTERM.

Requests cost time and money. One request lists the names of up to 1,000 runs without their files; one more lists all files of
one run. Listing all objects of a hundred runs would take tens of requests. So a pass asks

- for the names of the runs, which shows what has come and gone;
- for each active run: something in it, such as the trainer's heartbeat, has changed within the last passes;
- for one idle run, in turns: failed and idle runs cost one request per pass, however many there are.

A closed run is not asked for again.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import OPEN
from boxcar.storage import Changed, Missing, lock, make_folder, open_store, remove_tree, replace_text
from boxcar.storage.local_files import os_errors
from boxcar.storage.names import unfit
from boxcar.tensorboard_sync.event_files import EventFiles

PASSES_OF_LIFE = 20  # a run in which so many passes found nothing new is idle: five minutes, of 15 seconds each
_COPY_OF = ".copy-of"  # in the copy's folder: the URI that it is the copy of


def follow_runs(runs: str, into: Path, seconds: float = 15.0) -> None:
    """Keeps `<into>/<run>/train` and `<into>/<run>/eval` in step with the event files of runs, until SIGTERM.

    Whatever fails for a while, bucket or disk, is said once and tried again.

    Args:
        runs: URI of a folder of runs. One that has a folder `train` or `eval` is a single run, copied to `into`.
        into: a local folder of the copy's own. What is not among the runs' event files is removed from it.
        seconds: from the beginning of one pass to that of the next.

    Raises:
        BoxcarError: 64 where the URI is not well-formed or `into` holds anything else, 69 where a setting of the environment is
            wrong, `into` cannot be written at all or another process keeps it.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, _stop)
        with contextlib.closing(Copy(runs, into)) as copy:
            while True:
                started = time.monotonic()
                copy.update()
                time.sleep(max(0.0, started + seconds - time.monotonic()))
    except _Stopped:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


class Copy:
    """The local copy, brought up to date pass by pass.

    Args:
        runs, into: as for `follow_runs`.

    Raises:
        BoxcarError: as `follow_runs`.
    """

    def __init__(self, runs: str, into: Path) -> None:
        self._store = open_store(runs)
        self._into = into
        self._lock = lock(make_folder(into))
        try:
            _claim(into, self._store.uri)
        except BaseException:
            self.close()
            raise
        self._single: bool | None = None  # whether what is followed is itself a run; None before the first pass
        self._runs: dict[str, EventFiles] = {}  # by name; of those that take turns, the one whose turn is next comes first
        self._unfit: set[str] = set()  # what was said of names that are left out
        self._failing: set[str] = set()  # URIs of what cannot be followed for now, which was said

    def close(self) -> None:
        """Lets another process keep the copy."""
        os.close(self._lock)

    def update(self) -> None:
        """One pass. What goes wrong in it is said on stderr, once for as long as it lasts."""
        try:
            with os_errors(self._into):
                unfit_runs = self._list()
                for run in self._due():
                    self._look(run)
            self._well(self._store.uri)
        except BoxcarError as error:
            self._fails(self._store.uri, error)
            return
        unfit_now = {*unfit_runs, *(sentence for run in self._runs.values() for sentence in run.unfit)}
        for sentence in sorted(unfit_now - self._unfit):
            _say(f"{sentence} It is left out.")
        self._unfit = unfit_now

    def _list(self) -> list[str]:
        """Finds out which runs there are, and removes the copies of others. Returns what is to be said of unfit names."""
        folders = self._store.folders()
        reasons = {name: reason for name in folders if (reason := unfit(name)) is not None}
        names = {name for name in folders if name not in reasons and not name.startswith(".")}
        kept = names
        single = not names.isdisjoint(OPEN)
        if single:
            names, kept = {""}, {*OPEN}
        if single != self._single:
            self._single, self._runs = single, {}
            kind = "is a run" if single else f"holds {len(names)} runs"
            _say(f"{self._store.uri} {kind}. Its event files are copied to {self._into}.")
        for name in self._runs.keys() - names:
            self._failing.discard(self._runs.pop(name).uri)
        for name in sorted(names - self._runs.keys()):
            self._runs[name] = EventFiles(self._store, name, self._into)
        for path in self._into.iterdir():
            if path.name not in kept and path.name != _COPY_OF:
                remove_tree(path)
        return [f"{self._store.uri} holds {name!r}, which {reason}." for name, reason in reasons.items()]

    def _due(self) -> list[EventFiles]:
        """The runs to look at in this pass."""
        still_open = {name: run for name, run in self._runs.items() if not run.closed}
        idle = [name for name, run in still_open.items() if run.quiet >= PASSES_OF_LIFE]
        for name in idle[:1]:
            self._runs[name] = self._runs.pop(name)
        return [run for name, run in still_open.items() if name not in idle[1:]]

    def _look(self, run: EventFiles) -> None:
        try:
            run.look()
        except (Changed, Missing):
            return  # something was replaced or removed meanwhile: the next pass sees what became of it
        except BoxcarError as error:
            # One run's trouble (its objects are archived, its prefix may not be read) keeps no other one waiting.
            self._store.folders()
            self._fails(run.uri, error)
            return
        self._well(run.uri)

    def _fails(self, uri: str, error: BoxcarError) -> None:
        if uri not in self._failing:
            _say(f"{uri} cannot be followed at the moment: {error} Retrying.")
            self._failing.add(uri)

    def _well(self, uri: str) -> None:
        if uri in self._failing:
            _say(f"{uri} can be followed again.")
            self._failing.remove(uri)


def _claim(into: Path, uri: str) -> None:
    """Checks that everything in a folder may be removed: it is empty, or has been this copy's before."""
    note = into / _COPY_OF
    with os_errors(into):
        found = note.read_text(encoding="utf-8") if note.exists() else None
        taken = found is None and any(into.iterdir())
    if taken or found not in (None, uri):
        what = f"{into} holds {f'the copy of {found}' if found else 'files that are not a copy of runs'}."
        raise BoxcarError(ExitCode.USAGE, what, f"Give an empty folder for the copy of {uri}.")
    replace_text(note, uri)


class _Stopped(BaseException):
    """SIGTERM. It may come anywhere: a file that lacks its end is appended to by the next process."""


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough; a second must not disturb the tidying up
    raise _Stopped


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
