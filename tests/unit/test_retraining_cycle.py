"""When a model is retrained, what a retraining starts from, and what its ledger and index record."""

from pathlib import Path
from typing import Any

import pytest
from registered import write_run
from retrained_model import RetrainedModel

from boxcar.config.run_settings import Configuration
from boxcar.data.label_map import write_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry import add_version, held_out_list, promote_regardless, read_aliases, read_version
from boxcar.registry.held_out import FEWEST_PICTURES
from boxcar.retraining.cycle import Retrained


def test_the_first_run_creates_the_model_and_the_same_images_are_not_trained_on_again(cats: RetrainedModel) -> None:
    first = cats.retrain()
    assert (first.outcome, first.version) == ("promoted", "1")
    assert first.run is not None and Path(first.run).parent == cats.runs and Path(first.run).name.startswith("cats-")
    assert read_aliases(cats.model).champion == "1" and read_version(cats.model, "1").run == first.run
    (configuration,) = cats.trained
    assert (configuration.init, configuration.label_map, configuration.frozen_test) == (None, None, None)
    (entry,) = cats.entries()
    assert (entry.outcome, entry.version, entry.gpu_hours, entry.told) == ("promoted", "1", 2.0, True)

    second = cats.retrain()
    assert second == Retrained("unchanged", "Nothing has changed.")
    assert len(cats.trained) == 1 and len(cats.webhook.messages) == 1


def test_later_runs_take_the_champions_weights_label_map_and_test_split(cats: RetrainedModel) -> None:
    cats.retrain()
    cats.label(1)
    cats.verdicts = ["kept"]
    ended = cats.retrain()
    assert (ended.outcome, ended.version, ended.reason) == ("kept", "2", "It is kept.")
    model = cats.model
    assert read_aliases(model).champion == "1"
    configuration = cats.trained[-1]
    assert configuration.init == f"{model.uri}/1/export/saved_model/checkpoint"
    assert configuration.label_map == f"{model.uri}/1/records/label_map.pbtxt"
    assert configuration.frozen_test == held_out_list(model, read_aliases(model).test)

    cats.label(2)
    cats.retrain(start="init")
    assert cats.trained[-1].init is None and cats.trained[-1].label_map == configuration.label_map


def test_a_retraining_waits_for_enough_new_images(cats: RetrainedModel) -> None:
    cats.retrain()
    cats.label(1, 2)
    assert cats.retrain(new_pictures=3) == Retrained("unchanged", "2 of 3 new labeled images so far.")
    cats.label(3)
    assert cats.retrain(new_pictures=3).outcome == "promoted", "images from earlier calls count"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"formats": ["tfjs_float32"]},
            "compares versions on tflite_int8, but the exported files are saved_model, tfjs_float32",
        ),
        ({"gate": {"format": "no_such_format"}}, "compares versions on no_such_format"),
        ({"gate": {"class_floors": {"cat": 0.5, "cow": 0.5}}}, "class_floors has cow, but the champion knows only cat, dog"),
    ],
)
def test_nothing_is_trained_that_the_gate_would_refuse(cats: RetrainedModel, settings: dict[str, Any], message: str) -> None:
    cats.retrain()
    cats.label(1)
    with pytest.raises(BoxcarError, match=message) as raised:
        cats.retrain(settings)
    assert raised.value.code == ExitCode.USAGE and len(cats.trained) == len(cats.entries()) == 1
    assert cats.outcomes()[-1] == "failed"
    gate = {"gate": {"format": "saved_model", "class_floors": {"cow": 0.5}, "accept_new_classes": True}}
    assert cats.retrain(gate).outcome == "promoted", "a new class may have a floor"


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not valid"), ('{"format_version": 9}', "newer Boxcar"), ("[]", "is not valid"), ("1", "is not valid")],
)
def test_a_ledger_of_another_format_is_refused(cats: RetrainedModel, content: str, message: str) -> None:
    folder = cats.folder / "retrainings"
    folder.mkdir(parents=True)
    (folder / "one.json").write_text(content)
    with pytest.raises(BoxcarError, match=message) as raised:
        cats.entries()
    assert raised.value.code == 65 and "one.json" in raised.value.what


@pytest.mark.parametrize(("pictures", "said"), [(FEWEST_PICTURES - 1, True), (FEWEST_PICTURES, False)])
def test_that_nothing_can_be_decided_is_said_before_training(
    cats: RetrainedModel, pictures: int, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(f"t{number}.jpg" for number in range(pictures))
    promote_regardless(cats.model, add_version(cats.model, str(write_run(cats.runs / "first", test=names))), "The first.")
    heard: list[str] = []

    def train(configuration: Configuration, run: str) -> None:
        heard.append(capsys.readouterr().err)
        write_run(Path(run), seed=1, test=names)

    cats.train = train
    cats.retrain()
    assert (f"{pictures} images with objects" in heard[0]) == said
    assert ("boxcar models retest" in heard[0] and f"at least {FEWEST_PICTURES}" in heard[0]) == said


def test_a_label_map_with_other_classes_than_the_champions_is_refused(cats: RetrainedModel, tmp_path: Path) -> None:
    cats.retrain()
    cats.label(1)
    for labels in ({1: "dog", 2: "cat"}, {2: "cow"}):
        write_label_map(tmp_path / "other.pbtxt", labels)
        with pytest.raises(BoxcarError, match=f"Class {max(labels)} is|Class 1 is") as raised:
            cats.retrain({"label_map": str(tmp_path / "other.pbtxt")})
        assert raised.value.code == ExitCode.USAGE and len(cats.trained) == 1
    write_label_map(tmp_path / "first.pbtxt", {1: "cat"})  # as it was before other classes were appended
    assert cats.retrain({"label_map": str(tmp_path / "first.pbtxt")}).outcome == "promoted"


def test_a_floor_that_no_test_image_can_show_is_named_before_training(
    cats: RetrainedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    cats.retrain()
    cats.label(1)
    cats.retrain({"gate": {"class_floors": {"cat": 0.1, "dog": 0.1}}})
    said = capsys.readouterr().err
    assert "no object of dog" in said and "no object of cat" not in said, "the test images of these runs show cats"


def test_a_retraining_leaves_out_images_that_wait_for_their_labels(cats: RetrainedModel) -> None:
    settings: list[str | None] = []
    train = cats.train

    def noted(configuration: Configuration, run: str) -> None:
        settings.append(configuration.unlabeled)
        train(configuration, run)

    cats.train = noted
    cats.retrain()
    cats.label(1)
    cats.retrain({"unlabeled": "background"})
    assert settings == ["skip", "background"]
