"""Objects that are marked difficult: neither right nor wrong nor missed, if the records say that they are left out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled import picture, save, xml_text
from scoring_cases import LABELS, detections, truth

from boxcar.data.example import read_examples
from boxcar.data.ground_truth import ground_truth_of
from boxcar.records import build_records
from boxcar.scoring import ap50_difference, confusion_matrix, precision_recall_curves, score

OBJECTS = truth([[10, 10, 110, 110], [10, 150, 110, 250]], [2, 2])
HALF = replace(OBJECTS, is_ignored=np.array([False, True]))
FIRST, SECOND, ELSEWHERE = [10, 10, 110, 110], [12, 150, 110, 250], [150, 200, 200, 250]
ALONE = truth([FIRST], [2])


@pytest.mark.parametrize(
    "found",
    [
        detections([FIRST], [0.9], [2]),
        detections([FIRST, SECOND], [0.8, 0.9], [2, 2]),
        detections([FIRST, SECOND, SECOND], [0.7, 0.9, 0.8], [2, 2, 2]),
    ],
    ids=["missed", "found", "found twice"],
)
def test_an_ignored_object_changes_no_score(found) -> None:
    wanted = score([ALONE], [detections([FIRST], [0.9], [2])], LABELS)
    result = score([HALF], [found], LABELS)
    assert result.pop("ignored") == 1
    assert result == wanted
    counts = confusion_matrix([HALF], [found], LABELS, 0.3)
    assert counts.sum() == counts[0, 0] == 1
    curve = precision_recall_curves([HALF], [found], LABELS)[2]
    assert curve.truths == 1 and curve.false_positives[0] == 0
    assert ap50_difference([HALF], [found], [detections([FIRST], [0.9], [2])], LABELS).point == 0


def test_another_class_on_it_and_what_is_elsewhere_are_wrong() -> None:
    found = detections([FIRST, SECOND, ELSEWHERE], [0.9, 0.8, 0.7], [2, 5, 2])
    curves = precision_recall_curves([HALF], [found], LABELS)
    assert curves[2].false_positives[0] == curves[5].false_positives[0] == 1


def test_without_ignored_objects_nothing_is_different() -> None:
    found = [detections([FIRST, ELSEWHERE], [0.9, 0.8], [2, 2])]
    none = replace(OBJECTS, is_ignored=np.zeros(2, bool))
    assert score([none], found, LABELS) == score([OBJECTS], found, LABELS)
    assert "ignored" not in score([none], found, LABELS)


def test_more_objects_than_cocos_limit_can_all_be_found() -> None:
    """In an image with 150 objects, a detector that finds all of them is perfect."""
    boxes = [[10 * row, 10 * column, 10 * row + 8, 10 * column + 8] for row in range(15) for column in range(10)]
    full, found = truth(boxes, [2] * 150), detections(boxes, np.linspace(0.9, 0.5, 150), [2] * 150)
    scores = score([full], [found], LABELS)
    assert scores["AP50"] == 1 and scores["AR_100"] == pytest.approx(100 / 150)
    assert precision_recall_curves([full], [found], LABELS)[2].true_positives[0] == 150


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number in range(6):
        save(folder / f"p{number}.png", picture(number), compress_level=0)
        text = xml_text(f"p{number}.png", (64, 48), [("cat", 8, 6, 40, 30), ("cat", 1, 1, 9, 9)])
        (folder / f"p{number}.xml").write_text(text.replace("<difficult>0", "<difficult>1", 1))
    return folder


def test_records_say_what_is_ignored(data: Path, tmp_path: Path) -> None:
    built = {choice: tmp_path / choice for choice in ("score", "ignore")}
    for choice, output in built.items():
        build_records(str(data), str(output), difficult=choice)  # type: ignore[arg-type]
        warnings = json.loads((output / "dataset.json").read_text())["warnings"]
        (said,) = [warning for warning in warnings if "difficult" in warning]
        assert said.startswith("6 objects are marked difficult")
        for example in read_examples(sorted(output.glob("*.tfrecord"))):
            ground = ground_truth_of(example)
            assert ground.is_ignored is not None and len(example.labels) == 2  # training uses both
            ignored = {tuple(example.boxes[at].round(3)) for at in np.flatnonzero(ground.is_ignored)}
            marked = tuple(np.array([6 / 48, 8 / 64, 30 / 48, 40 / 64], np.float32).round(3))
            assert ignored == ({marked} if choice == "ignore" else set())
