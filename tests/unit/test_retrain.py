"""When a model is trained anew, what of, what is written down of it, and who hears of it."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from registered import write_run

from boxcar import retry
from boxcar.config.run_settings import Configuration, make_configuration
from boxcar.errors import BoxcarError, ChildEnded, ExitCode
from boxcar.kfp.form import RetrainForm
from boxcar.kfp.retraining import retrain as retrain_by_form
from boxcar.registry import Model, held_out_list, promote_regardless, read_aliases, read_version, rollback
from boxcar.registry.aliases import change
from boxcar.retraining.changes import INDEX
from boxcar.retraining.claim import Claim
from boxcar.retraining.cycle import Retrained, RetrainingLauncher, retrain
from boxcar.retraining.ledger import Entry, begin, read_entries, with_hours, write_entry
from boxcar.run.layout import DECISION
from boxcar.storage import open_store, replace_json


class Hook:
    """A server that takes messages, or answers with `status`; `meanwhile` is done once, before a message is answered."""

    def __init__(self) -> None:
        self.status = 200
        self.meanwhile: Callable[[], None] | None = None
        self.messages: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                meanwhile, hook.meanwhile = hook.meanwhile, None
                if meanwhile is not None:
                    meanwhile()
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.status == 200:
                    hook.messages.append(json.loads(content))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.5)
    made = Hook()
    monkeypatch.setenv("BOXCAR_WEBHOOK", f"http://127.0.0.1:{made.server.server_port}/secret")
    yield made
    made.server.shutdown()
    made.server.server_close()


class Workshop:
    """A model, a folder of pictures, and a launcher that writes runs by hand in place of training them.

    `verdicts` are the decisions to come, `failures` what training ends with before it succeeds; `trained` are the
    configurations it was started with.
    """

    def __init__(self, folder: Path, hook: Hook) -> None:
        self.model = Model(str(folder / "models"), "cats")
        self.data, self.runs, self.hook = folder / "data", folder / "runs", hook
        self.verdicts: list[str] = []
        self.failures: list[BaseException] = []
        self.trained: list[Configuration] = []
        self.seconds = 3600.0
        self.label(0)

    def label(self, *numbers: int) -> None:
        self.data.mkdir(exist_ok=True)
        for number in numbers:
            (self.data / f"{number}.jpg").write_bytes(b"picture %d" % number)
            (self.data / f"{number}.xml").write_bytes(b"boxes %d" % number)

    def retrain(self, settings: dict[str, Any] | None = None, **retraining: Any) -> Retrained:
        given = {"data": str(self.data), "retraining": retraining, **(settings or {})}
        configuration = make_configuration(None, given)
        return retrain(self.model, configuration, str(self.runs), RetrainingLauncher(self._train, self._decide, lambda _: 2))

    def entries(self) -> list[Entry]:
        return list(read_entries(self.model.store).values())

    def _train(self, configuration: Configuration, run: str) -> None:
        self.trained.append(configuration)
        folder = Path(run)
        (folder / "train").mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
        (folder / "train" / "history.jsonl").write_text(json.dumps({"step": 1, "seconds": self.seconds}) + "\n")
        if self.failures:
            raise self.failures.pop(0)
        if not (folder / "export").exists():
            write_run(folder, seed=len(self.trained))

    def _decide(self, model: Model, number: str, configuration: Configuration, run: str) -> None:
        verdict = self.verdicts.pop(0) if self.verdicts else "promoted"
        replace_json(Path(run) / DECISION, {"decision": verdict, "reason": f"It is {verdict}."})
        if verdict == "promoted":
            promote_regardless(model, number, f"It is {verdict}.")


@pytest.fixture
def workshop(tmp_path: Path, hook: Hook) -> Workshop:
    return Workshop(tmp_path, hook)


def test_the_first_run_begins_a_model_and_the_same_pictures_are_not_trained_on_again(workshop: Workshop) -> None:
    first = workshop.retrain()
    assert (first.outcome, first.version) == ("promoted", "1")
    assert first.run is not None and Path(first.run).parent == workshop.runs and Path(first.run).name.startswith("cats-")
    assert read_aliases(workshop.model).champion == "1" and read_version(workshop.model, "1").run == first.run
    (configuration,) = workshop.trained
    assert (configuration.init, configuration.label_map, configuration.frozen_test) == (None, None, None)
    (entry,) = workshop.entries()
    assert (entry.outcome, entry.version, entry.gpu_hours, entry.told) == ("promoted", "1", 2.0, True)

    second = workshop.retrain()
    assert second == Retrained("unchanged", "Nothing has changed.")
    assert len(workshop.trained) == 1 and len(workshop.hook.messages) == 1


def test_what_follows_has_the_champions_weights_label_map_and_test_pictures(workshop: Workshop) -> None:
    workshop.retrain()
    workshop.label(1)
    workshop.verdicts = ["kept"]
    ended = workshop.retrain()
    assert (ended.outcome, ended.version, ended.reason) == ("kept", "2", "It is kept.")
    model = workshop.model
    assert read_aliases(model).champion == "1"
    configuration = workshop.trained[-1]
    assert configuration.init == f"{model.uri}/1/export/saved_model/checkpoint"
    assert configuration.label_map == f"{model.uri}/1/records/label_map.pbtxt"
    assert configuration.frozen_test == held_out_list(model, read_aliases(model).test)

    workshop.label(2)
    workshop.retrain(start="init")
    assert workshop.trained[-1].init is None and workshop.trained[-1].label_map == configuration.label_map


def test_it_waits_for_enough_new_pictures(workshop: Workshop) -> None:
    workshop.retrain()
    workshop.label(1, 2)
    assert workshop.retrain(new_pictures=3) == Retrained("unchanged", "2 of 3 new labeled images so far.")
    workshop.label(3)
    assert workshop.retrain(new_pictures=3).outcome == "promoted", "those of before are counted as well"


def test_what_was_killed_is_gone_on_with_as_it_was_begun(workshop: Workshop) -> None:
    workshop.retrain()
    workshop.label(1)
    workshop.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain()
    assert workshop.entries()[-1].outcome is None and len(workshop.hook.messages) == 1
    ended = workshop.retrain()
    before, after = workshop.trained[-2:]
    assert after == before
    assert (ended.outcome, len(workshop.entries())) == ("promoted", 2)


@pytest.mark.parametrize("how", [KeyboardInterrupt(), BoxcarError(ExitCode.ENVIRONMENT, "The gate is away.", "Wait.")])
@pytest.mark.parametrize("what", ["champion", "test"])
def test_what_no_longer_fits_its_model_is_begun_anew(workshop: Workshop, what: str, how: BaseException) -> None:
    workshop.retrain()
    workshop.label(1)
    workshop.failures = [how]
    with pytest.raises(type(how)):
        workshop.retrain()
    model = workshop.model
    if what == "champion":
        promote_regardless(model, _add_another(workshop), "Somebody was quicker.")
    else:
        change(model, lambda state: state.after("retest", "Better ones.", test="abcdefabcdef"))
    workshop.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain()
    ended = workshop.retrain()
    state = read_aliases(model)
    former, first, again = workshop.trained[-3:]
    assert first == again != former, "what was begun anew is gone on with"
    assert again.frozen_test == held_out_list(model, state.test)
    champion = "2" if what == "champion" else "1"
    assert again.label_map == f"{model.uri}/{champion}/records/label_map.pbtxt"
    old, new = workshop.entries()[-2:]
    assert new.run == f"{old.run}-2" == ended.run and (new.outcome, len(workshop.entries())) == ("promoted", 3)
    assert workshop.retrain().reason == "Nothing has changed."
    (Path(model.uri) / INDEX).unlink()
    assert workshop.retrain().reason == "These images were already trained on: promoted."


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_first_run_that_was_killed_around_its_decision_is_gone_on_with(workshop: Workshop, where: str) -> None:
    """By then the model is there: with the run's own test pictures, and with its version for a champion."""
    decide = workshop._decide

    def killed(*arguments: Any) -> None:
        if where == "after":
            decide(*arguments)
        raise KeyboardInterrupt

    workshop._decide = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain()
    workshop._decide = decide  # type: ignore[method-assign]
    ended = workshop.retrain()
    assert (ended.outcome, ended.version, len(workshop.entries())) == ("promoted", "1", 1)


