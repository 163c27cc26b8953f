"""The evaluate step: scores every checkpoint once, oldest first, during training or after it."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxcar.data.own_names import own_name
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.detections import Detections
from boxcar.inference.drawing import SHOWN_SCORE
from boxcar.inference.specification import SPECIFICATION, Specification, read_specification
from boxcar.run.checkpoints import (
    Status,
    append_score,
    best_score,
    list_checkpoints,
    peak_memory_bytes,
    read_scores,
    read_status,
)
from boxcar.run.layout import COMMIT, CONFUSION, CURVES, DATASET, EVAL, RECORDS, TEST_SCORES, TRAIN, VERDICT
from boxcar.run.memory import memory_errors
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, Step, require_commit, started_identity
from boxcar.scoring import confusion_matrix, precision_recall_curves
from boxcar.scoring.matching import IOU
from boxcar.storage import replace_json
from boxcar.storage.cache import uri_of
from boxcar.sync.mirror import Mirror

if TYPE_CHECKING:
    from boxcar.evaluation.scorer import ScoredSplit, Scorer
    from boxcar.evaluation.summaries import SummaryWriter

POLL_SECONDS = 0.5
SILENCE_SECONDS = 300.0  # without a heartbeat, after which the trainer counts as dead
EXAMPLES = 12  # test images whose detections the report draws


def evaluate(run: str, *, sidecar: bool = False) -> Committed:
    """Scores the checkpoints in `<run>/train` on the validation split until training is DONE and the last one is scored.

    Appends a line for each checkpoint to `<run>/eval/scores.jsonl`, writes TensorBoard's `eval` run, and at the end scores the
    chosen checkpoint (highest AP) on the test split into `<run>/eval/test.json`, `confusion.json`, and `curves.json`. Started
    again, it resumes. It hides the GPUs from TensorFlow, so it needs its own process.

    Args:
        run: URI of the run's folder.
        sidecar: whether it is started with the trainer or before it. It then waits without a limit for records, a training,
            and the trainer's first heartbeat.

    Raises:
        BoxcarError: 64 without records or training, or if the scores or the records there are of another training; 65 if a
            checkpoint is missing or does not fit; 69 if memory runs out, training failed, or its trainer has no heartbeat for 5
            minutes.
    """
    folder = Mirror(run).folder
    train_folder = folder / TRAIN
    watch = _Watch(train_folder, patient=sidecar)
    while sidecar and not ((folder / RECORDS / COMMIT).exists() and train_folder.is_dir()):
        watch.wait()
    records = require_commit(folder / RECORDS, "records")
    if not train_folder.is_dir():
        raise BoxcarError(ExitCode.USAGE, f"{uri_of(folder)} contains no training.", "Run `boxcar train` on it first.")
    while (training := started_identity(train_folder, "train")) is None:
        watch.wait()
    inputs = {"records": records.digest, "training": training}
    step = Step("evaluate", folder / EVAL, inputs=inputs, parameters={}, resumable=True)
    finished = step.done()
    if finished is not None:
        return finished
    # The verdict of an earlier sidecar is no longer valid, and must not become a file of this step.
    (step.folder / VERDICT).unlink(missing_ok=True)
    with step.writing():
        while not (train_folder / SPECIFICATION).exists():
            watch.wait()

        import tensorflow as tf

        from boxcar.evaluation.scorer import Scorer
        from boxcar.evaluation.summaries import SummaryWriter

        # The trainer needs all of a GPU's memory.
        tf.config.set_visible_devices([], "GPU")
        specification = read_specification(train_folder)
        _check_records(records.folder, specification)
        with memory_errors("Evaluation"), SummaryWriter(step.folder) as summaries:
            scorer = Scorer(specification)
            _score_all(scorer, records.folder, train_folder, step.folder, watch, summaries)
            _score_chosen(scorer, records.folder, train_folder, step.folder, summaries)
    return require_commit(step.folder, "evaluate")


def _check_records(records: Path, specification: Specification) -> None:
    """Refuses records that the training did not read: their classes may have other ids."""
    version = json.loads((records / DATASET).read_text(encoding="utf-8"))["version"]
    if specification.dataset_version not in (None, version):
        raise BoxcarError(
            ExitCode.USAGE,
            f"{uri_of(records)} was made again after training: it has data version {version[:12]}, and the checkpoints were "
            f"trained on {str(specification.dataset_version)[:12]}.",
            "Restore the records that the run was trained on, or train again in another run.",
        )


def _score_all(
    scorer: "Scorer", records: Path, train: Path, evaluation: Path, watch: "_Watch", summaries: "SummaryWriter"
) -> None:
    """Scores checkpoints until training has ended."""
    from boxcar.evaluation.panels import Panels

    validation = scorer.load(records, "validation")
    panels = Panels(validation.shards, validation.truths, scorer.specification.labels)
    before = len(read_scores(evaluation))
    with Progress("Evaluating", before, "checkpoints") as progress:
        progress.resume_from(before)
        while True:
            # Before the listing, so that a checkpoint that is written in between is found in the next round.
            status = watch.look()
            scored = {score["step"] for score in read_scores(evaluation)}
            waiting = [checkpoint for checkpoint in list_checkpoints(train) if checkpoint.step not in scored]
            if waiting:
                checkpoint, started = waiting[0], time.monotonic()
                try:
                    scorer.restore(checkpoint)
                except BoxcarError:
                    if checkpoint in list_checkpoints(train):
                        raise
                    continue  # it was removed between the listing and the reading
                scores, found = scorer.score(validation)
                line = {"step": checkpoint.step, **scores, "seconds": round(time.monotonic() - started, 2)}
                # The summaries first: after a kill they are written again, and TensorBoard shows them once.
                summaries.scalars(line)
                summaries.images(checkpoint.step, panels.draw(found))
                append_score(evaluation, line | {"memory_bytes": peak_memory_bytes()})
                progress.total = len(scored) + len(waiting)
                ap50 = "no score without labeled objects" if line["AP50"] is None else f"validation AP50 {line['AP50']:.3f}"
                progress.advance(1, f"{ap50} at step {line['step']}")
            elif status is not None and status.state == "DONE":
                if status.last_checkpoint in scored:
                    return
                raise BoxcarError(
                    ExitCode.DATA,
                    f"The last checkpoint, of step {status.last_checkpoint}, is missing in {uri_of(train)}.",
                    "Run `boxcar train` again; it resumes from the newest checkpoint.",
                )
            else:
                watch.wait()


def _score_chosen(scorer: "Scorer", records: Path, train: Path, evaluation: Path, summaries: "SummaryWriter") -> None:
    """Scores the chosen checkpoint on the test split: `test.json`, `confusion.json`, and `curves.json`."""
    from boxcar.evaluation.panels import draw_confusion

    best = best_score(read_scores(evaluation))
    assert best is not None, "the last checkpoint was scored"
    chosen = next((checkpoint for checkpoint in list_checkpoints(train) if checkpoint.step == best["step"]), None)
    if chosen is None:
        raise BoxcarError(
            ExitCode.DATA,
            f"The checkpoint of step {best['step']}, which scored best, is missing in {uri_of(train)}.",
            "Restore it, or start another run.",
        )
    scorer.restore(chosen)
    labels = scorer.specification.labels
    images = scorer.load(records, "test")
    scores, detections = scorer.score(images)

    names = dict(zip(sorted(labels), scores["per_class"], strict=True))  # the scores' names are unique
    curves_by_name = {
        names[label]: curve for label, curve in precision_recall_curves(images.truths, detections, labels).items()
    }
    summaries.curves(chosen.step, {name: curve for name, curve in curves_by_name.items() if curve.truths})
    counts = confusion_matrix(images.truths, detections, labels, SHOWN_SCORE)
    title = f"Test images, step {chosen.step}:\nscore {SHOWN_SCORE} or more, IoU {IOU} or more"
    summaries.confusion(chosen.step, draw_confusion(counts, list(names.values()), title))
    origin = {"step": chosen.step, "split": "test", "iou": IOU}
    labeled = {"labels": [*names.values(), own_name("background", names.values())], "counts": counts.tolist()}
    replace_json(evaluation / CONFUSION, {**origin, "min_score": SHOWN_SCORE, **labeled})
    rows = {
        name: {
            "boxes": curve.truths,
            "precision": curve.precision.round(4).tolist(),
            "recall": curve.recall.round(4).tolist(),
        }
        for name, curve in curves_by_name.items()
    }
    replace_json(evaluation / CURVES, {**origin, "per_class": rows})
    replace_json(
        evaluation / TEST_SCORES,
        {
            "step": chosen.step,
            "split": "test",
            "pictures": len(images.truths),
            **scores,
            "examples": _examples(images, detections, labels),
        },
    )


def _examples(images: "ScoredSplit", detections: Sequence[Detections], labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """The detections in the first images, for the report to draw."""
    return [
        {
            "sha256": sha256,
            "detections": [
                {
                    "box": [round(float(value), 5) for value in box],
                    "score": round(float(score), 4),
                    "class": labels[int(label)],
                    "id": int(label),
                }
                for box, score, label in zip(found.boxes, found.scores, found.classes, strict=True)
                if score >= 0.1
            ],
        }
        for sha256, found in list(zip(images.hashes, detections, strict=True))[:EXAMPLES]
    ]


class _Watch:
    """Distinguishes a trainer that works from one that failed or died, without comparing the clocks of two machines.

    Args:
        train: the run's `train/` folder.
        patient: whether to wait without a limit for the trainer's first heartbeat.
    """

    def __init__(self, train: Path, patient: bool) -> None:
        self._train, self._patient = train, patient
        self._last: Status | None = None
        self._changes = 0  # of the status; an earlier trainer may have written the first one
        self._looked = False
        self._changed_at = time.monotonic()

    def look(self) -> Status | None:
        """The trainer's status."""
        status = read_status(self._train)
        if status != self._last:
            self._changes += self._looked
            self._last, self._changed_at = status, time.monotonic()
        self._looked = True
        return status

    def wait(self) -> None:
        """Waits a moment for something to score.

        Raises:
            BoxcarError: 69 if training has failed, or its heartbeat has stopped.
        """
        status = self.look()
        failed = status is not None and status.state == "FAILED" and self._changes > 0
        silent = time.monotonic() - self._changed_at > SILENCE_SECONDS and (self._changes > 0 or not self._patient)
        if failed or silent:
            reason = "Training failed" if failed else f"The trainer has had no heartbeat for {SILENCE_SECONDS / 60:.0f} minutes"
            raise BoxcarError(
                ExitCode.ENVIRONMENT,
                f"{reason}; the checkpoints so far are scored.",
                "See the trainer's last log lines, then run `boxcar train` again; evaluation resumes.",
            )
        time.sleep(POLL_SECONDS)
