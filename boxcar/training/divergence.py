"""What becomes of a training whose loss is no longer a number: it stops, or goes back and learns more slowly."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import replace_json
from boxcar.training.settings import DIVERGED

ROLLBACKS = "rollbacks.json"
MOST_ROLLBACKS = 3
NAMED = 16  # pictures that are listed one by one


class Diverged(BoxcarError):
    """Loss or weights are not finite.

    Args:
        step: the first step, counted from 1, at which that was seen.
        where: the sentence's second half.
        pictures: the step's pictures by file name, the offending ones where they are known.
    """

    def __init__(self, step: int, where: str, pictures: tuple[str, ...] = ()) -> None:
        more = (f"and {len(pictures) - NAMED} more",) if len(pictures) > NAMED else ()
        super().__init__(ExitCode.DATA, f"Training diverged: {where}.", DIVERGED, (*pictures[:NAMED], *more))
        self.at_step = step
        self.pictures = pictures


@dataclass(frozen=True)
class Rollback:
    """One return to an earlier checkpoint."""

    diverged_at_step: int
    back_to_step: int
    learning_rate_scale: float  # from here on, times what the settings say
    pictures: tuple[str, ...]


def read_rollbacks(train: Path) -> list[Rollback]:
    """The returns so far, oldest first."""
    try:
        entries: list[dict[str, Any]] = json.loads((train / ROLLBACKS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [Rollback(**{**entry, "pictures": tuple(entry["pictures"])}) for entry in entries]


def note_rollback(train: Path, error: Diverged, back_to_step: int) -> Rollback:
    """Writes down one more return, so that a killed training knows of it when it is started again.

    Raises:
        BoxcarError: 65, the divergence itself, where there were three already.
    """
    before = read_rollbacks(train)
    if len(before) == MOST_ROLLBACKS:
        error.do = f"It went back {MOST_ROLLBACKS} times with half the learning rate each time. {DIVERGED}"
        raise error
    rollback = Rollback(error.at_step, back_to_step, 0.5 ** (len(before) + 1), error.pictures)
    replace_json(train / ROLLBACKS, [asdict(one) for one in (*before, rollback)])
    return rollback
