"""The evaluator follows a trainer that is played here: checkpoints of an untrained network at 64 px, and words of its own."""

import io
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from played_trainer import Training, meanwhile, wait_for

from boxcar.errors import BoxcarError
from boxcar.evaluation import evaluate, evaluator
from boxcar.inference.specification import SPECIFICATION
from boxcar.run.checkpoints import Checkpoint, append_score, read_scores, remove_checkpoint, write_status
from boxcar.run.step import Step, read_commit, require_commit


@pytest.fixture
def training(begun: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr(evaluator, "POLL_SECONDS", 0.01)
    shutil.copytree(begun, tmp_path / "run")
    return Training(tmp_path / "run")


def refused(training: Training, code: int) -> str:
    with pytest.raises(BoxcarError) as error:
        evaluate(str(training.run))
    assert error.value.code == code
    assert read_commit(training.run / "eval", "evaluate") is None
    return error.value.what


def test_every_checkpoint_is_scored_once_while_training_goes_on(training: Training) -> None:
    write_status(training.folder, "RUNNING", 0)
    training.checkpoint(20)
    training.checkpoint(10)

    def work() -> None:
        wait_for(lambda: training.scored() == [10, 20])
        training.checkpoint(30)
        write_status(training.folder, "DONE", 30, 30)

    trainer = meanwhile(work)
    committed = evaluate(str(training.run))
    trainer.join()
    assert training.scored() == [10, 20, 30]
    for line in read_scores(training.run / "eval"):
        assert {"step", "AP", "AP50", "AP75", "per_class"} <= set(line)
        assert len(line["per_class"]) == 3
    test = json.loads((training.run / "eval" / "test.json").read_text())
    assert (test["step"], test["split"]) == (30, "test")
    assert {"AP", "AP50", "per_class", "examples"} <= set(test)
    assert test["pictures"] == json.loads((training.run / "records" / "dataset.json").read_text())["splits"]["test"]["pictures"]
    events = [name for name in committed.files if "tfevents" in name]
    assert len(events) == 1
    assert {"scores.jsonl", "test.json", "confusion.json", "curves.json", *events} == set(committed.files)
    confusion = json.loads((training.run / "eval" / "confusion.json").read_text())
    assert confusion["labels"][-1] == "background"
    assert confusion["labels"][:-1] == list(test["per_class"])
    boxes = {name: entry["boxes"] for name, entry in test["per_class"].items()}
    assert [sum(row) for row in confusion["counts"][:-1]] == list(boxes.values())
    curves = json.loads((training.run / "eval" / "curves.json").read_text())["per_class"]
    assert {name: curve["boxes"] for name, curve in curves.items()} == boxes
    assert {len(curve[side]) for curve in curves.values() for side in ("precision", "recall")} == {201}
    shown = summaries(training.run / "eval")
    for tag in ("AP", "AP50", "AP_per_class/circle", "pictures/1", "pictures/4"):
        assert [step for step, _ in shown[tag]] == [10, 20, 30], tag
    for tag in ("confusion", *(f"precision_recall/{name}" for name, count in boxes.items() if count)):
        assert [step for step, _ in shown[tag]] == [30], tag
    width, height, picture = shown["pictures/1"][0][1]
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.size) == ("JPEG", (int(width), int(height)))
    # The same again: nothing is done, even where the trainer is long gone.
    before = {path: path.stat().st_mtime_ns for path in (training.run / "eval").iterdir()}
    assert evaluate(str(training.run)).digest == committed.digest
    assert before == {path: path.stat().st_mtime_ns for path in (training.run / "eval").iterdir()}
    # Another training's checkpoints are not covered by these scores.
    shutil.rmtree(training.folder)
    Step("train", training.folder, {"records": "r"}, {"steps": 99}, resumable=True).begin()
    with pytest.raises(BoxcarError, match="inputs have changed") as error:
        evaluate(str(training.run))
    assert error.value.code == 64


