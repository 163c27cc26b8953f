"""The trainer waits for an evaluator that works, and not for one that has given up."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import VERDICT
from boxcar.run.progress import Progress
from boxcar.training.backlog import wait_for_evaluator


def wait(evaluation: Path, backlogs: list[int]) -> int:
    """Waits while the backlog goes through these numbers of checkpoints; how often it was asked for."""
    asked = iter([*backlogs, *[backlogs[-1]] * 3])
    count = 0

    def unscored(_: Path) -> list[int]:
        nonlocal count
        count += 1
        return list(range(next(asked)))

    store: Any = SimpleNamespace(unscored=unscored)
    wait_for_evaluator(store, evaluation, 5, Progress("Training", 1, "step"), lambda: None)
    return count


def say(evaluation: Path, **verdict: Any) -> None:
    (evaluation / VERDICT).write_text(
        json.dumps({"state": "FAILED", "code": 69, "what": "The disk is full.", "do": "Free it."} | verdict)
    )


def test_it_waits_until_few_enough_are_left(tmp_path: Path) -> None:
    assert wait(tmp_path, [7, 7, 6, 5]) == 4


def test_an_evaluator_that_gave_up_ends_the_training_with_its_words(tmp_path: Path) -> None:
    say(tmp_path)
    assert wait(tmp_path, [5]) == 1  # nothing to wait for: training continues
    with pytest.raises(
        BoxcarError, match=r"gave up, and 6 checkpoints wait for it: The disk is full\. Free it\. Then start"
    ) as error:
        wait(tmp_path, [6])
    assert error.value.code == ExitCode.ENVIRONMENT


def test_a_finished_evaluator_is_waited_for(tmp_path: Path) -> None:
    """Its verdict may be of the training's earlier life."""
    say(tmp_path, state="DONE", code=0)
    assert wait(tmp_path, [7, 5]) == 2
