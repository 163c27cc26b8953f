"""The webhook gets one message for each outcome of a retraining and for each failure, and none for interruptions."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from retrained_model import RetrainedModel

from boxcar.config.run_settings import Configuration
from boxcar.errors import BoxcarError, ChildEnded, ExitCode
from boxcar.kfp.form import RetrainForm
from boxcar.kfp.retraining import retrain as retrain_by_form
from boxcar.registry import read_aliases
from boxcar.retraining.changes import INDEX
from boxcar.retraining.claim import Claim

NOT_FINITE = "The loss is not finite. Lower it."


def not_finite() -> BoxcarError:
    return BoxcarError(ExitCode.DATA, "The loss is not finite.", "Lower it.")


def test_a_message_has_all_fields(cats: RetrainedModel) -> None:
    ended = cats.retrain()
    (message,) = cats.webhook.messages
    assert message == {
        "text": "cats: promoted, version 1. It is promoted.",
        "models": cats.model.models,
        "model": "cats",
        "run": ended.run,
        "changes": "2 new files; 1 new labeled images",
        "outcome": "promoted",
        "reason": "It is promoted.",
        "version": "1",
        "gpu_hours": 2.0,
    }


def test_a_message_to_slack_has_only_the_text(cats: RetrainedModel) -> None:
    cats.retrain(webhook_format="slack")
    assert cats.webhook.messages == [{"text": "cats: promoted, version 1. It is promoted."}]


def test_an_address_that_is_not_valid_is_refused_before_training(cats: RetrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOXCAR_WEBHOOK", "team-chat/secret")
    with pytest.raises(BoxcarError, match="address is not valid"):
        cats.retrain()
    assert cats.trained == []


def test_a_failure_is_sent_and_the_retraining_tried_again(cats: RetrainedModel) -> None:
    cats.failures = [not_finite()]
    with pytest.raises(BoxcarError, match="not finite"):
        cats.retrain()
    (message,) = cats.webhook.messages
    assert message["text"] == f"cats: failed, no version. {NOT_FINITE}"
    (entry,) = cats.entries()
    assert (entry.outcome, entry.gpu_hours, entry.told) == ("failed", 2.0, True)
    assert json.loads((Path(entry.run) / "failure.json").read_text())["code"] == 65
    assert cats.retrain().outcome == "promoted"
    assert cats.outcomes() == ["failed", "promoted"]
    assert not (Path(entry.run) / "failure.json").exists(), "it has succeeded"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(28, "No space left on device", "/x"), "/x: No space left"),
        (ZeroDivisionError("by zero"), "Boxcar itself failed"),
    ],
)
def test_errors_of_any_kind_are_recorded_and_sent(cats: RetrainedModel, error: Exception, what: str) -> None:
    cats.failures = [error]
    with pytest.raises(type(error)):
        cats.retrain()
    (entry,) = cats.entries()
    assert entry.outcome == "failed" and entry.reason.startswith(what) and entry.told
    assert [message["reason"] for message in cats.webhook.messages] == [entry.reason]
    assert json.loads((Path(entry.run) / "failure.json").read_text())["what"].startswith(what)


@pytest.mark.parametrize("how", ["no images", "index", "ledger", "champion"])
def test_a_failure_before_training_is_sent_each_time(cats: RetrainedModel, how: str) -> None:
    cats.retrain()
    cats.label(1)
    if how == "no images":
        shutil.rmtree(cats.data)
    else:
        place = {"index": INDEX, "ledger": "retrainings/other.json", "champion": "1/step.json"}[how]
        (cats.folder / place).write_text("{")
    for _ in range(2):
        with pytest.raises(BoxcarError) as raised:
            cats.retrain()
    sent = [(one["outcome"], one["run"], one["reason"]) for one in cats.webhook.messages[1:]]
    assert sent == 2 * [("failed", None, str(raised.value))]


def test_the_refusal_of_a_form_is_sent(cats: RetrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOXCAR_LAUNCHER", "local")
    folders = {"data": str(cats.data / "gone"), "runs": str(cats.runs), "models": cats.model.models}
    with pytest.raises(BoxcarError, match="data: ") as raised:
        retrain_by_form(RetrainForm(**folders, model="cats"), {})
    assert [message["reason"] for message in cats.webhook.messages] == [str(raised.value)]


def test_nothing_is_sent_for_a_refusal_or_an_interruption(cats: RetrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is an earlier outcome that was not sent: that is for the retraining that is running."""
    cats.webhook.statuses = [500]
    cats.failures = [not_finite()]
    with pytest.raises(BoxcarError, match="not finite"):
        cats.retrain()
    cats.webhook.statuses = [200]
    monkeypatch.setattr("boxcar.retraining.cycle.Claim", partial(Claim, renew_seconds=0.1, expiry_seconds=10.0))
    with Claim(cats.model.store, 0.1, 10.0), pytest.raises(BoxcarError, match="is running"):
        cats.retrain()
    assert cats.webhook.accepted == []
    for stop in (ChildEnded(75), ChildEnded(130), BoxcarError(ExitCode.AGAIN, "Stopped.", "Again.")):
        cats.failures = [stop]
        with pytest.raises(type(stop)):
            cats.retrain()
    assert cats.outcomes() == ["failed"], "the earlier one"