def test_one_that_was_killed_after_its_promotion_and_rolled_back_is_not_promoted_again(workshop: Workshop) -> None:
    workshop.retrain()
    workshop.label(1)
    decide = workshop._decide

    def killed(*arguments: Any) -> None:
        decide(*arguments)
        raise KeyboardInterrupt

    workshop._decide = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain()
    rollback(workshop.model)
    workshop._decide = decide  # type: ignore[method-assign]
    before = read_aliases(workshop.model)
    ended = workshop.retrain()
    assert (ended.outcome, ended.version, ended.reason) == ("promoted", "2", "It is promoted.")
    assert read_aliases(workshop.model) == before and before.champion == "1"


def test_the_reason_is_that_of_the_promotion(workshop: Workshop) -> None:
    decide = workshop._decide

    def decide_before_a_retest(*arguments: Any) -> None:
        decide(*arguments)
        change(workshop.model, lambda state: state.after("retest", "Better pictures.", test="abcdefabcdef"))

    workshop._decide = decide_before_a_retest  # type: ignore[method-assign]
    assert workshop.retrain().reason == "It is promoted."


def test_a_run_has_its_decision_although_it_was_killed_before_it_was_told(workshop: Workshop) -> None:
    workshop.retrain()
    workshop.label(1)
    model, decided = workshop.model, []
    decision = {"decision": "promoted", "reason": "AP50 differs by 0.1."}

    def killed(_: Model, number: str, *rest: Any) -> None:
        decided.append(number)
        name = f"decisions/{number}-1-{read_aliases(model).test}.json"
        model.store.write(name, json.dumps(decision).encode())
        if read_aliases(model).champion != number:
            promote_regardless(model, number, decision["reason"])
            raise KeyboardInterrupt

    workshop._decide = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain()
    ended = workshop.retrain()
    assert ended.reason == decision["reason"] and ended.run is not None
    assert json.loads((Path(ended.run) / DECISION).read_text()) == decision
    assert decided == ["2", "2"], "once more for the page"


