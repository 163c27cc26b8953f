"""Gives a model a new held-out test split, on which its versions are compared from then on."""

from typing import Any, NamedTuple

from boxcar.config.gate_settings import GateSettings
from boxcar.registry.aliases import Aliases, change, read_aliases
from boxcar.registry.decision import decide
from boxcar.registry.held_out import HeldOutTest, keep_test
from boxcar.registry.measure import measure_versions
from boxcar.registry.model import Model
from boxcar.run.step import require_commit
from boxcar.storage import Changed
from boxcar.sync.mirror import Mirror


class Retested(NamedTuple):
    """A new test split, and the champion's number and scores on it; both are None if there is no champion."""

    test: HeldOutTest
    champion: str | None
    scores: dict[str, Any] | None  # as `scoring.score` returns them


def retest(model: Model, records: str, settings: GateSettings) -> Retested:
    """Makes the test split of records the model's held-out one, and scores the champion on it.

    Args:
        model: the model.
        records: URI of finished records.
        settings: the champion's file format and the number of threads; the other settings are not used.

    Raises:
        BoxcarError: 64 if there is no such model; 65 if the champion was trained on images of the new split (the message names
            them) or an id means another class in it, and then the old split stays; 69 if the champion changed meanwhile.
    """
    state = read_aliases(model)
    fetched = require_commit(Mirror(records).fetch(), "records").folder
    with model.owned():
        test = keep_test(model, fetched)
    champion, scores, reason = state.champion, None, f"{len(test.names)} images, {test.objects} objects."
    if champion is not None:
        truths, ((_, measured),) = measure_versions(model, [champion], test, settings, "Scoring the champion")
        scores = decide(truths, test.labels, measured, None, GateSettings()).scores[0]
        ap50 = "no objects" if scores["AP50"] is None else f"{scores['AP50']:.4f}"
        reason = f"{reason[:-1]}; AP50 of version {champion} on them is {ap50}."

    def next_state(now: Aliases) -> Aliases:
        if now.champion != champion:
            raise Changed(f"The champion of {model.name}")
        return now.after("retest", reason, test=test.split)

    if state.test != test.split:
        change(model, next_state)
    return Retested(test, champion, scores)
