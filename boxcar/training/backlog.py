"""The backlog of the evaluator, which scores checkpoints at its own speed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.checkpoints import read_verdict
from boxcar.run.progress import Progress

if TYPE_CHECKING:
    from boxcar.training.checkpoint_store import CheckpointStore

BACKLOG_LIMIT = 5  # checkpoints that may wait for the evaluator before the trainer does
PATIENCE_SECONDS = 1800.0  # for which the evaluator may score nothing while the trainer waits for it


def wait_for_evaluator(
    store: "CheckpointStore", evaluation: Path, most: int, progress: Progress, check_stop: Callable[[], None]
) -> None:
    """Waits until at most `most` checkpoints are not scored.

    Args:
        store: whose checkpoints are scored.
        evaluation: the run's `eval/` folder.
        most: 0 waits for the last one, and counts them on `progress`.
        progress: what a person sees.
        check_stop: called repeatedly; raises if the process was asked to stop.

    Raises:
        BoxcarError: with the evaluator's code if it is a sidecar and has given up, 69 if it does not score anything for half
            an hour.
    """
    waiting = store.unscored(evaluation)
    if len(waiting) > most > 0:
        progress.say(f"{len(waiting)} checkpoints wait for the evaluator; training continues when {most} or fewer do.")
    patience = time.monotonic() + PATIENCE_SECONDS
    while len(waiting) > most:
        check_stop()
        verdict = read_verdict(evaluation)
        if verdict is not None and verdict["state"] == "FAILED":
            raise BoxcarError(
                ExitCode(verdict["code"]),
                f"The evaluator gave up, and {len(waiting)} checkpoints wait for it: {verdict['what']}",
                f"{verdict['do']} Then start the trainer and the evaluator again; both resume.",
            )
        if time.monotonic() > patience:
            raise BoxcarError(
                ExitCode.ENVIRONMENT,
                f"The evaluator scored nothing in {PATIENCE_SECONDS / 60:.0f} minutes; {len(waiting)} checkpoints wait.",
                "See why the evaluator stopped, then start it again; `boxcar train --evaluator none` trains without one.",
            )
        time.sleep(0.2)
        left = store.unscored(evaluation)
        if len(left) < len(waiting):
            patience = time.monotonic() + PATIENCE_SECONDS
            if most == 0:
                progress.advance(len(waiting) - len(left))
        waiting = left
