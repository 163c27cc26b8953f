"""The choice of classes: kept, renamed, merged, and dropped by name while images are imported."""

import json
from pathlib import Path
from typing import Any

import pytest
from labelled import pair

from boxcar.cli.main import app
from boxcar.config.class_choice import class_choice
from boxcar.config.run_settings import make_configuration
from boxcar.data.label_map import read_label_map, write_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.process import call_command
from boxcar.records import build_records, convert_labels
from boxcar.run.step import read_commit


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Cars everywhere, trucks and a person in some; one image shows a person only."""
    for number in range(8):
        boxes: list[Any] = [("car", 1, 1, 20, 20), ("truck", 5, 5, 30, 30)]
        pair(tmp_path / "data", f"p{number}", boxes + [("person", 8, 8, 40, 40)] * (number < 2))
    pair(tmp_path / "data", "walker", [("person", 8, 8, 40, 40)])
    return tmp_path / "data"


def dataset(data: Path, output: Path, *classes: str, **settings: Any) -> dict[str, Any]:
    build_records(str(data), str(output), classes=classes or None, **settings)
    return dict(json.loads((output / "dataset.json").read_text()))


def counts(found: dict[str, Any]) -> dict[str, int]:
    names = found["label_map"].values()
    return {name: sum(split["per_class"][name] for split in found["splits"].values()) for name in names}


def test_classes_are_kept_merged_and_dropped(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert counts(dataset(data, out, "car")) == {"car": 8}
    assert counts(dataset(data, out, "car", "truck=vehicle")) == {"car": 8, "vehicle": 8}
    assert counts(dataset(data, out, "car=vehicle", "truck=vehicle")) == {"vehicle": 16}
    assert counts(dataset(data, out, "car=truck", "truck=car", "-person")) == {"car": 8, "truck": 8}
    assert counts(dataset(data, out, "-person")) == {"car": 8, "truck": 8}
    assert counts(dataset(data, out)) == {"car": 8, "person": 3, "truck": 8}


def test_an_image_whose_objects_were_dropped_stays_without_objects_and_is_counted(data: Path, tmp_path: Path) -> None:
    found = dataset(data, tmp_path / "out", "-person")
    assert sum(split["pictures"] for split in found["splits"].values()) == 9
    assert sum(split["negatives"] for split in found["splits"].values()) == 1
    sentence = "1 image has only objects of classes that --classes drops, and counts as an image without objects."
    assert sentence in found["warnings"]
    assert found["pictures_without_xml"] == 0


def test_the_version_follows_the_choice_and_the_step_stores_it_only_if_given(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = dataset(data, out)["version"]
    committed = read_commit(out, "records")
    assert committed is not None and "classes" not in committed.parameters
    chosen = dataset(data, out, "-person")["version"]
    stamp = (out / "step.json").stat().st_mtime_ns
    assert dataset(data, out, "-person")["version"] == chosen != before
    assert (out / "step.json").stat().st_mtime_ns == stamp
    committed = read_commit(out, "records")
    assert committed is not None and committed.parameters["classes"] == ["-person"]
    # The same data as if the objects had never been labeled.
    for number in range(2):
        pair(data, f"p{number}", [("car", 1, 1, 20, 20), ("truck", 5, 5, 30, 30)])
    pair(data, "walker", [])
    assert dataset(data, out)["version"] == chosen


def test_merged_objects_with_the_same_box_are_one(tmp_path: Path) -> None:
    for number in range(4):
        pair(tmp_path / "data", f"p{number}", [("car", 1, 1, 20, 20), ("Car", 1, 1, 20, 20)])
    found = dataset(tmp_path / "data", tmp_path / "out", "car", "Car=car")
    assert counts(found) == {"car": 4}
    assert any(warning.startswith("4 boxes are copies") for warning in found["warnings"])


def test_a_dropped_object_can_have_any_box(data: Path, tmp_path: Path) -> None:
    pair(data, "p8", [("person", 8, 8, 4000, 40), ("car", 1, 1, 20, 20)])
    assert counts(dataset(data, tmp_path / "out", "-person"))["car"] == 9
    with pytest.raises(BoxcarError) as caught:
        dataset(data, tmp_path / "out", "person=pedestrian")
    assert "box 1 (person)" in caught.value.details[0]  # the name in the file, where a person looks for it


@pytest.mark.parametrize(
    ("words", "said", "do"),
    [
        (["car", "trucks"], "class trucks,", "Write truck instead of trucks."),
        (["-Person"], "class Person,", "Write person instead of Person."),
        (["zebra"], "class zebra,", "The classes are car, person, truck."),
        (["-car", "-truck", "-person"], "drops the classes of all objects", "Keep at least one class."),
    ],
)
def test_a_choice_that_does_not_fit_is_refused(data: Path, tmp_path: Path, words: list[str], said: str, do: str) -> None:
    for settings in ({}, {"on_fault": "skip"}):
        with pytest.raises(BoxcarError) as caught:
            dataset(data, tmp_path / "out", *words, **settings)
        assert caught.value.code == ExitCode.USAGE
        assert said in caught.value.what and caught.value.do == do
    assert not (tmp_path / "out" / "step.json").exists()


def test_the_label_map_in_the_data_is_chosen_from_and_a_given_one_is_kept(data: Path, tmp_path: Path) -> None:
    write_label_map(data / "label_map.pbtxt", {3: "car", 5: "person", 7: "truck"})
    dataset(data, tmp_path / "out", "car", "truck=vehicle")
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt") == {3: "car", 7: "vehicle"}
    dataset(data, tmp_path / "out", "car=vehicle", "truck=vehicle", "person")
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt") == {3: "vehicle", 5: "person"}
    write_label_map(tmp_path / "given.pbtxt", {1: "bus", 2: "vehicle"})
    dataset(data, tmp_path / "out", "car", "truck=vehicle", label_map=str(tmp_path / "given.pbtxt"))
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt") == {1: "bus", 2: "vehicle", 3: "car"}


def test_labels_are_converted_with_the_chosen_classes(data: Path, tmp_path: Path) -> None:
    words = ["convert-labels", "--data", str(data), "--output", str(tmp_path / "coco"), "--to", "coco"]
    assert call_command(app, [*words, "--classes", "car, truck=vehicle"]) == ExitCode.DONE
    found = json.loads((tmp_path / "coco" / "annotations" / "instances.json").read_text())
    assert [category["name"] for category in found["categories"]] == ["car", "vehicle"]
    assert len(found["images"]) == 9 and len(found["annotations"]) == 16
    with pytest.raises(BoxcarError, match="The classes are car, person, truck"):
        convert_labels(str(data), str(tmp_path / "voc"), "voc", classes=["lorry"])


def test_the_option_takes_words_that_begin_with_a_minus_sign(data: Path, tmp_path: Path) -> None:
    words = ["records", "--data", str(data), "--output", str(tmp_path / "out"), "--classes", "-person,-truck"]
    assert call_command(app, words) == ExitCode.DONE
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt") == {1: "car"}


def test_names_in_a_configuration_may_hold_any_sign(tmp_path: Path) -> None:
    file = tmp_path / "boxcar.yaml"
    file.write_text("classes: ['red, ripe = apple', '\"a=b\" = \"c=d\"', ' -\"-1\"', '5\" pipe']\n")
    choice = class_choice(make_configuration(file, {}).classes or ())
    assert choice.names == {"red, ripe": "apple", "a=b": "c=d", "-1": None, '5" pipe': '5" pipe'}
    assert not choice.others
    file.write_text("classes: -a, - b\n")
    assert class_choice(make_configuration(file, {}).classes or ()).names == {"a": None, "b": None}


@pytest.mark.parametrize("words", ["", "car=", "=car", "-", "a=b=c", "-a=b", "car,-car", "car,car=a", '"a', '""', "car="])
def test_words_that_say_nothing_are_refused(words: str) -> None:
    with pytest.raises(BoxcarError, match="classes cannot be") as caught:
        make_configuration(None, {"classes": words})
    assert caught.value.code == ExitCode.USAGE


def test_a_class_background_is_an_object_and_said(tmp_path: Path) -> None:
    for number in range(3):
        pair(tmp_path / "data", f"p{number}", [("Background", 1, 1, 9, 9), ("cat", 20, 20, 40, 40)])
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert dataset["label_map"] == {"1": "Background", "2": "cat"}
    assert any("--classes=-Background" in warning for warning in dataset["warnings"])


def test_many_new_classes_are_one_warning(tmp_path: Path) -> None:
    for number in range(3):
        pair(tmp_path / "data", f"p{number}", [(f"c{place}", place, 1, place + 1, 9) for place in range(20)])
    (tmp_path / "data" / "label_map.pbtxt").write_text("item { id: 5 name: 'c0' }")
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    (warning,) = [one for one in dataset["warnings"] if "label map" in one]
    assert warning.startswith("19 classes") and "c1 as 6" in warning