def _add_another(workshop: Workshop) -> str:
    from boxcar.registry import add_version

    return add_version(workshop.model, str(write_run(workshop.runs / "by-hand", seed=77)))


@pytest.mark.parametrize("where", ["before the index", "before the entry"])
def test_what_was_decided_before_a_kill_is_not_decided_again(workshop: Workshop, where: str) -> None:
    first = workshop.retrain()
    (workshop.data.parent / "models" / "cats" / INDEX).unlink()
    if where == "before the entry":
        (path,) = (workshop.data.parent / "models" / "cats" / "retrainings").iterdir()
        entry = json.loads(path.read_text()) | {"outcome": None, "version": None, "told": False}
        path.write_text(json.dumps(entry))
    again = workshop.retrain()
    assert (again.run, again.version) == (first.run, "1")
    assert len(workshop.trained) == (1 if where == "before the index" else 2)
    assert [change.action for change in read_aliases(workshop.model).history] == ["begin", "promote"]
    assert workshop.retrain().reason == "Nothing has changed."


def test_a_failure_is_told_and_tried_again(workshop: Workshop) -> None:
    workshop.failures = [BoxcarError(ExitCode.DATA, "The loss is not finite.", "Lower it.")]
    with pytest.raises(BoxcarError, match="not finite"):
        workshop.retrain()
    (message,) = workshop.hook.messages
    assert message["text"] == "cats: failed, no version. The loss is not finite. Lower it."
    (entry,) = workshop.entries()
    assert (entry.outcome, entry.gpu_hours, entry.told) == ("failed", 2.0, True)
    assert json.loads((Path(entry.run) / "failure.json").read_text())["code"] == 65
    assert workshop.retrain().outcome == "promoted"
    assert [message["outcome"] for message in workshop.hook.messages] == ["failed", "promoted"]
    assert not (Path(entry.run) / "failure.json").exists(), "it has succeeded"


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (
            {"formats": ["tfjs_float32"]},
            "compares versions on tflite_int8, but the exported files are saved_model, tfjs_float32",
        ),
        ({"gate": {"format": "no_such_format"}}, "compares versions on no_such_format"),
        ({"gate": {"class_floors": {"cat": 0.5, "cow": 0.5}}}, "class_floors has cow, but the champion knows only cat, dog"),
    ],
)
def test_what_the_gate_could_only_refuse_is_not_trained(workshop: Workshop, settings: dict[str, Any], word: str) -> None:
    workshop.retrain()
    workshop.label(1)
    with pytest.raises(BoxcarError, match=word) as raised:
        workshop.retrain(settings)
    assert raised.value.code == ExitCode.USAGE and len(workshop.trained) == len(workshop.entries()) == 1
    assert workshop.hook.messages[-1]["outcome"] == "failed"
    gate = {"gate": {"format": "saved_model", "class_floors": {"cow": 0.5}, "accept_new_classes": True}}
    assert workshop.retrain(gate).outcome == "promoted", "a class that is new may have a floor"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(28, "No space left on device", "/x"), "/x: No space left"),
        (ZeroDivisionError("by zero"), "Boxcar itself failed"),
    ],
)
def test_whatever_fails_is_written_down_and_told(workshop: Workshop, error: Exception, what: str) -> None:
    workshop.failures = [error]
    with pytest.raises(type(error)):
        workshop.retrain()
    (entry,) = workshop.entries()
    assert entry.outcome == "failed" and entry.reason.startswith(what) and entry.told
    assert [message["reason"] for message in workshop.hook.messages] == [entry.reason]
    assert json.loads((Path(entry.run) / "failure.json").read_text())["what"].startswith(what)


