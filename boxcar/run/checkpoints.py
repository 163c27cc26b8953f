"""The protocol of trainer and evaluator. They communicate only through files in the run's folder.

The trainer writes `train/ckpt-<step>.index`, `.data-*`, and last the marker `train/ckpt-<step>.json`. A checkpoint without
its marker does not exist. `train/status.json` contains the state of training and is the trainer's heartbeat. The evaluator
appends one line per checkpoint to `eval/scores.jsonl`. If it is a sidecar, `eval/verdict.json` says how it ended. Any other
process that must end the training writes `.stop.json` with the reason into the run's folder.
"""

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from boxcar.errors import BoxcarError, ExitCode, read_error
from boxcar.run.layout import CHECKPOINT_MARKER, EVAL, SAVED_MODEL, SCORES, STATUS, STOP, TRAIN, VERDICT, checkpoint_name
from boxcar.storage import Missing, file_sha256, open_store, read_whole_lines, replace_json

State = Literal["RUNNING", "DONE", "FAILED"]


@dataclass(frozen=True)
class Checkpoint:
    """A complete, finite checkpoint."""

    step: int
    prefix: Path  # TensorFlow's path of the checkpoint, without `.index`
    dataset_version: str


@dataclass(frozen=True)
class Status:
    """The state of training."""

    state: State
    step: int  # the last step that was trained
    beat: float  # when this was written: seconds since the epoch, by the trainer's clock
    last_checkpoint: int | None  # with DONE: the step of the final checkpoint
    memory_bytes: int | None = None  # the trainer's peak memory so far


def marker_path(train: Path, step: int) -> Path:
    return train / f"{checkpoint_name(step)}.json"


def mark_checkpoint(train: Path, step: int, dataset_version: str) -> None:
    """Writes the marker of a checkpoint whose files are already complete."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(train.glob(f"{checkpoint_name(step)}.*"))
        if not path.name.endswith(".json")
    }
    replace_json(marker_path(train, step), {"step": step, "files": files, "dataset_version": dataset_version})


def list_checkpoints(train: Path) -> list[Checkpoint]:
    """All complete checkpoints, oldest first. Leaves out those without a valid marker or with files of other sizes than it
    lists."""
    found = []
    for path in train.glob("ckpt-*.json"):
        match = CHECKPOINT_MARKER.fullmatch(path.name)
        if not match:
            continue
        try:
            marker = json.loads(path.read_text(encoding="utf-8"))
            complete = all((train / name).stat().st_size == entry["bytes"] for name, entry in marker["files"].items())
            checkpoint = Checkpoint(int(match[1]), train / path.stem, str(marker["dataset_version"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            continue  # retention has removed it meanwhile, or it is not a marker
        if complete:
            found.append(checkpoint)
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def remove_checkpoint(train: Path, step: int) -> None:
    """Removes a checkpoint. Removes its marker first, so that the remaining files are never taken for a checkpoint."""
    marker_path(train, step).unlink(missing_ok=True)
    for path in train.glob(f"{checkpoint_name(step)}.*"):
        path.unlink(missing_ok=True)


def write_status(train: Path, state: State, step: int, last_checkpoint: int | None = None) -> None:
    """Writes the state of training; every call is also a heartbeat."""
    replace_json(
        train / STATUS,
        {
            "state": state,
            "step": step,
            "beat": time.time(),
            "last_checkpoint": last_checkpoint,
            "memory_bytes": peak_memory_bytes(),
        },
    )


def peak_memory_bytes() -> int:
    """The peak memory of this process so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # getrusage(2): kilobytes on Linux, bytes on macOS


def write_stop(run: Path, reason: BoxcarError) -> None:
    """Asks the trainer to save a checkpoint and end with this code and message."""
    replace_json(run / STOP, reason.record())


