"""Training a model anew: looked whether there is anything new, trained, compared with the champion, and told.

Nothing is done twice. What a retraining begins is written down in the model's folder first, so that one that was killed is
gone on with, and what was dealt with is not begun again.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from boxcar.config.run_settings import AROUND, Configuration
from boxcar.errors import BoxcarError, ChildEnded, Refused, explain
from boxcar.registry import Model, add_version, read_aliases
from boxcar.registry.promotions import last_promotion, tell_run_again
from boxcar.retraining.beginnings import beginnings, check_floors, check_gate, may_go_on
from boxcar.retraining.changes import Changes, Index, compare, look, read_index, write_index
from boxcar.retraining.claim import Claim
from boxcar.retraining.ledger import Entry, begin, check_budget, note_hours, read_entries, with_hours, write_entry
from boxcar.retraining.telling import beside, concerns_nobody, say, tell, tell_again, telling
from boxcar.run.layout import COMMIT, DECISION, FAILURE, TRAIN
from boxcar.run.webhook import check_address
from boxcar.storage import Store, open_store
from boxcar.sync.failure import clear_failure, record_failure

_IDENTITY = 12  # hexadecimal digits


@dataclass(frozen=True)
class RetrainingLauncher:
    """How the heavy parts of a retraining are done: on this machine, or as Jobs.

    Attributes:
        train: takes a run from images to exported files and a report, or goes on with it.
        decide: compares a version with the champion, makes it that where it is not worse, and leaves `decision.json` in the
            version's run and on its page. Of the champion itself, only that.
        gpus: how many a configuration trains on.
    """

    train: Callable[[Configuration, str], object]
    decide: Callable[[Model, str, Configuration, str], object]
    gpus: Callable[[Configuration], int]


@dataclass(frozen=True)
class Retrained:
    """How a retraining ended.

    Attributes:
        outcome: `unchanged` where there was not enough to train on.
        reason: in a sentence.
        run: URI of the run; None where none was begun.
        version: the number of the version that came of it.
    """

    outcome: Literal["unchanged", "promoted", "kept", "undecided"]
    reason: str
    run: str | None = None
    version: str | None = None


def retrain(model: Model, configuration: Configuration, runs: str, launcher: RetrainingLauncher) -> Retrained:
    """Trains a model anew where its images have changed, and makes the result the champion where it is not worse.

    Args:
        model: which; its first run begins it.
        configuration: with `data` set. Label map and test images are the model's own once it has any, and weights the
            champion's unless `retraining.start` says otherwise.
        runs: URI of the folder that the run's own is made in.
        launcher: of the heavy parts.

    Raises:
        BoxcarError: 64 where the gate could only refuse what comes of it; 69 where another retraining of the model is at
            work, or nobody could be told; 76 where the month's GPU hours are used up; else as `run_all`, `add_version` and
            `gate`.
        ChildEnded: training ended badly and has said why.
    """
    store = model.store
    with beside():
        tell_again(model, configuration)
    with ExitStack() as at_work:
        with telling(model, configuration):
            check_gate(configuration)
            before = read_index(store)
            now = look(str(configuration.data), before)
            changes = compare(before, now)
            if (reason := _too_little(changes, configuration)) is not None:
                if not changes and before != now:
                    write_index(store, now)  # files that were only written again are not read again tomorrow
                return Retrained("unchanged", reason)
            check_address()
            at_work.enter_context(Claim(store))
            identity, entry = _begin(model, configuration, runs, launcher, now, changes)
            if entry.is_over:
                # Killed before the index was written, or the images are again what they once were.
                write_index(store, now)
                reason = f"These images were already trained on: {entry.outcome}."
                return Retrained("unchanged", reason, entry.run, entry.version)
        say(f"{model.name}: {changes}. The run is {entry.run}.")
        ended = _train(model, configuration, identity, entry, launcher)
        write_index(store, now)
        tell(model, configuration, identity, ended)
    assert ended.outcome is not None and ended.outcome != "failed", "it has succeeded"
    return Retrained(ended.outcome, ended.reason, ended.run, ended.version)


def _begin(
    model: Model, configuration: Configuration, runs: str, launcher: RetrainingLauncher, now: Index, changes: Changes
) -> tuple[str, Entry]:
    """The retraining of these images, with its name in the ledger: what was begun before, where that still fits."""
    store, retraining = model.store, configuration.retraining
    entries = read_entries(store)
    identity = _last(entries, _identity(now, configuration))
    if retraining.gpu_hours is not None:
        entries = note_hours(store, entries, launcher.gpus(configuration))
    entry = entries.get(identity)
    if entry is not None and entry.is_over:
        return identity, entry
    check_floors(model, configuration)
    fresh = beginnings(model, configuration)
    if entry is not None and not may_go_on(model, entry, fresh):
        say(f"{model.name}: its champion or its test images have changed since {entry.run} was started, so it is not resumed.")
        identity, entry = _next(identity), None
    if entry is None or not _is_trained(entry):
        check_budget(entries, retraining.gpu_hours)
    if entry is None:
        entry = begin(f"{runs.rstrip('/')}/{model.name}-{identity}", str(changes), *fresh)
        write_entry(store, identity, entry)
    return identity, entry


def _too_little(changes: Changes, configuration: Configuration) -> str | None:
    """Why there is not enough to train on; None where there is."""
    wanted = configuration.retraining.new_pictures
    if not changes:
        return "Nothing has changed."
    if changes.pictures < wanted:
        return f"{changes.pictures} of {wanted} new labeled images so far."
    return None


def _is_trained(entry: Entry) -> bool:
    """Whether it only has to be exported and compared."""
    return open_store(entry.run).entry(f"{TRAIN}/{COMMIT}") is not None


def _identity(now: Index, configuration: Configuration) -> str:
    """Of a retraining: what it is trained on, and with which settings."""
    content = [sorted((name, seen.sha256) for name, seen in now.files.items())]
    settings = configuration.model_dump(mode="json", exclude=set(AROUND), exclude_defaults=True)
    return hashlib.sha256(json.dumps([content, settings], sort_keys=True).encode()).hexdigest()[:_IDENTITY]


def _last(entries: dict[str, Entry], identity: str) -> str:
    """The name of the last of the entries of an identity: itself, or `<identity>-2`, `-3` where it was begun anew."""
    return max((name for name in entries if name.partition("-")[0] == identity), key=_time, default=identity)


def _next(name: str) -> str:
    return f"{name.partition('-')[0]}-{_time(name) + 1}"


def _time(name: str) -> int:
    return int(name.partition("-")[2] or 1)


def _train(model: Model, configuration: Configuration, identity: str, entry: Entry, launcher: RetrainingLauncher) -> Entry:
    """Does what an entry has begun, and writes down how it ended."""
    store, run = model.store, open_store(entry.run)
    update = {"init": entry.start, "label_map": entry.label_map, "frozen_test": entry.frozen_test}
    configuration = configuration.model_copy(update=update)
    gpus = launcher.gpus(configuration)
    number = entry.version
    ended: dict[str, Any]
    try:
        launcher.train(configuration, entry.run)
        number = add_version(model, entry.run)
        state = read_aliases(model)
        promotion = last_promotion(state, number)
        if promotion is None:
            launcher.decide(model, number, configuration, entry.run)
            promotion = last_promotion(read_aliases(model), number)
        elif tell_run_again(model, number) and state.champion == number:
            # Killed in the midst of its promotion. One that was rolled back since stays so, and its page is left as it is.
            launcher.decide(model, number, configuration, entry.run)
        if promotion is not None:
            ended = {"outcome": "promoted", "reason": promotion.reason}
        else:
            decision = json.loads(run.read(DECISION))
            ended = {"outcome": decision["decision"], "reason": decision["reason"]}
    except Exception as error:
        if not concerns_nobody(error):
            _fail(model, configuration, identity, entry.model_copy(update={"version": number}), error, gpus)
        raise
    with beside():
        clear_failure(entry.run)
    ended |= {"version": number, "told": False}  # an earlier failure may have been told
    entry = with_hours(entry, run, gpus).model_copy(update=ended)
    write_entry(store, identity, entry)
    return entry


def _fail(model: Model, configuration: Configuration, identity: str, entry: Entry, error: Exception, gpus: int) -> None:
    """Writes down that a retraining failed, and tells of it. What hinders that is said: the error is what counts."""
    run = open_store(entry.run)
    entry = entry.model_copy(update={"outcome": "failed", "reason": _why(run, error), "told": False})
    if not isinstance(error, ChildEnded | Refused):
        failure = explain(error)
        with beside():
            record_failure(entry.run, failure.step or "retrain", failure)
    with beside():
        entry = with_hours(entry, run, gpus)
    with beside():
        write_entry(model.store, identity, entry)
    with beside():
        tell(model, configuration, identity, entry)


def _why(run: Store, error: Exception) -> str:
    """Why a run failed. If a child process recorded the reason, it is in the run."""
    if not isinstance(error, ChildEnded):
        failure = explain(error)
        return f"{failure.what} {failure.do}"
    try:
        failure = json.loads(run.read(FAILURE))
        return f"{failure['what']} {failure['do']}"
    except (BoxcarError, OSError, ValueError, TypeError, KeyError):
        return f"A child process of the run ended with exit code {error.code} and left no readable reason."