@pytest.mark.parametrize("how", ["no pictures", "index", "ledger", "champion"])
def test_what_fails_before_anything_is_begun_is_told_each_time(workshop: Workshop, how: str) -> None:
    workshop.retrain()
    workshop.label(1)
    folder = Path(workshop.model.uri)
    if how == "no pictures":
        shutil.rmtree(workshop.data)
    else:
        place = {
            "index": folder / INDEX,
            "ledger": folder / "retrainings" / "other.json",
            "champion": folder / "1" / "step.json",
        }
        place[how].write_text("{")
    for _ in range(2):
        with pytest.raises(BoxcarError) as raised:
            workshop.retrain()
    told = workshop.hook.messages[1:]
    assert [(one["outcome"], one["run"], one["reason"]) for one in told] == 2 * [("failed", None, str(raised.value))]


def test_what_a_form_is_refused_for_is_told(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOXCAR_LAUNCHER", "local")
    folders = {"data": str(workshop.data / "gone"), "runs": str(workshop.runs), "models": workshop.model.models}
    with pytest.raises(BoxcarError, match="data: ") as raised:
        retrain_by_form(RetrainForm(**folders, model="cats"), {})
    assert [message["reason"] for message in workshop.hook.messages] == [str(raised.value)]


def test_who_is_sent_away_or_stopped_tells_nobody(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxcar.retraining.cycle.Claim", partial(Claim, renew_seconds=0.1, gone_seconds=10.0))
    with (
        Claim(workshop.model.store, 0.1, 10.0),
        pytest.raises(BoxcarError, match="is running"),
    ):
        workshop.retrain()
    for stop in (ChildEnded(75), ChildEnded(130), BoxcarError(ExitCode.AGAIN, "Stopped.", "Again.")):
        workshop.failures = [stop]
        with pytest.raises(type(stop)):
            workshop.retrain()
    assert workshop.hook.messages == [] and workshop.entries()[0].outcome is None


def test_a_failure_that_cannot_be_written_down_is_still_the_failure(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.failures = [BoxcarError(ExitCode.DATA, "The loss is not finite.", "Lower it.")]
    train = workshop._train

    def train_on_a_full_disk(configuration: Configuration, run: str) -> None:
        (Path(run) / "failure.json").mkdir(parents=True)  # so that it cannot be replaced
        retrainings = Path(workshop.model.uri) / "retrainings"
        retrainings.rename(retrainings.with_name("moved"))
        retrainings.write_text("a file")
        train(configuration, run)

    workshop._train = train_on_a_full_disk  # type: ignore[method-assign]
    with pytest.raises(BoxcarError, match="not finite"):
        workshop.retrain()
    assert [message["reason"] for message in workshop.hook.messages] == ["The loss is not finite. Lower it."]
    assert "failure.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "word"), [(None, "left no readable reason"), ("{", "left no readable reason"), ("said", "Lower it.")]
)
def test_a_child_that_failed_is_told_in_its_own_words(workshop: Workshop, content: str | None, word: str) -> None:
    train = workshop._train

    def train_in_a_child(configuration: Configuration, run: str) -> None:
        train(configuration, run)
        if content is not None:
            words = json.dumps({"what": "The loss is not finite.", "do": "Lower it."})
            (Path(run) / "failure.json").write_text(words if content == "said" else content)
        raise ChildEnded(65)

    workshop._train = train_in_a_child  # type: ignore[method-assign]
    with pytest.raises(ChildEnded):
        workshop.retrain()
    assert word in workshop.hook.messages[0]["reason"]


def test_beyond_the_months_hours_nothing_is_trained(workshop: Workshop) -> None:
    workshop.retrain(gpu_hours=2.5)
    workshop.label(1)
    assert workshop.retrain(gpu_hours=2.5).outcome == "promoted", "2 of 2.5 were used"
    workshop.label(2)
    with pytest.raises(BoxcarError, match=r"have taken 4\.00 GPU hours in .* allows 2\.5") as raised:
        workshop.retrain(gpu_hours=2.5)
    assert raised.value.code == ExitCode.STOPPED
    assert len(workshop.trained) == 2 and workshop.hook.messages[-1]["outcome"] == "failed"
    for entry in (workshop.data.parent / "models" / "cats" / "retrainings").iterdir():
        text = entry.read_text()
        month = json.loads(text)["begun_at"][:7]
        entry.write_text(text.replace(month, "2020-01"))
    assert workshop.retrain(gpu_hours=2.5).outcome == "promoted", "another month"


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("how", [KeyboardInterrupt(), BoxcarError(ExitCode.DATA, "The loss is not finite.", "Lower it.")])
def test_the_hours_of_what_did_not_end_well_count(workshop: Workshop, how: BaseException, new: bool) -> None:
    workshop.failures = [how]
    with pytest.raises(type(how)):
        workshop.retrain(gpu_hours=1)
    if new:
        workshop.label(1)
    for _ in range(2):
        with pytest.raises(BoxcarError, match=r"have taken 2\.00 GPU hours in .* allows 1") as raised:
            workshop.retrain(gpu_hours=1)
        assert raised.value.code == ExitCode.STOPPED
    assert len(workshop.trained) == 1
    assert workshop.retrain(gpu_hours=3).outcome == "promoted", "more are allowed"


def test_hours_count_for_the_month_in_which_they_were_trained(workshop: Workshop) -> None:
    workshop.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain(gpu_hours=1)
    (entry,) = workshop.entries()
    long_ago = datetime(2020, 1, 31, tzinfo=UTC).timestamp()
    os.utime(Path(entry.run) / "train" / "history.jsonl", (long_ago, long_ago))
    workshop.seconds *= 3
    workshop.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain(gpu_hours=1)
    with pytest.raises(BoxcarError, match=r"have taken 4\.00 GPU hours in"):
        workshop.retrain(gpu_hours=1)
    (entry,) = workshop.entries()
    assert entry.months == {"2020-01": 2.0, entry.begun_at[:7]: 4.0} and entry.gpu_hours == 6.0


def test_what_is_trained_is_compared_without_hours_left(workshop: Workshop) -> None:
    workshop.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain(gpu_hours=1)
    (Path(workshop.entries()[0].run) / "train" / "step.json").touch()
    assert workshop.retrain(gpu_hours=1).outcome == "promoted"


def test_what_has_to_be_trained_anew_is_held_to_the_budget(workshop: Workshop) -> None:
    workshop.retrain()
    workshop.label(1)
    workshop.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        workshop.retrain(gpu_hours=3)
    (Path(workshop.entries()[-1].run) / "train" / "step.json").touch()
    promote_regardless(workshop.model, _add_another(workshop), "Somebody was quicker.")
    with pytest.raises(BoxcarError, match="have taken"):
        workshop.retrain(gpu_hours=3)


@pytest.mark.parametrize(
    ("history", "hours"), [('{"seconds": 1800}\n{"step": 2}\n', 1.0), ('{"seconds": null}\n[]\n{\n', 0.0), ("", 0.0)]
)
def test_a_history_of_odd_lines_is_read_as_far_as_it_goes(tmp_path: Path, history: str, hours: float) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "history.jsonl").write_text(history)
    entry = begin("run", "", None, None, None)
    assert with_hours(entry, open_store(str(tmp_path)), 2).gpu_hours == hours


def test_a_webhook_that_fails_hears_of_it_the_next_time(workshop: Workshop) -> None:
    workshop.hook.status = 500
    with pytest.raises(BoxcarError, match="returned status 500") as raised:
        workshop.retrain()
    assert raised.value.code == ExitCode.ENVIRONMENT and "secret" not in str(raised.value)
    assert read_aliases(workshop.model).champion == "1", "what was decided stays"
    assert workshop.retrain().outcome == "unchanged", "and is not done again"
    workshop.hook.status = 200
    workshop.retrain()
    assert [message["outcome"] for message in workshop.hook.messages] == ["promoted"]
    workshop.retrain()
    assert len(workshop.hook.messages) == 1


def test_what_follows_a_failure_that_was_told_is_told_as_well(workshop: Workshop) -> None:
    workshop.failures = [BoxcarError(ExitCode.DATA, "The loss is not finite.", "Lower it.")]
    with pytest.raises(BoxcarError, match="not finite"):
        workshop.retrain()
    workshop.hook.status = 500
    with pytest.raises(BoxcarError, match="returned status 500"):
        workshop.retrain()
    assert not workshop.entries()[-1].told
    workshop.hook.status = 200
    workshop.retrain()
    assert [message["outcome"] for message in workshop.hook.messages] == ["failed", "promoted"]


def _failed_unheard(workshop: Workshop) -> None:
    workshop.failures = [BoxcarError(ExitCode.DATA, "The loss is not finite.", "Lower it.")]
    workshop.hook.status = 500
    with pytest.raises(BoxcarError, match="not finite"):
        workshop.retrain()
    workshop.hook.status = 200


def test_a_message_that_takes_long_puts_no_old_outcome_in_place_of_a_new_one(workshop: Workshop) -> None:
    """Somebody who took this process for gone has ended the same retraining by then."""
    _failed_unheard(workshop)
    store = workshop.model.store

    def overtake() -> None:
        ((identity, entry),) = read_entries(store).items()
        write_entry(store, identity, entry.model_copy(update={"outcome": "kept", "version": "1", "reason": "It is kept."}))

    workshop.hook.meanwhile = overtake
    assert workshop.retrain().reason == "These images were already trained on: kept."
    (entry,) = workshop.entries()
    assert (entry.outcome, entry.version, entry.told) == ("kept", "1", False)
    workshop.retrain()
    assert [message["outcome"] for message in workshop.hook.messages] == ["failed", "kept"]
    assert workshop.entries()[0].told


def test_two_at_once_tell_an_outcome_once(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    _failed_unheard(workshop)
    for place in ("cycle", "telling"):
        monkeypatch.setattr(f"boxcar.retraining.{place}.Claim", partial(Claim, renew_seconds=0.1, gone_seconds=10.0))

    def come_second() -> None:
        with pytest.raises(BoxcarError, match="is running"):
            workshop.retrain()

    workshop.hook.meanwhile = come_second
    assert workshop.retrain().outcome == "promoted"
    assert [message["outcome"] for message in workshop.hook.messages] == ["failed", "promoted"]


def test_an_address_that_can_be_none_is_said_before_hours_of_training(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXCAR_WEBHOOK", "team-chat/secret")
    with pytest.raises(BoxcarError, match="address is not valid"):
        workshop.retrain()
    assert workshop.trained == []


def test_slack_is_given_what_slack_takes(workshop: Workshop) -> None:
    workshop.retrain(webhook_format="slack")
    assert workshop.hook.messages == [{"text": "cats: promoted, version 1. It is promoted."}]


def test_a_message_holds_all_that_is_known(workshop: Workshop) -> None:
    ended = workshop.retrain()
    (message,) = workshop.hook.messages
    assert message == {
        "text": "cats: promoted, version 1. It is promoted.",
        "models": workshop.model.models,
        "model": "cats",
        "run": ended.run,
        "changes": "2 new files; 1 new labeled images",
        "outcome": "promoted",
        "reason": "It is promoted.",
        "version": "1",
        "gpu_hours": 2.0,
    }


@pytest.mark.parametrize(
    ("content", "word"),
    [("{", "cannot be understood"), ('{"format_version": 9}', "newer Boxcar"), ("[]", "cannot be understood")],
)
def test_a_ledger_that_is_not_ours_is_refused(workshop: Workshop, content: str, word: str) -> None:
    folder = Path(workshop.model.uri) / "retrainings"
    folder.mkdir(parents=True)
    (folder / "one.json").write_text(content)
    with pytest.raises(BoxcarError, match=word) as raised:
        workshop.entries()
    assert raised.value.code == 65 and "one.json" in raised.value.what
