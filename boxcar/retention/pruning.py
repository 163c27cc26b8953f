"""Removes old runs that nothing needs any more."""

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.retention.run_list import FoundRun, find_runs, lies_in, look, place_of
from boxcar.run.layout import CONFIGURATION, LOCK, REPORT, RUN_FILE, STEPS
from boxcar.storage import Store, bucket_location, lock, remove_tree
from boxcar.sync.mirror import Mirror
from boxcar.sync.transfer import is_marker

# For so long after its last change a run that is not finished may be at work: somewhere else it reads images, or converts,
# and its bucket hears of that at the end. As long as a step on a cluster may take, if nothing else is said.
UNFINISHED_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class PrunePlan:
    """What is to become of a folder of runs.

    Attributes:
        remove: the runs that go, the one that changed last first.
        keep: those that stay, each with the reason.
        others: by name, why each other folder is no run; they stay, too.
    """

    remove: list[FoundRun]
    keep: list[tuple[FoundRun, str]]
    others: dict[str, str]


def plan_prune(
    runs: str, store: Store, keep: int, *, referred: Collection[str] = (), unknown: str = "", at_work: Collection[str] = ()
) -> PrunePlan:
    """Says which runs may go: all but the `keep` that changed last, and but those that somebody needs or that may be at work.

    Args:
        runs: URI of the folder of runs.
        store: which reads it.
        keep: how many stay in any case.
        referred: URIs, in runs or of runs, that models refer to.
        unknown: a description of what refers to a run that cannot be identified; then no run is removed. Empty otherwise.
        at_work: URIs of runs that Jobs on a cluster work on.

    Raises:
        BoxcarError: as `find_runs`.
    """
    found, others = find_runs(runs, store)
    models = [place_of(uri) for uri in referred]
    jobs = [place_of(uri) for uri in at_work]
    reasons: dict[str, str] = {}
    for number, run in enumerate(found):
        place = place_of(run.uri)
        if any(lies_in(uri, [place]) for uri in models):
            reasons[run.name] = "a model refers to it"
        elif any(lies_in(uri, [place]) for uri in jobs):
            reasons[run.name] = "a Job uses it"
        elif (word := _at_work(run)) is not None:
            reasons[run.name] = word
        elif number < keep:
            reasons[run.name] = f"one of the last {keep}"
        elif unknown:
            reasons[run.name] = f"it may belong to {unknown}"
    # An unfinished run may be resumed, and then reads its first weights again.
    for run in [run for run in found if run.name in reasons and run.state != "finished"]:
        if not run.init or run.init in ("none", "zoo"):
            continue
        start = place_of(run.init)
        for other in found:
            if lies_in(start, [place_of(other.uri)]):
                reasons.setdefault(other.name, f"{run.name} starts from its weights")
    kept = [(run, reasons[run.name]) for run in found if run.name in reasons]
    return PrunePlan([run for run in found if run.name not in reasons], kept, others)


def remove_run(runs: str, store: Store, run: FoundRun) -> None:
    """Removes a run: first the markers that make its files valid, last what makes it a run of ours.

    A kill in between leaves nothing that a step would use, and a run that the next `prune` removes.

    Raises:
        BoxcarError: 69 where it has changed since it was found, somebody works there, or the store fails.
    """
    with _locked(run):
        now = look(runs, store, run.name)
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
            remove_tree(Mirror(run.uri).folder)  # folders that are empty now, and what an interrupted write left


def _at_work(run: FoundRun) -> str | None:
    """Why a run may be at work; None where it is not."""
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
    """The run taken for this process: its folder here, which for one in a bucket is that in the cache.

    Raises:
        Refused: 69 where another process has it.
    """
    folder = Mirror(run.uri).folder
    descriptors: list[int] = []
    try:
        for path in [folder / LOCK, *(folder / step for step in (*STEPS.values(), REPORT))]:
            if path.exists():
                descriptors.append(lock(path, patience_seconds=0.0))
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def prune(runs: str, store: Store, plan: PrunePlan) -> Iterator[tuple[FoundRun, BoxcarError | None]]:
    """Removes what a plan says, run by run; with each that was left alone after all, why."""
    for run in reversed(plan.remove):  # the oldest first: an interruption has removed what was needed least
        try:
            remove_run(runs, store, run)
        except Refused as error:
            yield run, error
        else:
            yield run, None
