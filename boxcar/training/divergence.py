"""Divergence: a loss that is not finite, or that explodes, ends a training, or returns it to its last checkpoint with half the
learning rate. So does a loss that ends above where it began."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
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

# An untrained detector has a loss of 1.8 to 2.8. A training that starts from a good one starts far below that, and may end a
# little above its start without having lost anything.
UNTRAINED_LOSS = 1.5
RISEN, EXPLODED = 1.25, 1000.0  # times the loss at the start
SMOOTHED = 10  # losses of single steps, whose median is compared
FEWEST_STEPS = 2 * SMOOTHED  # of a training that is judged by its end: in a shorter one, most steps are warm-up


class Diverged(BoxcarError):
    """Loss or weights are not finite, or the loss has risen too far.

    Args:
        step: the first step, counted from 1, that shows it.
        where: where it was found, as a clause for the message.
        images: the step's images by file name; only the offending ones if these are known.
    """

    def __init__(self, step: int, where: str, images: tuple[str, ...] = ()) -> None:
        more = (f"and {len(images) - NAMED} more",) if len(images) > NAMED else ()
        super().__init__(ExitCode.DATA, f"Training diverged: {where}.", DIVERGED, (*images[:NAMED], *more))
        self.at_step = step
        self.images = images


class LossWatch:
    """Tells from the losses of a training, which are finite, that it has failed.

    Training begins with the loss of the first step, because no update has changed it: with a rate that is far too high, the
    second one is many times as large. It counts as 1.5 if it is lower, somewhat less than the loss of an untrained detector. So
    neither a good detector, whose loss may well end somewhat higher, nor a first batch without objects sets a measure that
    noise exceeds. The present loss is the median of the last ten steps, which single bad batches do not move.

    A thousand times the first loss ends a training at once. Smaller rises in the middle of a training mean nothing, because
    the learning rate has yet to fall. At the end, one and a quarter times the first loss is a failure: a training that learns
    something ends well below it, and one that learns nothing, at a rate near zero, differs by less than that. A training of
    fewer than 20 steps is mostly warm-up and is not judged by its end.

    Args:
        earlier: the losses of the steps before, from the first one on, if the training is resumed.
        steps: of the whole training.
    """

    def __init__(self, earlier: Iterable[float], steps: int) -> None:
        self._steps = steps
        self._start: float | None = None
        self._recent = deque[float](maxlen=SMOOTHED)
        self.add(earlier)

    def add(self, losses: Iterable[float]) -> None:
        """Adds the losses of the next steps."""
        for loss in losses:
            self._start = loss if self._start is None else self._start
            self._recent.append(loss)

    def forget(self) -> None:
        """Forgets the last steps, because training has gone back to an earlier one."""
        self._recent.clear()

    def check(self, step: int, *, at_end: bool) -> None:
        """Judges the losses up to a step, of which there must be one.

        Raises:
            Diverged: the loss has exploded, or training ends here and the loss has risen.
        """
        assert self._start is not None, "a step was trained"
        factor = RISEN if at_end and self._steps >= FEWEST_STEPS else EXPLODED
        now = median(self._recent)
        if now > factor * max(self._start, UNTRAINED_LOSS):
            raise Diverged(step, f"the loss has risen from {_number(self._start)} at first to {_number(now)} at step {step}")


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


def _number(loss: float) -> str:
    return f"{loss:.2f}" if loss < 100 else f"{loss:,.0f}" if loss < 1e9 else f"{loss:.3g}"


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
        error.do = f"It was rolled back {MOST_ROLLBACKS} times, with half the learning rate each time. {error.do}"
        raise error
    rollback = Rollback(error.at_step, back_to_step, 0.5 ** (len(before) + 1), error.images)
    replace_json(train / ROLLBACKS, [asdict(one) for one in (*before, rollback)])
    return rollback
