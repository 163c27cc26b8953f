"""The retraining cycle: look for new images, train, compare with the champion, notify.

A retraining is entered in the ledger before it starts. A killed one is therefore resumed, and the same images are not trained
on twice.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from boxcar.config.run_settings import NOT_STORED, Configuration
from boxcar.errors import BoxcarError, ChildEnded, Refused, explain
from boxcar.registry import Model, add_version, read_aliases
from boxcar.registry.decision_files import last_promotion, restore_decision
from boxcar.registry.ledger import Entry, check_budget, measure_hours, new_entry, read_entries, with_hours, write_entry
from boxcar.retraining.changes import Changes, Index, compare, index_files, read_index, write_index
from boxcar.retraining.claim import Claim
from boxcar.retraining.notifications import (
    is_interruption,
    notify,
    notify_pending,
    notifying_of_failure,
    printing_errors,
    say,
)
from boxcar.retraining.starting_point import (
    can_resume,
    check_floors,
    check_gate,
    say_what_cannot_be_decided,
    starting_point,
)
from boxcar.run.layout import COMMIT, DECISION, FAILURE, TRAIN
from boxcar.run.webhook import check_address
from boxcar.storage import open_store
from boxcar.sync.failure import clear_failure, record_failure

_IDENTITY = 12  # hexadecimal digits


@dataclass(frozen=True)
class RetrainingLauncher:
    """Where a retraining trains and compares: on this machine, or in Jobs.

    Attributes:
        train: turns images into exported files and a report, and resumes a run that was started.
        decide: compares a version with the champion, promotes it if it is not worse, and adds the decision to the version's
            run and report. For a version that was promoted already, it only adds the decision.
        gpus: the number of GPUs that a configuration trains on.
    """

    train: Callable[[Configuration, str], object]
    decide: Callable[[Model, str, Configuration, str], object]
    gpus: Callable[[Configuration], int]


@dataclass(frozen=True)
class Retrained:
    """How a retraining ended.

    Attributes:
        outcome: `unchanged` if there was not enough to train on.
        reason: in a sentence.
        run: URI of the run; None if none was started.
        version: the number of the version that was made from the run.
    """

    outcome: Literal["unchanged", "promoted", "kept", "undecided"]
    reason: str
    run: str | None = None
    version: str | None = None


def retrain(model: Model, configuration: Configuration, runs: str, launcher: RetrainingLauncher) -> Retrained:
    """Trains a model again if its images have changed, and makes the result the champion if it is not worse.

    Args:
        model: the model; its first run creates it.
        configuration: with `data` set. If the model exists, its label map and test split replace the configured ones, and the
            champion's weights the initial ones unless `retraining.start` is `init`.
        runs: URI of the folder for runs; the new run's folder is created in it.
        launcher: where to train and compare.

    Raises:
        BoxcarError: 64 if the gate would refuse any result; 69 if another retraining of the model is running or the
            notification cannot be sent; 76 if the month's GPU hours are used up; else as `run_all`, `add_version`, and `gate`.
        ChildEnded: if training failed in a child process, which has said why.
    """
    store = model.store
    with ExitStack() as claimed:
        with notifying_of_failure(model, configuration):
            claimed.enter_context(Claim(store))
            with printing_errors():
                notify_pending(model, configuration)
            check_gate(configuration)
            before = read_index(store)
            now = index_files(str(configuration.data), before, configuration.format)
            changes = compare(before, now)
            if (reason := _too_little(changes, configuration)) is not None:
                if not changes and before != now:
                    write_index(store, now)  # files that were rewritten with the same content are not read again
                return Retrained("unchanged", reason)
            check_address()
            entry = _start(model, configuration, runs, launcher, now, changes)
            if entry.is_over:
                # It was killed before the index was written, or the images are again as they were earlier.
                write_index(store, now)
                reason = f"These images were already trained on: {entry.outcome}."
                return Retrained("unchanged", reason, entry.run, entry.version)
            say_what_cannot_be_decided(model, configuration)
        say(f"{model.name}: {changes}. The run is {entry.run}.")
        entry = _train(model, configuration, entry, launcher)
        write_index(store, now)
        notify(model, configuration, entry)
    assert entry.outcome is not None and entry.outcome != "failed", "it has succeeded"
    return Retrained(entry.outcome, entry.reason, entry.run, entry.version)


def _start(
    model: Model, configuration: Configuration, runs: str, launcher: RetrainingLauncher, now: Index, changes: Changes
) -> Entry:
    """The retraining of these images: the one that was started before if it still fits the model, else a new one."""
    store, budget = model.store, configuration.retraining.gpu_hours
    entries = read_entries(store)
    if budget is not None:
        entries = measure_hours(store, entries, launcher.gpus(configuration))
    identity = _identity(now, configuration)
    entry = max((e for e in entries if e.identity.partition("-")[0] == identity), key=_attempt, default=None)
    if entry is not None and entry.is_over:
        return entry
    check_floors(model, configuration)
    fresh = starting_point(model, configuration)
    if entry is not None and not can_resume(model, entry, fresh):
        say(f"{model.name}: its champion or its test images have changed since {entry.run} was started, so it is not resumed.")
        identity, entry = f"{identity}-{_attempt(entry) + 1}", None
    if entry is None or open_store(entry.run).entry(f"{TRAIN}/{COMMIT}") is None:
        check_budget(entries, budget)
    if entry is None:
        entry = new_entry(identity, f"{runs.rstrip('/')}/{model.name}-{identity}", str(changes), *fresh)
        write_entry(store, entry)
    return entry


def _too_little(changes: Changes, configuration: Configuration) -> str | None:
    """Why there is not enough to train on; None if there is."""
    wanted = configuration.retraining.new_pictures
    if not changes:
        return "Nothing has changed."
    if changes.pictures < wanted:
        return f"{changes.pictures} of {wanted} new labeled images so far."
    return None


def _identity(now: Index, configuration: Configuration) -> str:
    """A hash over what a retraining is trained on and its settings."""
    content = [sorted((name, seen.sha256) for name, seen in now.files.items())]
    settings = configuration.model_dump(mode="json", exclude=set(NOT_STORED), exclude_defaults=True)
    return hashlib.sha256(json.dumps([content, settings], sort_keys=True).encode()).hexdigest()[:_IDENTITY]


def _attempt(entry: Entry) -> int:
    """Which retraining with the same hash it is. The first is `<hash>`, the others are `<hash>-2`, `<hash>-3`."""
    return int(entry.identity.partition("-")[2] or 1)


def _train(model: Model, configuration: Configuration, entry: Entry, launcher: RetrainingLauncher) -> Entry:
    """Trains and compares, or resumes that, and writes the result into the ledger."""
    unlabeled = configuration.unlabeled or "skip"  # images arrive before their labels
    update = {"unlabeled": unlabeled, "init": entry.start, "label_map": entry.label_map, "frozen_test": entry.frozen_test}
    settings = configuration.model_copy(update=update)
    gpus = launcher.gpus(settings)
    number = entry.version
    ended: dict[str, Any]
    try:
        launcher.train(settings, entry.run)
        number = add_version(model, entry.run)
        state = read_aliases(model)
        promotion = last_promotion(state, number)
        if promotion is None:
            launcher.decide(model, number, settings, entry.run)
            promotion = last_promotion(read_aliases(model), number)
        elif restore_decision(model, number) and state.champion == number:
            # It was killed during its promotion, so its report is incomplete. After a rollback the report stays as it is.
            launcher.decide(model, number, settings, entry.run)
        if promotion is not None:
            ended = {"outcome": "promoted", "reason": promotion.reason}
        else:
            decision = json.loads(open_store(entry.run).read(DECISION))
            ended = {"outcome": decision["decision"], "reason": decision["reason"]}
    except Exception as error:
        if not is_interruption(error):
            _fail(model, configuration, entry.model_copy(update={"version": number}), error, gpus)
        raise
    with printing_errors():
        clear_failure(entry.run)
    ended |= {"version": number, "told": False}  # an earlier failure may have been sent
    entry = with_hours(entry, gpus).model_copy(update=ended)
    write_entry(model.store, entry)
    return entry


def _fail(model: Model, configuration: Configuration, entry: Entry, error: Exception, gpus: int) -> None:
    """Writes a failure into the run and the ledger, and sends a notification. Errors here are printed only."""
    entry = entry.model_copy(update={"outcome": "failed", "reason": _reason(entry.run, error), "told": False})
    if not isinstance(error, ChildEnded | Refused):
        failure = explain(error)
        with printing_errors():
            record_failure(entry.run, failure.step or "retrain", failure)
    with printing_errors():
        entry = with_hours(entry, gpus)
    with printing_errors():
        write_entry(model.store, entry)
    with printing_errors():
        notify(model, configuration, entry)


def _reason(run: str, error: Exception) -> str:
    """Why a run failed. If it failed in a child process, the run's failure.json says why."""
    if not isinstance(error, ChildEnded):
        failure = explain(error)
        return f"{failure.what} {failure.do}"
    try:
        failure = json.loads(open_store(run).read(FAILURE))
        return f"{failure['what']} {failure['do']}"
    except (BoxcarError, OSError, ValueError, TypeError, KeyError):
        return f"A child process of the run ended with exit code {error.code} and left no readable reason."
