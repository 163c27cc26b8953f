"""Training itself, a few steps at 64 px: resumed it is what it would have been, and what diverges leaves nothing behind."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from terminal import Terminal
from tiny_detector import TINY

from boxcar.config.run_settings import make_configuration, read_configuration, write_configuration
from boxcar.data.example import read_examples
from boxcar.errors import BoxcarError
from boxcar.inference.specification import SPECIFICATION, Anchors, read_specification, specification_json
from boxcar.run.checkpoints import list_checkpoints, read_status, remove_checkpoint
from boxcar.run.layout import COMMIT, CONFIGURATION, UNFINISHED
from boxcar.run.step import read_commit, require_commit
from boxcar.training import train
from boxcar.training.history import read_history

STEPS, INTERVAL = 40, 20
SETTINGS = {
    "image_size": 64,
    "steps": STEPS,
    "batch_size": 4,
    "checkpoint_interval_steps": INTERVAL,
    "learning_rate": 0.02,
    "init": "none",
    "freeze_backbone": True,  # less of a graph to trace; tests/kill/test_resume.py trains all of it
}


def make_run(folder: Path, records: Path, **changes: Any) -> Path:
    """A run's folder with records and a configuration."""
    shutil.copytree(records, folder / "records")
    write_configuration(folder, make_configuration(None, SETTINGS | changes))
    return folder


def train_in(run: Path) -> None:
    configuration = read_configuration(run)
    assert configuration is not None
    train(str(run), configuration, evaluator=False)


def names_of_training_images(run: Path) -> set[str]:
    shards = sorted((run / "records").glob("train-*.tfrecord"))
    return {example.filename for example in read_examples(shards)}


def step_losses(run: Path) -> list[float]:
    """The loss of every step."""
    return [loss for line in read_history(run / "train") for loss in line["step_losses"]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shapes_records: Path) -> Path:
    run = make_run(tmp_path_factory.mktemp("undisturbed") / "run", shapes_records)
    train_in(run)
    return run


def test_a_training_leaves_checkpoints_history_and_its_word(undisturbed: Path) -> None:
    folder = undisturbed / "train"
    assert [checkpoint.step for checkpoint in list_checkpoints(folder)] == [20, 40]
    history = read_history(folder)
    assert [line["step"] for line in history] == [10, 20, 30, 40]
    assert history[-1]["loss"] < history[0]["loss"]
    for line in history:
        parts = sum(line[f"{part}_loss"] for part in ("classification", "localization", "regularization"))
        assert line["loss"] == pytest.approx(parts, rel=1e-5)
        assert line["loss"] == pytest.approx(np.mean(line["step_losses"]), rel=1e-5)
        assert 0 <= line["input_wait_share"] <= 1
    assert history[-1]["learning_rate"] < history[0]["learning_rate"] * 0.1
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.step, status.last_checkpoint) == ("DONE", 40, 40)
    committed = require_commit(folder, "train")
    assert {"detector.json", "history.jsonl", "status.json", "ckpt-40.json", "ckpt-40.index"} <= set(committed.files)
    version = json.loads((undisturbed / "records" / "dataset.json").read_text())["version"]
    assert {checkpoint.dataset_version for checkpoint in list_checkpoints(folder)} == {version}
    # Shapes are small at 64 pixels.
    assert json.loads((folder / "detector.json").read_text())["anchors"]["anchor_scale"] == 2.0


def test_a_finished_training_is_left_alone(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "train").iterdir()}
    train_in(undisturbed)
    assert before == {path: path.stat().st_mtime_ns for path in (undisturbed / "train").iterdir()}


