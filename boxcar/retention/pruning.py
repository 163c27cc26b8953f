"""Removes old runs that nothing needs."""

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from boxcar.config.run_settings import INIT_WORDS
from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.retention.run_list import FoundRun, find_runs, inspect, is_inside, place_of
from boxcar.run.layout import CONFIGURATION, LOCK, REPORT, RUN_FILE, STEPS
from boxcar.storage import Store, bucket_location, lock, remove_tree
from boxcar.sync.mirror import Mirror
from boxcar.sync.transfer import is_marker

# For this long after its last change, an unfinished run may be active on another machine. A step that reads images or converts
# writes into the bucket only at its end, and the longest step on a cluster may take this long by default.
UNFINISHED_SECONDS = 24 * 3600.0


class PrunePlan(NamedTuple):
    """What to do with a folder of runs.

    Attributes:
        remove: the runs to remove, the latest change first.
        keep: the runs to keep, each with the reason.
        others: the folders that are not runs, each with the reason. They stay.
    """

    remove: list[FoundRun]
    keep: list[tuple[FoundRun, str]]
    others: dict[str, str]


def plan_prune(
    runs: str, store: Store, keep: int, *, referred: Collection[str] = (), unknown: str = "", at_work: Collection[str] = ()
) -> PrunePlan:
    """Decides which runs to remove: all but the `keep` latest ones and those that are needed or may be active.

    Args:
        runs: URI of the folder of runs.
        store: its store.
        keep: how many of the most recently changed runs stay in any case.
        referred: URIs of runs that models refer to, or of files in them.
        unknown: what refers to a run that cannot be identified, for the reason. Then no run is removed. Empty otherwise.
        at_work: URIs of runs that Jobs on a cluster use.

    Raises:
        BoxcarError: as `find_runs`.
    """
    found, others = find_runs(runs, store)
    models = [place_of(uri) for uri in referred]
    jobs = [place_of(uri) for uri in at_work]
    reasons: dict[str, str] = {}
    for number, run in enumerate(found):
        place = place_of(run.uri)
        if any(is_inside(uri, place) for uri in models):
            reasons[run.name] = "a model refers to it"
        elif any(is_inside(uri, place) for uri in jobs):
            reasons[run.name] = "a Job uses it"
        elif (reason := _activity(run)) is not None:
            reasons[run.name] = reason
        elif number < keep:
            reasons[run.name] = f"one of the last {keep}"
        elif unknown:
            reasons[run.name] = f"it may belong to {unknown}"
    # If an unfinished run is resumed, it reads its initial weights again.
    for run in [run for run in found if run.name in reasons and run.state != "finished"]:
        if run.init and run.init not in INIT_WORDS:
            start = place_of(run.init)
            for other in found:
                if is_inside(start, place_of(other.uri)):
                    reasons.setdefault(other.name, f"{run.name} starts from its weights")
    kept = [(run, reasons[run.name]) for run in found if run.name in reasons]
    return PrunePlan([run for run in found if run.name not in reasons], kept, others)


def prune(runs: str, store: Store, plan: PrunePlan) -> Iterator[tuple[FoundRun, BoxcarError | None]]:
    """Removes the runs of a plan, one after the other, and yields each with the reason if it was not removed.

    Raises:
        BoxcarError: 69 if the store fails.
    """
    for run in reversed(plan.remove):  # the oldest first, so that an interruption leaves the ones that are needed most
        try:
            _remove(runs, store, run)
        except Refused as error:
            yield run, error
        else:
            yield run, None


def _remove(runs: str, store: Store, run: FoundRun) -> None:
    """Removes a run: the markers that make its files valid first, and last the files that make the folder a run.

    If this is interrupted, no step accepts the files that are left, and the next `prune` removes them.

    Raises:
        Refused: 69 if the run has changed since it was found, or a process uses it.
    """
    with _locked(run):
        now = inspect(runs, store, run.name)
        if isinstance(now, str) or {(e.name, e.tag) for e in now.entries} != {(e.name, e.tag) for e in run.entries}:
            what = f"{run.uri} has changed since it was listed, and was not removed."
            raise Refused(ExitCode.ENVIRONMENT, what, "Run this again.")
        names = [entry.name for entry in run.entries]
        last = [f"{run.name}/{CONFIGURATION}", f"{run.name}/{LOCK}"]
        first = [name for name in names if is_marker(name) or name == f"{run.name}/{RUN_FILE}"]
        store.delete(first)
        store.delete(sorted(set(names) - {*first, *last}))
        store.delete(last)
        if bucket_location(run.uri) is None:
            remove_tree(Mirror(run.uri).folder)  # empty folders, and temporary files of interrupted writes


def _activity(run: FoundRun) -> str | None:
    """Why a run may be active; None if it is not."""
    if run.state == "training":
        return "it is training"
    try:
        with _locked(run):
            pass
    except Refused:
        return "a process uses it"
    hours = (time.time() - run.changed) / 3600
    if run.state != "finished" and hours * 3600 < UNFINISHED_SECONDS:
        return f"it is not finished, changed {max(0.0, hours):.1f} hours ago, and may still be active"
    return None


@contextlib.contextmanager
def _locked(run: FoundRun) -> Iterator[None]:
    """Locks the run's folder on this machine, which for a run in a bucket is in the cache.

    Raises:
        Refused: 69 if another process has locked it.
    """
    folder = Mirror(run.uri).folder
    with contextlib.ExitStack() as held:
        for path in [folder / LOCK, *(folder / step for step in (*STEPS.values(), REPORT))]:
            if path.exists():
                held.callback(os.close, lock(path, patience_seconds=0.0))
        yield