def test_a_failure_that_cannot_be_recorded_is_still_raised_and_sent(
    cats: RetrainedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    cats.failures = [not_finite()]
    train = cats.train

    def train_on_a_full_disk(configuration: Configuration, run: str) -> None:
        (Path(run) / "failure.json").mkdir(parents=True)  # so that it cannot be replaced
        retrainings = cats.folder / "retrainings"
        retrainings.rename(retrainings.with_name("moved"))
        retrainings.write_text("a file")
        train(configuration, run)

    cats.train = train_on_a_full_disk
    with pytest.raises(BoxcarError, match="not finite"):
        cats.retrain()
    assert [message["reason"] for message in cats.webhook.messages] == [NOT_FINITE]
    assert "failure.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "left no readable reason"),
        ("{", "left no readable reason"),
        (json.dumps({"what": "The loss is not finite.", "do": "Lower it."}), "Lower it."),
    ],
)
def test_the_failure_of_a_child_process_is_sent_with_the_childs_message(
    cats: RetrainedModel, content: str | None, message: str
) -> None:
    train = cats.train

    def train_in_a_child(configuration: Configuration, run: str) -> None:
        train(configuration, run)
        if content is not None:
            (Path(run) / "failure.json").write_text(content)
        raise ChildEnded(65)

    cats.train = train_in_a_child
    with pytest.raises(ChildEnded):
        cats.retrain()
    assert message in cats.webhook.messages[0]["reason"]


def test_an_outcome_that_could_not_be_sent_is_sent_by_the_next_call(cats: RetrainedModel) -> None:
    cats.webhook.statuses = [500]
    with pytest.raises(BoxcarError, match="returned status 500") as raised:
        cats.retrain()
    assert raised.value.code == ExitCode.ENVIRONMENT and "secret" not in str(raised.value)
    assert read_aliases(cats.model).champion == "1", "the decision stands"
    assert cats.retrain().outcome == "unchanged", "and is not repeated"
    cats.webhook.statuses = [200]
    cats.retrain()
    cats.retrain()
    assert cats.outcomes() == ["promoted"]


def test_the_outcome_after_a_failure_that_was_sent_is_sent_too(cats: RetrainedModel) -> None:
    cats.failures = [not_finite()]
    with pytest.raises(BoxcarError, match="not finite"):
        cats.retrain()
    cats.webhook.statuses = [500]
    with pytest.raises(BoxcarError, match="returned status 500"):
        cats.retrain()
    assert not cats.entries()[-1].told
    cats.webhook.statuses = [200]
    cats.retrain()
    assert cats.outcomes() == ["failed", "promoted"]
