"""Splits without an object: what cannot be learned is refused before training, and what cannot be measured is said."""

import hashlib
import json
from pathlib import Path

import pytest
from labelled import Box, pair

from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.local.step_chain import run_all
from boxcar.records import build_records, summary_lines, take_records
from boxcar.run.checkpoints import best_score, has_stalled
from boxcar.run.step import Step
from boxcar.training import check_training

CAT: list[Box] = [("cat", 8, 6, 40, 30)]


def in_folders(root: Path, **boxes: list[Box]) -> Path:
    """Three images in each folder, with these boxes."""
    for split, each in boxes.items():
        for number in range(3):
            pair(root / split, f"{split}{number}", each)
    return root


def refused(error: pytest.ExceptionInfo[BoxcarError]) -> None:
    assert error.value.code is ExitCode.DATA
    assert "train split" in error.value.what and "contains an object" in error.value.what


@pytest.mark.parametrize("elsewhere", [("validation", "test"), ("test",), ("validation",)])
def test_a_train_split_without_objects_gives_no_records(tmp_path: Path, elsewhere: tuple[str, ...]) -> None:
    boxes = {split: CAT if split in elsewhere else [] for split in ("train", "validation", "test")}
    with pytest.raises(BoxcarError) as error:
        build_records(str(in_folders(tmp_path / "data", **boxes)), str(tmp_path / "out"))
    refused(error)
    assert all(f"{split} (3)" in error.value.what for split in elsewhere)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_train_split_that_a_held_out_test_split_empties_gives_no_records(tmp_path: Path) -> None:
    in_folders(tmp_path / "data", train=[])
    labeled = pair(tmp_path / "data" / "train", "labeled", CAT)
    held_out = tmp_path / "frozen-test.txt"
    held_out.write_text(f"{hashlib.sha256(labeled.read_bytes()).hexdigest()}  labeled.jpg\n")
    with pytest.raises(BoxcarError) as error:
        build_records(str(tmp_path / "data"), str(tmp_path / "out"), frozen_test=str(held_out))
    refused(error)


def test_a_run_ends_before_training_and_needs_no_resume(tmp_path: Path) -> None:
    data = in_folders(tmp_path / "data", train=[], validation=CAT, test=CAT)
    configuration = make_configuration(None, {"data": str(data), "init": "none", "image_size": 64})
    for _ in range(2):
        with pytest.raises(BoxcarError) as error:
            run_all(configuration, str(tmp_path / "run"), resume=False)
        refused(error)
    assert not (tmp_path / "run" / "train").exists()


def test_records_of_an_earlier_version_are_refused_too(tmp_path: Path) -> None:
    boxes = dict.fromkeys(("train", "validation", "test"), CAT)
    records = build_records(str(in_folders(tmp_path / "data", **boxes)), str(tmp_path / "run" / "records")).folder
    dataset = json.loads((records / "dataset.json").read_text())
    dataset["splits"]["train"]["boxes"] = 0
    (records / "dataset.json").write_text(json.dumps(dataset))
    Step("records", records, {}, {}).commit()
    with pytest.raises(BoxcarError) as error:
        take_records(str(records), str(tmp_path / "other"))
    refused(error)
    with pytest.raises(BoxcarError) as error:
        check_training(str(tmp_path / "run"), make_configuration(None, {"init": "none", "image_size": 64}))
    refused(error)


@pytest.mark.parametrize(("empty", "words"), [("validation", "no checkpoint has a score"), ("test", "accuracy")])
def test_what_cannot_be_measured_is_said_when_the_records_are_made(tmp_path: Path, empty: str, words: str) -> None:
    boxes = dict.fromkeys(("train", "validation", "test"), CAT) | {empty: []}
    made = build_records(str(in_folders(tmp_path / "data", **boxes)), str(tmp_path / "out"))
    warning = next(line for line in summary_lines(made.folder) if line.startswith("Warning"))
    assert f"{empty} split" in warning and words in warning


def test_checkpoints_without_a_score_do_not_end_training_early_and_the_last_one_is_chosen() -> None:
    unknown = [{"step": step, "AP": None} for step in range(0, 200, 10)]
    assert not has_stalled(unknown, 6)
    best = best_score(unknown)
    assert best is not None and best["step"] == 190
    # A detector that finds nothing, on the other hand, has a score.
    assert has_stalled([{**score, "AP": 0.0} for score in unknown], 6)
