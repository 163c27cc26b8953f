"""`detector.json`: it comes back as it was, and what cannot be a detector is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from boxcar.errors import BoxcarError
from boxcar.inference.specification import SPECIFICATION, Specification, read_specification, specification_json

GOOD = Specification(architecture="any", image_size=128, labels={1: "Bär", 4: "d"}, dataset_version="v")


def write(folder: Path, **changes: Any) -> None:
    (folder / SPECIFICATION).write_text(json.dumps(json.loads(specification_json(GOOD)) | changes), encoding="utf-8")


def test_it_comes_back(tmp_path: Path) -> None:
    write(tmp_path)
    found = read_specification(tmp_path)
    assert found == GOOD
    assert found.class_slots == 5
    assert "Bär" in specification_json(GOOD)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {}},
        {"labels": {"0": "background"}},
        {"image_size": 0},
        {"value_range": [1, 0]},
        {"value_range": [0, 0]},
        {"task": "poses"},
        {"anchors": {"aspect_ratios": []}},
        {"anchors": {"aspect_ratios": [0]}},
        {"anchors": {"min_level": 7, "max_level": 3}},
        {"anchors": {"anchor_scale": -1}},
        {"box_coder": {"y_scale": 0}},
        {"thresholds": {"iou": 0}},
        {"thresholds": {"score": 1}},
        {"format_version": 2},
        {"unheard_of": 1},
    ],
    ids=json.dumps,
)
def test_what_cannot_be_a_detector_is_bad_data(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, **changes)
    with pytest.raises(BoxcarError) as error:
        read_specification(tmp_path)
    assert error.value.code == 65
    assert str(tmp_path / SPECIFICATION) in error.value.what
    assert "Traceback" not in error.value.what


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_what_is_no_json_object_is_bad_data(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SPECIFICATION).write_bytes(content)
    with pytest.raises(BoxcarError) as error:
        read_specification(tmp_path)
    assert error.value.code == 65


def test_a_folder_without_one_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(BoxcarError) as error:
        read_specification(tmp_path)
    assert error.value.code == 64