def summaries(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """What TensorBoard reads there: tag to steps and values."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    found: dict[str, list[tuple[int, Any]]] = {}
    for path in sorted(folder.glob("events.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, tensor_util.make_ndarray(value.tensor)))
    return found


def test_a_class_without_ground_truth_is_put_into_words(tmp_path: Path) -> None:
    from boxcar.evaluation.summaries import SummaryWriter

    per_class = {"fork": {"AP": 0.5, "AP50": 0.6, "boxes": 3}, "knife": {"AP": None, "AP50": None, "boxes": 0}}
    with SummaryWriter(tmp_path) as writer:
        for step in (10, 20):
            writer.scalars({"step": step, "AP": 0.5, "AP_small": None, "seconds": 1.0, "per_class": per_class})
    shown = summaries(tmp_path)
    assert set(shown) == {"AP", "AP_per_class/fork", "no score"}
    assert [(step, value.item().decode()) for step, value in shown["no score"]] == [
        (10, "No score for knife: the validation images contain no such object.")
    ]


def test_a_checkpoint_that_goes_between_listing_and_reading_is_passed_over(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boxcar.evaluation.scorer import Scorer

    restore = Scorer.restore

    def gone(scorer: Scorer, checkpoint: Checkpoint) -> None:
        if checkpoint.step == 10:
            remove_checkpoint(training.folder, 10)
        restore(scorer, checkpoint)

    monkeypatch.setattr(Scorer, "restore", gone)
    for step in (10, 20):
        training.checkpoint(step)
    write_status(training.folder, "DONE", 20, 20)
    evaluate(str(training.run))
    assert training.scored() == [20]


def test_images_that_are_kept_score_like_those_that_are_read_again(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    from boxcar.evaluation import scorer as module
    from boxcar.inference.specification import read_specification
    from boxcar.run.checkpoints import list_checkpoints

    training.checkpoint(10)
    scorer = module.Scorer(read_specification(training.folder))
    scorer.restore(list_checkpoints(training.folder)[0])
    kept = scorer.load(training.run / "records", "validation")
    first, again = scorer.score(kept)[0], scorer.score(kept)[0]
    assert sum(len(batch) for batch in kept.batches or []) == len(kept.truths)
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    read = scorer.load(training.run / "records", "validation")
    assert first == again == scorer.score(read)[0]
    assert read.batches is None


def test_started_again_it_goes_on_where_it_was(training: Training) -> None:
    earlier = Step(
        "evaluate",
        training.run / "eval",
        {
            "records": require_commit(training.run / "records", "records").digest,
            "training": str(evaluator.started_identity(training.folder, "train")),
        },
        {},
        resumable=True,
    )
    earlier.begin()
    append_score(training.run / "eval", {"step": 10, "AP": 0.9, "AP50": 0.9, "per_class": {}})
    with (training.run / "eval" / "scores.jsonl").open("a") as file:
        file.write('{"step": 20, "AP": 0.')
    for step in (10, 20):
        training.checkpoint(step)
    write_status(training.folder, "DONE", 20, 20)
    evaluate(str(training.run))
    assert training.scored() == [10, 20]
    assert read_scores(training.run / "eval")[0]["AP"] == 0.9
    assert json.loads((training.run / "eval" / "test.json").read_text())["step"] == 10


def test_training_that_fails_ends_it_when_all_is_scored(training: Training) -> None:
    write_status(training.folder, "RUNNING", 0)
    training.checkpoint(10)

    def work() -> None:
        wait_for(lambda: training.scored() == [10])
        training.checkpoint(20)
        write_status(training.folder, "FAILED", 25)

    trainer = meanwhile(work)
    assert "Training failed" in refused(training, 69)
    trainer.join()
    assert training.scored() == [10, 20]


def test_a_failure_of_an_earlier_life_is_no_news(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(training.folder, "FAILED", 5)
    (training.folder / SPECIFICATION).unlink()
    monkeypatch.setattr(evaluator, "SILENCE_SECONDS", 0.3)
    assert "no heartbeat" in refused(training, 69)


def test_silence_ends_it(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "SILENCE_SECONDS", 1.0)
    (training.folder / SPECIFICATION).unlink()
    beats = 0

    def work() -> None:
        nonlocal beats
        for _ in range(15):  # one and a half of what counts as silence, but not silent
            write_status(training.folder, "RUNNING", 1)
            threading.Event().wait(0.1)
            beats += 1

    trainer = meanwhile(work)
    assert "no heartbeat" in refused(training, 69)
    trainer.join()
    assert beats == 15


def test_a_last_checkpoint_that_is_missing_is_named(training: Training) -> None:
    training.checkpoint(10)
    training.checkpoint(20)
    remove_checkpoint(training.folder, 20)
    write_status(training.folder, "DONE", 20, 20)
    assert "20" in refused(training, 65)
    assert training.scored() == [10]


def test_a_checkpoint_of_other_data_is_refused(training: Training) -> None:
    training.version = "other"
    training.checkpoint(10)
    write_status(training.folder, "DONE", 10, 10)
    assert "data version other" in refused(training, 65)
    assert training.scored() == []


def test_without_records_or_training_it_is_wrong_usage(training: Training, tmp_path: Path) -> None:
    shutil.rmtree(training.folder)
    assert "no training" in refused(training, 64)
    shutil.rmtree(training.run / "records")
    assert "records" in refused(training, 64)


def test_records_that_were_made_again_are_not_scored_on(training: Training) -> None:
    """Their classes may have other ids, and their images may be those that the detector was trained on."""
    path = training.run / "records" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "0" * 64}))
    Step("records", training.run / "records", {}, {}).commit()
    assert "made again after training" in refused(training, 64)
