"""`box_shapes.json`: what the records step writes about the training split's boxes, and what reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
from labelled import label, pair

from boxcar.data.box_shapes import grid_steps, read_box_shapes, write_box_shapes
from boxcar.errors import BoxcarError
from boxcar.records.build import build_records

STEP = 2 ** (1 / 16)  # half of the grid's, the largest factor that rounding adds


def read(folder: Path) -> Any:
    return json.loads((folder / "box_shapes.json").read_text())


def test_the_text(tmp_path: Path) -> None:
    write_box_shapes(tmp_path, {("dog's", 0, 8): 3, ("cat", 12, 16): 1, ("cat", 8, 16): 2, ("Bär", 8, 16): 9})
    assert (tmp_path / "box_shapes.json").read_text() == (
        '{\n  "train": {\n    "Bär": [\n      [0.5, 0.25, 9]\n    ],\n'
        '    "cat": [\n      [0.3536, 0.25, 1],\n      [0.5, 0.25, 2]\n    ],\n'
        '    "dog\'s": [\n      [1.0, 0.5, 3]\n    ]\n  }\n}\n'
    )
    assert read_box_shapes(tmp_path)["cat"] == [(0.3536, 0.25, 1), (0.5, 0.25, 2)]
    write_box_shapes(tmp_path, {})
    assert (tmp_path / "box_shapes.json").read_text() == '{\n  "train": {}\n}\n'
    assert read_box_shapes(tmp_path) == {}


def test_sides_are_rounded_to_an_eighth_of_an_octave(tmp_path: Path) -> None:
    sides = [1.0, 0.999, 0.7, 0.36, 0.1, 0.017, 2**-15.9]
    write_box_shapes(tmp_path, {("a", grid_steps(side), grid_steps(side)): 1 for side in sides})
    rows = read_box_shapes(tmp_path)["a"]
    assert len(rows) == 6  # the first two are one
    for side in sides:
        assert any(side / STEP / 1.001 <= height == width <= side * STEP * 1.001 for height, width, _ in rows)
    # What no image has is still a number.
    assert [grid_steps(side) for side in (0.0, 5e-324, 2**-16, 1.5)] == [128, 128, 128, 0]


def test_the_records_step_counts_the_boxes_of_the_training_split(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split, boxes in {
        "train": [("cat", 0, 0, 32, 48), ("cat", 8, 0, 40, 48), ("dog", 0, 0, 64, 48)],
        "val": [("cat", 0, 0, 8, 8)],
        "test": [("hen", 0, 0, 8, 8)],
    }.items():
        pair(data / split, split, boxes)
    pair(data / "train", "more", [("cat", 1, 0, 33, 48)])
    build_records(str(data), str(tmp_path / "out"))
    assert read(tmp_path / "out") == {"train": {"cat": [[1.0, 0.5, 3]], "dog": [[1.0, 1.0, 1]]}}


def test_neither_order_nor_splitting_into_shards_changes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for run, (images, workers) in enumerate(((5_000, 3), (2, 1), (1, 3))):
        monkeypatch.setattr("boxcar.records.writing.SHARD_IMAGES", images)
        monkeypatch.setattr("boxcar.records.workers.MOST_WORKERS", workers)
        data = tmp_path / f"data {run}"
        for number in range(9) if run else reversed(range(9)):
            pair(data, f"p{number}", [("b", 0, 0, 5 + 3 * number, 9), ("a", 2, 2, 60, 3 + number)][: 1 + number % 2])
        build_records(str(data), str(tmp_path / f"out {run}"))
        texts.append((tmp_path / f"out {run}" / "box_shapes.json").read_text())
    assert texts[0] == texts[1] == texts[2]
    assert len(read(tmp_path / "out 0")["train"]["b"]) > 2


def test_the_file_stays_small(tmp_path: Path) -> None:
    boxes = [("a", 0, 0, 2 + number % 61, 2 + number % 46) for number in range(2806)]
    pair(tmp_path / "data" / "train", "p0", boxes)
    label(tmp_path / "data" / "train" / "p0.xml", boxes=boxes)
    for split in ("val", "test"):
        pair(tmp_path / "data" / split, split)
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    rows = read(tmp_path / "out")["train"]["a"]
    assert sum(count for _, _, count in rows) == 2806
    assert len(rows) < 1000  # of 2,806 different boxes


def test_records_of_earlier_versions_have_none(tmp_path: Path) -> None:
    assert read_box_shapes(tmp_path) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"train": []}',
        b'{"train": {"a": 1}}',
        b'{"train": {"a": [[0.5, 0.5]]}}',
        b'{"train": {"a": [[0.5, 0.5, 0]]}}',
        b'{"train": {"a": [[0.5, 0.5, 1.5]]}}',
        b'{"train": {"a": [[0.5, 0, 1]]}}',
        b'{"train": {"a": [[1.5, 0.5, 1]]}}',
        b'{"train": {"a": [[NaN, 0.5, 1]]}}',
        b'{"train": {"a": [["x", 0.5, 1]]}}',
        b'{"train": {"a": [[0.5, 0.5, 1, 1]]}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_bad_data(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "box_shapes.json").write_bytes(content)
    with pytest.raises(BoxcarError) as error:
        read_box_shapes(tmp_path)
    assert error.value.code == 65
    assert "box_shapes.json does not list the sizes of boxes." in error.value.what
