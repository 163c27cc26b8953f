"""A training that starts from a whole detector: its start is a checkpoint of its own, so nothing that was known is lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from exported import write_checkpoint

from boxcar.config.run_settings import make_configuration, write_configuration
from boxcar.data.label_map import read_label_map
from boxcar.evaluation import evaluate
from boxcar.inference.specification import read_specification
from boxcar.run.checkpoints import list_checkpoints, read_scores
from boxcar.training import train
from boxcar.training.history import read_history
from boxcar.training.trainer import Trainer

SETTINGS: dict[str, Any] = {"image_size": 64, "steps": 3, "batch_size": 4, "checkpoint_interval_steps": 2, "init": "none"}

pytestmark = pytest.mark.slow

Floats = npt.NDArray[np.float32]


def train_in(run: Path, records: Path, **changes: Any) -> Path:
    """Trains a run, or resumes it."""
    if not run.exists():
        shutil.copytree(records, run / "records")
    configuration = make_configuration(None, SETTINGS | changes)
    write_configuration(run, configuration)
    train(str(run), configuration, evaluator=False)
    return run


def stored(prefix: Path, tree: str = "model") -> dict[str, Floats]:
    """The weights of a checkpoint, by name."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {
        name.removeprefix(f"{tree}/"): reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith(f"{tree}/")
    }


def check_equal(found: dict[str, Floats], wanted: dict[str, Floats]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory, shapes_records: Path) -> Path:
    """The prefix of a detector of the records' classes."""
    return write_checkpoint(
        tmp_path_factory.mktemp("old") / "train", read_label_map(shapes_records / "label_map.pbtxt"), seed=5
    )


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory, shapes_records: Path, detector: Path) -> Path:
    return train_in(tmp_path_factory.mktemp("continued") / "run", shapes_records, init=str(detector), learning_rate=1e-7)


def test_the_start_is_scored_and_can_be_chosen(continued: Path, detector: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = continued / "train"
    assert [checkpoint.step for checkpoint in list_checkpoints(folder)] == [0, 2, 3]
    check_equal(stored(folder / "ckpt-0"), stored(detector))
    assert read_specification(folder).initial_checkpoint is not None
    evaluate(str(continued))
    scores = read_scores(continued / "eval")
    assert [score["step"] for score in scores] == [0, 2, 3]
    best = max(scores, key=lambda score: (score["AP"], score["step"]))
    assert json.loads((continued / "eval" / "test.json").read_text())["step"] == best["step"]


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({1: "circle", 2: "square"}, id="new"),
        pytest.param({1: "circle", 2: "square", 3: "hexagon"}, id="renamed"),
    ],
)
def test_with_a_class_that_is_new_the_start_is_no_detector(
    labels: dict[int, str], tmp_path: Path, shapes_records: Path
) -> None:
    known = write_checkpoint(tmp_path / "old", labels, seed=5)
    run = train_in(tmp_path / "run", shapes_records, init=str(known), steps=1)
    assert [checkpoint.step for checkpoint in list_checkpoints(run / "train")] == [1]


def test_stopped_before_the_first_step_it_resumes_from_its_start(
    tmp_path: Path, shapes_records: Path, continued: Path, detector: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    settings = {"init": str(detector), "learning_rate": 1e-7}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "train", killed)
        train_in(tmp_path / "run", shapes_records, **settings)
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path / "run" / "train")] == [0]
    capfd.readouterr()
    run = train_in(tmp_path / "run", shapes_records, **settings)
    said = capfd.readouterr().err
    assert "Resuming from the checkpoint of step 0." in said and "variables" not in said
    losses = [[line["step_losses"] for line in read_history(one / "train")] for one in (run, continued)]
    assert losses[0] == losses[1]
    check_equal(stored(run / "train" / "ckpt-3"), stored(continued / "train" / "ckpt-3"))


def test_averages_come_along_and_go_on(tmp_path: Path, shapes_records: Path) -> None:
    """At a rate near zero the weights stay, and each step brings the averages nearer to them by the decay that was set."""
    old = train_in(tmp_path / "old", shapes_records, ema_decay=0.9, learning_rate=0.02) / "train" / "ckpt-3"
    new = train_in(tmp_path / "new", shapes_records, ema_decay=0.9, init=str(old), learning_rate=1e-9) / "train"
    averages, weights = stored(old), stored(old, "trained")
    check_equal(stored(new / "ckpt-0"), averages)
    check_equal(stored(new / "ckpt-0", "trained"), weights)
    name = next(name for name in averages if "_prediction_heads" in name and "pointwise_kernel" in name)
    assert np.abs(averages[name] - weights[name]).max() > 1e-4
    nearer = weights[name] + 0.81 * (averages[name] - weights[name])
    np.testing.assert_allclose(stored(new / "ckpt-2")[name], nearer, rtol=0, atol=1e-6)


def test_a_good_detector_stays_good(tmp_path: Path, shapes_records: Path) -> None:
    """Continued for 5 steps at a rate of 1e-7, it is what it was."""
    good = {"steps": 80, "batch_size": 8, "checkpoint_interval_steps": 80, "learning_rate": 0.002, "optimizer": "adamw"}
    old = train_in(tmp_path / "old", shapes_records, init="packaged", **good)
    evaluate(str(old))
    before = read_scores(old / "eval")[-1]
    assert before["AP50"] > 0.2
    last = {"steps": 5, "checkpoint_interval_steps": 5, "learning_rate": 1e-7, "optimizer": "adamw"}
    new = train_in(tmp_path / "new", shapes_records, init=str(old / "train" / "ckpt-80"), **last)
    evaluate(str(new))
    start, end = read_scores(new / "eval")
    measures = ("AP", "AP50", "AP75", "AR_100", "per_class")
    assert {name: start[name] for name in measures} == {name: before[name] for name in measures}
    assert end["AP50"] == pytest.approx(before["AP50"], abs=0.02)
