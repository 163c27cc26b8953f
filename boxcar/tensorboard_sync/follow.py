"""Keeps a local copy of the event files of a folder of runs, as a sidecar of TensorBoard, until SIGTERM.

Requests cost time and money. One request lists the names of up to 1,000 runs without their files, and one more lists the files
of one run. Listing all objects of a hundred runs would take tens of requests. So each pass lists

- the names of the runs, which shows new and removed runs;
- the files of each active run, in which something, such as the trainer's heartbeat, has changed within the last passes;
- the files of one idle run, in turns: idle and failed runs cost one request per pass, however many there are.

A closed run is not listed again.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from boxcar.errors import BoxcarError
from boxcar.run.end_signals import END_SIGNALS, handle_end
from boxcar.run.layout import OPEN
from boxcar.storage import Changed, Missing, lock, make_folder, open_store, remove_tree
from boxcar.storage.local_files import os_errors
from boxcar.storage.names import unfit
from boxcar.sync.copies import COPY_OF, claim_copy
from boxcar.tensorboard_sync.event_files import EventFiles

IDLE_PASSES = 20  # a run is idle after so many passes without anything new: five minutes, with 15 seconds each


def follow_runs(runs: str, into: Path, seconds: float = 15.0) -> None:
    """Keeps `<into>/<run>/train` and `<into>/<run>/eval` equal to the event files of runs, until SIGTERM.

    A failure of bucket or disk is reported once, and the next pass tries again.

    Args:
        runs: URI of a folder of runs. A folder with a folder `train` or `eval` is a single run, which is copied to `into`.
        into: a local folder for this copy only. Anything but the runs' event files is removed from it.
        seconds: from the start of one pass to the start of the next.

    Raises:
        BoxcarError: 64 if the URI is not well-formed or `into` contains anything else; 69 if a setting in the environment is
            wrong, `into` cannot be written, or another process uses it.
    """
    before = {number: signal.getsignal(number) for number in END_SIGNALS}
    try:
        handle_end(_stop)
        with contextlib.closing(Copy(runs, into)) as copy:
            while True:
                started = time.monotonic()
                copy.update()
                time.sleep(max(0.0, started + seconds - time.monotonic()))
    except _Stopped:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Copy:
    """The local copy, updated in passes.

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
            claim_copy(into, self._store.uri)
        except BaseException:
            self.close()
            raise
        self._single: bool | None = None  # whether `runs` is itself a run; None before the first pass
        self._runs: dict[str, EventFiles] = {}  # by name; of the idle ones, the next to be listed comes first
        self._unfit: set[str] = set()  # the sentences already printed about names that are left out
        self._failing: set[str] = set()  # the URIs of failures already printed

    def close(self) -> None:
        """Releases the folder for other processes."""
        os.close(self._lock)

    def update(self) -> None:
        """Does one pass. Prints each failure to stderr once for as long as it lasts."""
        try:
            with os_errors(self._into):
                unfit_runs = self._list()
                for run in self._due():
                    self._update_run(run)
            self._well(self._store.uri)
        except BoxcarError as error:
            self._fails(self._store.uri, error)
            return
        unfit_now = {*unfit_runs, *(sentence for run in self._runs.values() for sentence in run.unfit)}
        for sentence in sorted(unfit_now - self._unfit):
            _say(f"{sentence} It is left out.")
        self._unfit = unfit_now

    def _list(self) -> list[str]:
        """Lists the runs and removes the copies of others. Returns a sentence for each unfit name."""
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
            if path.name not in kept and path.name != COPY_OF:
                remove_tree(path)
        return [f"{self._store.uri} holds {name!r}, which {reason}." for name, reason in reasons.items()]

    def _due(self) -> list[EventFiles]:
        """The runs to update in this pass."""
        still_open = {name: run for name, run in self._runs.items() if not run.closed}
        idle = [name for name, run in still_open.items() if run.quiet >= IDLE_PASSES]
        for name in idle[:1]:
            self._runs[name] = self._runs.pop(name)
        return [run for name, run in still_open.items() if name not in idle[1:]]

    def _update_run(self, run: EventFiles) -> None:
        try:
            run.update()
        except (Changed, Missing):
            return  # an object was replaced or removed meanwhile; the next pass lists the run again
        except BoxcarError as error:
            # A problem of one run, such as archived objects or a prefix without permission, must not stop the others.
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


class _Stopped(BaseException):
    """SIGTERM. It may come at any point, because the next process appends what a file lacks."""


def _stop(number: int, frame: FrameType | None) -> None:
    for one in END_SIGNALS:
        signal.signal(one, signal.SIG_IGN)  # a second one must not disturb the cleanup
    raise _Stopped


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
