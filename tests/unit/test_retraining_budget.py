"""The GPU hours of retrainings, and the limit on them per month."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from retrained_model import RetrainedModel

from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.ledger import new_entry, with_hours


def interrupted(cats: RetrainedModel, gpu_hours: float) -> Path:
    """The `train` folder of a retraining that was interrupted after two GPU hours."""
    cats.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        cats.retrain(gpu_hours=gpu_hours)
    return Path(cats.entries()[-1].run) / "train"


def test_nothing_is_trained_beyond_the_months_hours(cats: RetrainedModel) -> None:
    cats.retrain(gpu_hours=2.5)
    cats.label(1)
    assert cats.retrain(gpu_hours=2.5).outcome == "promoted", "2 of 2.5 were used"
    cats.label(2)
    with pytest.raises(BoxcarError, match=r"have taken 4\.00 GPU hours in .* allows 2\.5") as raised:
        cats.retrain(gpu_hours=2.5)
    assert raised.value.code == ExitCode.STOPPED
    assert len(cats.trained) == 2 and cats.outcomes()[-1] == "failed"
    for entry in (cats.folder / "retrainings").iterdir():
        text = entry.read_text()
        month = json.loads(text)["begun_at"][:7]
        entry.write_text(text.replace(month, "2020-01"))
    assert cats.retrain(gpu_hours=2.5).outcome == "promoted", "another month"


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("how", [KeyboardInterrupt(), BoxcarError(ExitCode.DATA, "The loss is not finite.", "Lower it.")])
def test_the_hours_of_interrupted_and_failed_retrainings_count(cats: RetrainedModel, how: BaseException, new: bool) -> None:
    cats.failures = [how]
    with pytest.raises(type(how)):
        cats.retrain(gpu_hours=1)
    if new:
        cats.label(1)
    for _ in range(2):
        with pytest.raises(BoxcarError, match=r"have taken 2\.00 GPU hours in .* allows 1") as raised:
            cats.retrain(gpu_hours=1)
        assert raised.value.code == ExitCode.STOPPED
    assert len(cats.trained) == 1
    assert cats.retrain(gpu_hours=3).outcome == "promoted", "the limit was raised"


def test_hours_count_for_the_month_in_which_they_were_trained(cats: RetrainedModel) -> None:
    train = interrupted(cats, gpu_hours=1)
    long_ago = datetime(2020, 1, 31, tzinfo=UTC).timestamp()
    os.utime(train / "history.jsonl", (long_ago, long_ago))
    cats.seconds *= 3
    interrupted(cats, gpu_hours=1)
    with pytest.raises(BoxcarError, match=r"have taken 4\.00 GPU hours in"):
        cats.retrain(gpu_hours=1)
    (entry,) = cats.entries()
    assert entry.months == {"2020-01": 2.0, entry.begun_at[:7]: 4.0} and entry.gpu_hours == 6.0


def test_a_trained_run_is_compared_even_if_no_hours_are_left(cats: RetrainedModel) -> None:
    (interrupted(cats, gpu_hours=1) / "step.json").touch()
    assert cats.retrain(gpu_hours=1).outcome == "promoted"


def test_a_run_that_replaces_a_trained_one_needs_hours(cats: RetrainedModel) -> None:
    cats.retrain()
    cats.label(1)
    (interrupted(cats, gpu_hours=3) / "step.json").touch()
    cats.promote_another()
    with pytest.raises(BoxcarError, match="have taken"):
        cats.retrain(gpu_hours=3)


@pytest.mark.parametrize(
    ("history", "hours"), [('{"seconds": 1800}\n{"step": 2}\n', 1.0), ('{"seconds": null}\n[]\n{\n', 0.0), ("", 0.0)]
)
def test_lines_of_a_history_without_seconds_are_skipped(tmp_path: Path, history: str, hours: float) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "history.jsonl").write_text(history)
    assert with_hours(new_entry("one", str(tmp_path), "", None, None, None), 2).gpu_hours == hours
