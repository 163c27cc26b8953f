"""A loss that is no number: the training rolls back, halves its learning rate, and ends after the third rollback."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError
from boxcar.run.checkpoints import list_checkpoints
from boxcar.training import loop, train
from boxcar.training.divergence import Diverged, note_rollback, read_rollbacks
from boxcar.training.history import read_history

SETTINGS = {
    "image_size": 64,
    "steps": 30,
    "batch_size": 4,
    "checkpoint_interval_steps": 10,
    "learning_rate": 0.02,
    "on_divergence": "rollback",
    "init": "none",
    "freeze_backbone": True,  # less of a graph to trace; losses diverge all the same
}

pytestmark = pytest.mark.usefixtures("own_signals")


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
