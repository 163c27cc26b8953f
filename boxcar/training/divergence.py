"""Divergence: a loss that is not finite ends a training, or returns it to its last checkpoint with half the learning rate."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxcar.data.input_pipeline import IndexedSplit, batch_members
from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import replace_json
from boxcar.training.settings import DIVERGED, TrainingSettings
from boxcar.training.trainer import LogWindow

ROLLBACKS = "rollbacks.json"
MOST_ROLLBACKS = 3
NAMED = 16  # images that are listed one by one


class Diverged(BoxcarError):
    """Loss or weights are not finite.

    Args:
        step: the first step, counted from 1, with such a value.
        where: where it was found, as a clause for the message.
        images: the step's images by file name; only the offending ones if these are known.
    """

    def __init__(self, step: int, where: str, images: tuple[str, ...] = ()) -> None:
        more = (f"and {len(images) - NAMED} more",) if len(images) > NAMED else ()
        super().__init__(ExitCode.DATA, f"Training diverged: {where}.", DIVERGED, (*images[:NAMED], *more))
        self.at_step = step
        self.images = images


def diverged(window: LogWindow, first_step: int, split: IndexedSplit, settings: TrainingSettings) -> Diverged:
    """The error that names the images of the first step of a log window whose loss is not finite.

    Args:
        window: which began after `first_step` steps.
        split: that the images were read from.
        settings: of the training, which give each step its images.
    """
    row = window.first_unhealthy
    assert row is not None, "a loss is not finite"
    finite, size, step = window.finite[row], settings.batch_size, first_step + row
    members = batch_members(len(split), size, settings.augmentations, settings.seed, step)
    each = len(members) // size  # four if they are mosaics
    where = f"the loss is not finite at step {step + 1}"
    # With several workers each knows its own images only, which are not all of the step's.
    if len(finite) == size and not finite.all() and finite.any():
        where += f", for {size - finite.sum()} of its {size} images"
        members = [members[each * place + k] for place in np.flatnonzero(~finite) for k in range(each)]
    return Diverged(step + 1, where, tuple(dict.fromkeys(split.example(member).filename for member in members)))


@dataclass(frozen=True)
class Rollback:
    """One return to an earlier checkpoint."""

    diverged_at_step: int
    back_to_step: int
    learning_rate_scale: float  # from here on, times what the settings say
    pictures: tuple[str, ...]


def read_rollbacks(train: Path) -> list[Rollback]:
    """The rollbacks so far, oldest first."""
    try:
        entries: list[dict[str, Any]] = json.loads((train / ROLLBACKS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [Rollback(**{**entry, "pictures": tuple(entry["pictures"])}) for entry in entries]


def note_rollback(train: Path, error: Diverged, back_to_step: int) -> Rollback:
    """Records one more rollback, so that a resumed training keeps the lower learning rate.

    Raises:
        BoxcarError: 65, the divergence itself, if there were three already.
    """
    before = read_rollbacks(train)
    if len(before) == MOST_ROLLBACKS:
        error.do = f"It was rolled back {MOST_ROLLBACKS} times, with half the learning rate each time. {DIVERGED}"
        raise error
    rollback = Rollback(error.at_step, back_to_step, 0.5 ** (len(before) + 1), error.images)
    replace_json(train / ROLLBACKS, [asdict(one) for one in (*before, rollback)])
    return rollback
