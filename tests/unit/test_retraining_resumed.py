"""A retraining that was killed is resumed, unless its model has changed meanwhile. Nothing is decided twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from retrained_model import RetrainedModel

from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry import Model, held_out_list, promote_regardless, read_aliases, rollback
from boxcar.registry.aliases import change
from boxcar.retraining.changes import INDEX
from boxcar.retraining.cycle import Retrained
from boxcar.run.layout import DECISION


def killed_at_the_gate(cats: RetrainedModel, *, after: bool) -> None:
    """A retraining that is killed before the gate decides or right after it."""
    decide = cats.decide

    def killed(*arguments: Any) -> None:
        if after:
            decide(*arguments)
        raise KeyboardInterrupt

    cats.decide = killed
    with pytest.raises(KeyboardInterrupt):
        cats.retrain()
    cats.decide = decide


def test_a_killed_retraining_is_resumed_with_its_settings(cats: RetrainedModel) -> None:
    cats.retrain()
    cats.label(1)
    cats.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        cats.retrain()
    assert cats.entries()[-1].outcome is None and len(cats.webhook.messages) == 1
    ended = cats.retrain()
    before, after = cats.trained[-2:]
    assert after == before
    assert (ended.outcome, len(cats.entries())) == ("promoted", 2)


@pytest.mark.parametrize("how", [KeyboardInterrupt(), BoxcarError(ExitCode.ENVIRONMENT, "The gate is away.", "Wait.")])
@pytest.mark.parametrize("what", ["champion", "test"])
def test_a_run_that_no_longer_fits_its_model_is_replaced(cats: RetrainedModel, what: str, how: BaseException) -> None:
    cats.retrain()
    cats.label(1)
    cats.failures = [how]
    with pytest.raises(type(how)):
        cats.retrain()
    model = cats.model
    if what == "champion":
        cats.promote_another()
    else:
        change(model, lambda state: state.after("retest", "Better ones.", test="abcdefabcdef"))
    cats.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        cats.retrain()
    ended = cats.retrain()
    state = read_aliases(model)
    former, first, again = cats.trained[-3:]
    assert first == again != former, "the new run is resumed"
    assert again.frozen_test == held_out_list(model, state.test)
    champion = "2" if what == "champion" else "1"
    assert again.label_map == f"{model.uri}/{champion}/records/label_map.pbtxt"
    old, new = cats.entries()[-2:]
    assert new.run == f"{old.run}-2" == ended.run and (new.outcome, len(cats.entries())) == ("promoted", 3)
    assert cats.retrain().reason == "Nothing has changed."
    (cats.folder / INDEX).unlink()
    assert cats.retrain().reason == "These images were already trained on: promoted."


@pytest.mark.parametrize("after", [False, True])
def test_a_first_run_that_was_killed_at_the_gate_is_resumed(cats: RetrainedModel, after: bool) -> None:
    """The model exists by then. Its test split is the run's own, and after the decision its champion is the run's version."""
    killed_at_the_gate(cats, after=after)
    ended = cats.retrain()
    assert (ended.outcome, ended.version, len(cats.entries())) == ("promoted", "1", 1)


def test_a_version_that_was_promoted_before_a_kill_and_rolled_back_is_not_promoted_again(cats: RetrainedModel) -> None:
    cats.retrain()
    cats.label(1)
    killed_at_the_gate(cats, after=True)
    rollback(cats.model)
    before = read_aliases(cats.model)
    ended = cats.retrain()
    assert (ended.outcome, ended.version, ended.reason) == ("promoted", "2", "It is promoted.")
    assert read_aliases(cats.model) == before and before.champion == "1"


def test_the_reason_is_that_of_the_promotion(cats: RetrainedModel) -> None:
    decide = cats.decide

    def decide_before_a_retest(*arguments: Any) -> None:
        decide(*arguments)
        change(cats.model, lambda state: state.after("retest", "Better images.", test="abcdefabcdef"))

    cats.decide = decide_before_a_retest
    assert cats.retrain().reason == "It is promoted."


def test_a_run_gets_its_decision_if_the_gate_was_killed_before_it_wrote_it(cats: RetrainedModel) -> None:
    cats.retrain()
    cats.label(1)
    model, decided = cats.model, list[str]()
    decision = {"decision": "promoted", "reason": "AP50 differs by 0.1."}

    def killed(_: Model, number: str, *rest: Any) -> None:
        decided.append(number)
        name = f"decisions/{number}-1-{read_aliases(model).test}.json"
        model.store.write(name, json.dumps(decision).encode())
        if read_aliases(model).champion != number:
            promote_regardless(model, number, decision["reason"])
            raise KeyboardInterrupt

    cats.decide = killed
    with pytest.raises(KeyboardInterrupt):
        cats.retrain()
    ended = cats.retrain()
    assert ended.reason == decision["reason"] and ended.run is not None
    assert json.loads((Path(ended.run) / DECISION).read_text()) == decision
    assert decided == ["2", "2"], "the second call updates the report"


@pytest.mark.parametrize("where", ["before the index", "before the entry"])
def test_a_decision_before_a_kill_is_not_repeated(cats: RetrainedModel, where: str) -> None:
    first = cats.retrain()
    (cats.folder / INDEX).unlink()
    if where == "before the entry":
        (path,) = (cats.folder / "retrainings").iterdir()
        entry = json.loads(path.read_text()) | {"outcome": None, "version": None, "told": False}
        path.write_text(json.dumps(entry))
    again = cats.retrain()
    assert (again.run, again.version) == (first.run, "1")
    assert len(cats.trained) == (1 if where == "before the index" else 2)
    assert [change.action for change in read_aliases(cats.model).history] == ["begin", "promote"]
    assert cats.retrain() == Retrained("unchanged", "Nothing has changed.")