def test_other_settings_are_refused_and_the_runs_own_are_kept(undisturbed: Path) -> None:
    before = (undisturbed / CONFIGURATION).read_bytes()
    command = [sys.executable, "-m", "boxcar", "train", "--run", str(undisturbed), "--steps", "99"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 64, refused.stderr
    assert "steps was 40 and is now 99" in refused.stderr.splitlines()[-1]
    assert (undisturbed / CONFIGURATION).read_bytes() == before


def test_stopped_by_sigterm_and_resumed_it_is_what_it_would_have_been(
    tmp_path: Path, shapes_records: Path, undisturbed: Path
) -> None:
    run = make_run(tmp_path / "run", shapes_records)
    command = [sys.executable, "-m", "boxcar", "train", "--run", str(run), "--evaluator", "none"]
    with Terminal(command) as terminal:
        until = time.monotonic() + 120
        while not read_history(run / "train"):
            assert terminal.process.poll() is None, terminal.text
            assert time.monotonic() < until
            time.sleep(0.01)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(timeout=60) == 75, terminal.text
    steps = [checkpoint.step for checkpoint in list_checkpoints(run / "train")]
    assert 10 <= steps[-1] < 30, "it stopped at once, with a checkpoint"
    assert f"Stopped at step {steps[-1]} of 40" in terminal.text.splitlines()[-1]
    loading = [bar for bar in terminal.bars if bar.endswith("starting TensorFlow")]
    assert len({re.findall(r"elapsed (\S+)", bar)[0] for bar in loading}) > 1, "the clock runs while TensorFlow is loaded"
    assert any(re.search(rf" {steps[-1]}/40 .* loss ", bar) for bar in terminal.bars), "and the steps are counted"
    assert json.loads((run / "failure.json").read_text())["code"] == 75
    assert read_commit(run / "train", "train") is None
    # Half a line and a checkpoint without its marker, as a kill a moment later might leave them.
    with (run / "train" / "history.jsonl").open("a") as file:
        file.write('{"step": 39, "lo')
    (run / "train" / "ckpt-39.index").write_bytes(b"half")

    train_in(run)
    assert step_losses(run) == step_losses(undisturbed)
    assert {20, 40} <= {checkpoint.step for checkpoint in list_checkpoints(run / "train")}


@pytest.mark.slow
def test_a_training_goes_on_with_the_anchors_that_it_was_started_with(tmp_path: Path, undisturbed: Path) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    folder = run / "train"
    remove_checkpoint(folder, 40)
    committed = json.loads((folder / COMMIT).read_text())
    (folder / UNFINISHED).write_text(json.dumps({key: committed[key] for key in ("step", "inputs", "parameters")}))
    (folder / COMMIT).unlink()
    specification = read_specification(folder).model_copy(update={"anchors": Anchors(anchor_scale=2.5)})
    (folder / SPECIFICATION).write_text(specification_json(specification))
    train_in(run)
    assert read_specification(folder) == specification
    assert step_losses(run)[:20] == step_losses(undisturbed)[:20]
    assert step_losses(run)[20] != step_losses(undisturbed)[20]


@pytest.mark.parametrize("changes", [{"learning_rate": 1e30}], ids=["learning rate"])
def test_what_diverges_ends_with_65_and_leaves_no_broken_checkpoint(
    tmp_path: Path, shapes_records: Path, tiny: str, changes: dict[str, Any]
) -> None:
    import tensorflow as tf

    run = make_run(tmp_path / "run", shapes_records, architecture=tiny, checkpoint_interval_steps=5, **changes)
    with pytest.raises(BoxcarError, match=r"diverged.* loss is not finite at step \d+\.") as error:
        train_in(run)
    assert error.value.code == 65
    assert "--learning-rate" in error.value.do
    # No image is more to blame than another: all of the step's are named.
    assert 1 <= len(error.value.details) <= 4
    assert set(error.value.details) <= names_of_training_images(run)
    assert "--resume" not in error.value.do, "another learning rate is another run"
    for checkpoint in list_checkpoints(run / "train"):
        reader = tf.train.load_checkpoint(str(checkpoint.prefix))
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            assert isinstance(value, bytes) or np.isfinite(value).all(), (checkpoint.step, name)
    status = read_status(run / "train")
    assert status is not None
    assert status.state == "FAILED"
    assert not list((run / "train").glob("ckpt-*.index")), "the first loop of ten steps is broken already"


def test_weights_that_are_not_finite_are_never_a_checkpoint(tmp_path: Path) -> None:
    """The loss alone does not tell: moving statistics have no part in it."""
    import tf_keras

    from boxcar.inference.specification import Specification
    from boxcar.training.checkpoint_store import CheckpointStore

    network = TINY.build(Specification(architecture=TINY.name, image_size=64, labels={1: "a"}), 0.9, False)
    store = CheckpointStore(tmp_path, network, tf_keras.optimizers.SGD(), {}, "version")
    store.save(1)
    variance = next(variable for name, variable in network.variables_by_name().items() if name.endswith("moving_variance"))
    variance.assign(variance * np.inf)
    with pytest.raises(BoxcarError, match=r"step 2, .*moving_variance") as error:
        store.save(2)
    assert error.value.code == 65
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path)] == [1]
    assert not list(tmp_path.rglob("ckpt-2*"))


def test_without_records_it_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(BoxcarError, match="records") as error:
        train(str(tmp_path), make_configuration(None, SETTINGS))
    assert error.value.code == 64
    assert not list(tmp_path.iterdir())
