"""A run that ends early, one that uses its records, and both of them brought to their end."""

import json
from pathlib import Path

import pytest
from command import boxcar, done

from boxcar.run.checkpoints import read_scores
from boxcar.run.step import require_commit


def run(output: Path, source: tuple[str, str], *options: str) -> str:
    settings = ["--image-size", "64", "--steps", "4", "--init", "none", "--formats", "tflite_float32", "--seed", "3"]
    said = done("run", *source, "--output", str(output), *settings, *options)
    assert not (output / "failure.json").exists()
    return said


@pytest.fixture
def first(tmp_path: Path, shapes_records: Path) -> Path:
    """A run that ended after its records."""
    output = tmp_path / "first"
    assert f"{output}/records" in run(output, ("--data", str(shapes_records.parent / "pictures")), "--until", "records")
    return output


def test_a_run_ends_after_its_records(first: Path) -> None:
    require_commit(first / "records", "records")
    assert not (first / "train").exists()


@pytest.mark.slow
def test_records_of_one_run_serve_another_and_each_ends_where_it_was_asked_to(tmp_path: Path, first: Path) -> None:
    second = tmp_path / "second"
    records = require_commit(first / "records", "records")
    taken = ("--records", str(first / "records"))
    assert f"{second}/export/saved_model" in run(second, taken, "--until", "freeze")
    assert require_commit(second / "records", "records").digest == records.digest
    for folder, step in (("train", "train"), ("eval", "evaluate"), ("export/saved_model", "freeze")):
        require_commit(second / folder, step)
    assert not (second / "export" / "step.json").exists()
    assert not (second / "run.json").exists()

    refused = boxcar("run", *taken, "--output", str(second), "--steps", "4", "--image-size", "64", "--seed", "3")
    assert refused.returncode == 64
    assert "--resume" in refused.stderr
    frozen = require_commit(second / "export" / "saved_model", "freeze").digest
    trained = (second / "train" / "step.json").read_bytes()
    run(second, taken, "--resume")
    assert json.loads((second / "run.json").read_text())["scores"]["AP50"] is not None
    assert require_commit(second / "export" / "saved_model", "freeze").digest == frozen
    assert (second / "train" / "step.json").read_bytes() == trained  # nothing was done twice
    assert "nothing was done" in run(second, taken)

    third = tmp_path / "third"
    onward = ("run", "--from", str(second), "--output", str(third))
    done(*onward, "--steps", "2")
    best = json.loads((second / "eval" / "test.json").read_text())["step"]
    before = next(score for score in read_scores(second / "eval") if score["step"] == best)
    start = read_scores(third / "eval")[0]
    assert start["step"] == 0
    assert {name: start[name] for name in ("AP", "AP50", "AR_100", "per_class")} == {
        name: before[name] for name in ("AP", "AP50", "AR_100", "per_class")
    }
    assert "nothing was done" in done(*onward, "--steps", "2")


@pytest.mark.parametrize("config", [False, True])
def test_images_and_records_exclude_each_other(tmp_path: Path, shapes_records: Path, config: bool) -> None:
    (tmp_path / "config.yaml").write_text(f"data: {tmp_path}\n")
    data = ("--config", str(tmp_path / "config.yaml")) if config else ("--data", str(tmp_path))
    refused = boxcar("run", *data, "--records", str(shapes_records), "--output", str(tmp_path / "run"))
    assert refused.returncode == 64
    assert "--data" in refused.stderr and "--records" in refused.stderr
    assert not (tmp_path / "run" / "records").exists()