def read_stop(run: Path) -> BoxcarError | None:
    """Why training is to end; None if it may continue."""
    try:
        asked = json.loads((run / STOP).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return read_error(asked)


def read_status(train: Path) -> Status | None:
    """The state of training, or None before its first heartbeat."""
    try:
        return Status(**json.loads((train / STATUS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def append_score(evaluation: Path, score: dict[str, Any]) -> None:
    """Appends one line to `scores.jsonl`, after removing a partial line that a killed process left."""
    path = evaluation / SCORES
    line = json.dumps(score, ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        if whole != size:
            file.truncate(whole)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_scores(evaluation: Path) -> list[dict[str, Any]]:
    """One dictionary per scored checkpoint (`step`, `AP`, `AP50`, `AP75`, `per_class`, ...), oldest first."""
    return [json.loads(line) for line in read_whole_lines(evaluation / SCORES)]


def best_score(scores: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The scores of the chosen checkpoint: the highest AP on validation, and of equal ones the latest. Without any AP, because
    no validation image contains an object, it is the last checkpoint."""
    return next(iter(best_scores(scores, 1)), None)


def chosen_checkpoint(run: str) -> str:
    """URI prefix of the chosen checkpoint's files, in a run (URI) whose evaluation is finished."""
    best = best_score([json.loads(line) for line in open_store(run).read(f"{EVAL}/{SCORES}").splitlines()])
    assert best is not None, "a finished evaluation has scored a checkpoint"
    return f"{run}/{TRAIN}/{checkpoint_name(best['step'])}"


def best_checkpoint(run: str) -> str | None:
    """URI prefix of the best checkpoint so far of a run (URI), as `kept_checkpoint`; None if none was scored.

    Raises:
        BoxcarError: 65 if the scores are damaged, or the checkpoint is gone; 69 if the run cannot be reached.
    """
    try:
        content = open_store(run).read(f"{EVAL}/{SCORES}")
        best = best_score([json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()])
        return None if best is None else kept_checkpoint(run, int(best["step"]))
    except Missing:
        return None
    except (ValueError, KeyError, TypeError) as error:
        what = f"{run}/{EVAL}/{SCORES} is damaged."
        raise BoxcarError(ExitCode.DATA, what, "Restore it, or give the path of a checkpoint.") from error


def kept_checkpoint(run: str, step: int) -> str:
    """URI prefix of the files of a run's best checkpoint, or of its exported weights if retention or a person has removed it.

    Args:
        run: URI of the run's folder.
        step: that of the best checkpoint.

    Raises:
        BoxcarError: 65 if both are gone, 69 if the run cannot be reached.
    """
    store = open_store(run)
    for name in (f"{TRAIN}/{checkpoint_name(step)}", f"{SAVED_MODEL}/checkpoint/{checkpoint_name(0)}"):
        if store.entry(f"{name}.index") is not None:
            return f"{run}/{name}"
    what = f"The best checkpoint of {run}, that of step {step}, is gone, and so are its exported weights."
    raise BoxcarError(ExitCode.DATA, what, "Restore it, or give another run.")


def best_scores(scores: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The scores of the `count` best checkpoints, best first."""
    return sorted(scores, key=lambda score: (score["AP"] or 0.0, score["step"]), reverse=True)[:count]


def has_stalled(scores: list[dict[str, Any]], patience: int) -> bool:
    """Whether at least the last `patience` checkpoints have not raised the highest AP.

    The start of training, step 0, does not count: from a good detector, AP falls at first, and rises above the start's when the
    learning rate decays. Neither do checkpoints without an AP: there is none if no validation image contains an object.
    """
    highest, since = -1.0, 0
    known = [score for score in scores if score["step"] and score["AP"] is not None]
    for score in sorted(known, key=lambda score: score["step"]):
        highest, since = (score["AP"], 0) if score["AP"] > highest else (highest, since + 1)
    return since >= patience


def read_verdict(evaluation: Path) -> dict[str, Any] | None:
    """How a sidecar ended: `state` (DONE or FAILED), `code`, `what`, `do`. None while it works, or if there is none."""
    try:
        verdict: dict[str, Any] = json.loads((evaluation / VERDICT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return verdict
