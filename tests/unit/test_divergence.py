"""A loss that is no number or that rises: the training ends, or rolls back with half its learning rate, three times at most."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError
from boxcar.run.checkpoints import list_checkpoints, read_status
from boxcar.training import loop, train
from boxcar.training.divergence import Diverged, LossWatch, note_rollback, read_rollbacks
from boxcar.training.history import read_history
from boxcar.training.trainer import LogWindow, Trainer

SETTINGS = {
    "architecture": "tiny",
    "image_size": 64,
    "steps": 30,
    "batch_size": 4,
    "checkpoint_interval_steps": 10,
    "learning_rate": 0.02,
    "on_divergence": "rollback",
    "init": "none",
}

pytestmark = pytest.mark.usefixtures("tiny")


def train_in(folder: Path, records: Path, **changes: Any) -> Path:
    shutil.copytree(records, folder / "records", dirs_exist_ok=True)
    train(str(folder), make_configuration(None, SETTINGS | changes), evaluator=False)
    return folder / "train"


def spoil(monkeypatch: pytest.MonkeyPatch, spoiled: set[int]) -> list[int]:
    """Puts an infinite box into the second image of the steps with these numbers, counted from 0, each only once."""
    read, seen = loop.training_batches, []

    class Batches:
        def __init__(self, batches: Any, step: int) -> None:
            self._batches, self._step = iter(batches), step

        def __iter__(self) -> "Batches":
            return self

        def __next__(self) -> Any:
            batch, step = next(self._batches), self._step
            self._step += 1
            if step in spoiled:
                spoiled.remove(step)
                seen.append(step)
                classes, boxes = batch["class_targets"].numpy(), batch["box_targets"].numpy()
                classes[1, 0], boxes[1, 0] = 1, np.inf
                batch = batch | {"class_targets": classes, "box_targets": boxes}
            return batch

    def spoiled_batches(*arguments: Any, first_step: int, **named: Any) -> Batches:
        return Batches(read(*arguments, first_step=first_step, **named), first_step)

    monkeypatch.setattr(loop, "training_batches", spoiled_batches)
    return seen


def test_one_bad_image_is_named_and_training_rolls_back_and_continues(
    tmp_path: Path, shapes_records: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = spoil(monkeypatch, {4, 16})
    folder = train_in(tmp_path, shapes_records)
    assert seen == [4, 16]
    first, second = read_rollbacks(folder)
    # Before the first checkpoint it returns to its first weights.
    assert (first.diverged_at_step, first.back_to_step, first.learning_rate_scale) == (5, 0, 0.5)
    assert (second.diverged_at_step, second.back_to_step, second.learning_rate_scale) == (17, 10, 0.25)
    for rollback in (first, second):
        assert len(rollback.pictures) == 1
    said = capfd.readouterr().err
    assert f"{first.pictures[0]}\n" in said
    assert "for 1 of its 4 images. Rolling back to step 0, with 0.5 times the learning rate." in said
    assert [checkpoint.step for checkpoint in list_checkpoints(folder)] == [10, 20, 30]
    history = read_history(folder)
    assert [line["step"] for line in history] == [10, 20, 30]
    assert all(np.isfinite(line["step_losses"]).all() for line in history)


@pytest.mark.slow
def test_after_the_third_rollback_it_ends(tmp_path: Path, shapes_records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Diverged) as error:
        train_in(tmp_path, shapes_records, learning_rate=1e30)
    assert error.value.code == 65
    assert "rolled back 3 times" in error.value.do
    assert [rollback.learning_rate_scale for rollback in read_rollbacks(tmp_path / "train")] == [0.5, 0.25, 0.125]


@pytest.mark.slow
def test_a_rollback_outlives_the_process(tmp_path: Path, shapes_records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after a rollback, a training resumes with the lower rate."""
    plain = train_in(tmp_path / "plain", shapes_records)
    folder = tmp_path / "killed" / "train"
    spoil(monkeypatch, {14})

    def note_and_die(*arguments: Any) -> None:
        note_rollback(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "note_rollback", note_and_die)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "killed", shapes_records)
    monkeypatch.undo()
    train_in(tmp_path / "killed", shapes_records)
    lower = read_history(folder)[-2]["learning_rate"]
    assert lower == pytest.approx(0.5 * read_history(plain)[-2]["learning_rate"])


