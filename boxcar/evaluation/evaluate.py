"""The evaluate step: scores every checkpoint once, oldest first, while training goes on or after it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxcar.detectors.specification import SPECIFICATION, read_specification
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.checkpoints import Checkpoint, Status, append_score, best_score, list_checkpoints, read_scores, read_status
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, Step, begun_identity, require_commit
from boxcar.storage import local_path, replace_json

if TYPE_CHECKING:
    from boxcar.evaluation.scorer import Scorer

POLL_SECONDS = 0.5
SILENCE_SECONDS = 300.0  # for which the trainer may say nothing before it counts as dead
EXAMPLES = 12  # test pictures whose detections the report draws


def evaluate(run: str) -> Committed:
    """Scores the checkpoints in `<run>/train` on the validation split until training is DONE and the last one is scored.

    Appends a line for each to `<run>/eval/scores.jsonl`, writes TensorBoard's `eval` run, and at the end scores the chosen
    checkpoint (highest AP) on the test split into `<run>/eval/test.json`. Started again, it goes on where it was.

    Raises:
        BoxcarError: 64 without records or training, or where the scores there are another training's; 65 where a checkpoint
            is missing or does not fit; 69 where training failed, or its trainer says nothing for 5 minutes.
    """
    folder = local_path(run)
    records = require_commit(folder / "records", "records")
    train_folder = folder / "train"
    if not train_folder.is_dir():
        raise BoxcarError(ExitCode.USAGE, f"{folder} holds no training.", "Run `boxcar train` with the same --run first.")
    watch = _Watch(train_folder)
    while (training := begun_identity(train_folder, "train")) is None:
        watch.wait()
    inputs = {"records": records.digest, "training": training}
    step = Step("evaluate", folder / "eval", inputs=inputs, parameters={}, resumable=True)
    finished = step.done()
    if finished is not None:
        return finished
    with step.writing():
        scorer = _score_all(records.folder, train_folder, step.folder, watch)
        _score_chosen(scorer, records.folder, train_folder, step.folder)
    return require_commit(step.folder, "evaluate")


def _score_all(records: Path, train: Path, evaluation: Path, watch: "_Watch") -> "Scorer":
    """Follows the trainer to its end."""
    while not (train / SPECIFICATION).exists():
        watch.wait()

    from boxcar.evaluation.board import Board
    from boxcar.evaluation.scorer import Scorer

    scorer = Scorer(read_specification(train))
    validation = scorer.load(records, "validation")
    before = len(read_scores(evaluation))
    with Board(evaluation) as board, Progress("Evaluating", before, "checkpoints") as progress:
        progress.go_on_from(before)
        while True:
            # Looked at before the listing: a checkpoint that is written in between is then found in the next round.
            status = watch.look()
            scored = {score["step"] for score in read_scores(evaluation)}
            waiting = [checkpoint for checkpoint in list_checkpoints(train) if checkpoint.step not in scored]
            if waiting:
                line = _score(scorer, waiting[0], validation)
                board.scalars(line)  # first: a scalar twice is a dot on a dot, one that is lost is lost for good
                append_score(evaluation, line)
                progress.total = len(scored) + len(waiting)
                progress.advance(1, f"AP50 {line['AP50'] or 0:.3f} at step {line['step']}")
            elif status is not None and status.state == "DONE":
                if status.last_checkpoint in scored:
                    return scorer
                raise BoxcarError(
                    ExitCode.DATA,
                    f"The last checkpoint, of step {status.last_checkpoint}, is missing in {train}.",
                    "Run `boxcar train` again; it goes on from the newest checkpoint there is.",
                )
            else:
                watch.wait()


def _score(scorer: "Scorer", checkpoint: Checkpoint, pictures: Any) -> dict[str, Any]:
    started = time.monotonic()
    scorer.restore(checkpoint)
    scores, _ = scorer.score(pictures)
    return {"step": checkpoint.step, **scores, "seconds": round(time.monotonic() - started, 2)}


def _score_chosen(scorer: "Scorer", records: Path, train: Path, evaluation: Path) -> None:
    """`test.json`: the chosen checkpoint on pictures that had no say in choosing it."""
    best = best_score(read_scores(evaluation))
    assert best is not None, "the last checkpoint was scored"
    chosen = next((checkpoint for checkpoint in list_checkpoints(train) if checkpoint.step == best["step"]), None)
    if chosen is None:
        raise BoxcarError(
            ExitCode.DATA,
            f"The checkpoint of step {best['step']}, which scored best, is missing in {train}.",
            "Put it back, or start another run.",
        )
    scorer.restore(chosen)
    pictures = scorer.load(records, "test")
    scores, detections = scorer.score(pictures)
    examples = [
        {
            "sha256": example.sha256,
            "detections": [
                {
                    "box": [round(float(value), 5) for value in box],
                    "score": round(float(score), 4),
                    "class": scorer.specification.labels.get(int(label), str(label)),
                    "id": int(label),
                }
                for box, score, label in zip(found.boxes, found.scores, found.classes, strict=True)
                if score >= 0.1
            ],
        }
        for example, found in list(zip(pictures.examples, detections, strict=True))[:EXAMPLES]
    ]
    replace_json(
        evaluation / "test.json",
        {"step": chosen.step, "split": "test", "pictures": len(pictures.examples), **scores, "examples": examples},
    )


class _Watch:
    """Tells a trainer that works from one that failed or died, without comparing two machines' clocks."""

    def __init__(self, train: Path) -> None:
        self._train = train
        self._last: Status | None = None
        self._words = 0  # changes of the status since we look; what stood there before may be of an earlier life
        self._heard = time.monotonic()

    def look(self) -> Status | None:
        """The trainer's status."""
        status = read_status(self._train)
        if status != self._last:
            self._words += self._last is not None
            self._last, self._heard = status, time.monotonic()
        return status

    def wait(self) -> None:
        """Waits a moment, with nothing to score, for the trainer's next word.

        Raises:
            BoxcarError: 69 where training has failed, or was silent for too long.
        """
        status = self.look()
        failed = status is not None and status.state == "FAILED" and self._words > 0
        if failed or time.monotonic() - self._heard > SILENCE_SECONDS:
            reason = "Training failed" if failed else f"The trainer has said nothing for {SILENCE_SECONDS / 60:.0f} minutes"
            raise BoxcarError(
                ExitCode.SURROUNDINGS,
                f"{reason}; the checkpoints so far are scored.",
                "See its own last words, then run `boxcar train` again; evaluation goes on where it was.",
            )
        time.sleep(POLL_SECONDS)