def test_rollbacks_are_recorded(tmp_path: Path) -> None:
    assert read_rollbacks(tmp_path) == []
    for number in (1, 2, 3):
        note_rollback(tmp_path, Diverged(7 * number, "somewhere", ("a.jpg",)), number)
    assert [entry["pictures"] for entry in json.loads((tmp_path / "rollbacks.json").read_text())] == [["a.jpg"]] * 3
    with pytest.raises(BoxcarError) as error:
        note_rollback(tmp_path, Diverged(30, "somewhere"), 20)
    assert "rolled back 3 times" in error.value.do
    assert len(read_rollbacks(tmp_path)) == 3


def judged(losses: list[float], *, resumed_after: int = 0) -> Diverged | None:
    """What a watch says of a training with these losses, of which the first ones are those of an earlier start."""
    watch = LossWatch(losses[:resumed_after], len(losses))
    try:
        for step in range(resumed_after, len(losses), 10):
            window = losses[step : step + 10]
            watch.add(window)
            end = step + len(window)
            watch.check(end, at_end=end == len(losses))
    except Diverged as error:
        return error
    return None


def course(start: float, middle: float, end: float, steps: int = 60, noise: float = 0.2) -> list[float]:
    """The losses of a training that go from `start` over `middle` to `end`."""
    random = np.random.default_rng(steps)
    means = np.interp(np.arange(steps), [0, steps // 2, steps - 10], [start, middle, end])
    return (means * random.lognormal(0, noise, steps)).tolist()


@pytest.mark.parametrize("resumed_after", [0, 20, 50])
@pytest.mark.parametrize(
    ("losses", "at_step"),
    [
        (course(1.9, 16_957, 9_474_111), 10),  # far too high a rate
        (course(1.9, 300, 900), 60),  # rises all the time, but not so far
        (course(1.9, 4, 4.5), 60),
        (course(0.1, 20, 6), 60),  # from a good detector
    ],
)
def test_a_loss_that_ends_above_its_start_is_a_failure(losses: list[float], at_step: int, resumed_after: int) -> None:
    error = judged(losses, resumed_after=resumed_after)
    assert error is not None and error.code == 65
    assert error.at_step == max(at_step, resumed_after + 10 if at_step < 60 else 0)
    assert f"from {losses[0]:.2f} at first" in error.what, "a resumed training knows where it began"


@pytest.mark.parametrize(
    "losses",
    [
        course(2.8, 1.0, 0.4),
        course(2.0, 30, 1.5),  # a high rate in the middle, which falls
        course(2.0, 2.0, 2.0),  # a rate so low that nothing is learned
        course(0.05, 0.9, 0.3),  # from a good detector, on other images
        course(0.01, 0.5, 0.8, steps=400),
        [0.02, *course(1.2, 0.7, 0.5)],  # first a batch without objects
        [*course(2.0, 0.8, 0.5), 900.0, 0.5, 0.5],  # one bad batch
        [2.0, 9.0, 7.0, 8.0],  # four steps
    ],
)
def test_noise_and_a_start_from_a_good_detector_are_no_divergence(losses: list[float]) -> None:
    assert judged(losses) is None
    if len(losses) > 30:
        assert judged(losses, resumed_after=20) is None


@pytest.mark.parametrize(
    ("rate", "lower"), [(100.0, "such as 0.008"), pytest.param(0.001, "such as 0.0001", marks=pytest.mark.slow)]
)
def test_a_loss_that_rises_ends_the_training_and_names_the_rate(
    tmp_path: Path, shapes_records: Path, monkeypatch: pytest.MonkeyPatch, rate: float, lower: str
) -> None:
    done = []

    def rising(self: Trainer, batches: Any, steps: int, stopping: Any) -> LogWindow:
        done.append(steps)
        scalars = np.full((steps, len(self.scalars)), float(sum(done)), np.float32)
        return LogWindow(self.scalars, scalars, np.ones((steps, 4), np.bool_), 0.0)

    monkeypatch.setattr(Trainer, "train", rising)
    with pytest.raises(Diverged) as error:
        train_in(tmp_path, shapes_records, on_divergence="stop", learning_rate=rate)
    assert error.value.code == 65 and "at step 30" in error.value.what
    assert f"--learning-rate than {rate:g}" in error.value.do and lower in error.value.do
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path / "train")] == [10, 20], "the last one is not kept"
    status = read_status(tmp_path / "train")
    assert status is not None and status.state == "FAILED"
