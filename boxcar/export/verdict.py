"""The verdict on one exported file: its answers compared with the limits.

A file with the weights as they were trained must give the same numbers. A quantized file gives other numbers; it must keep the
boxes that the SavedModel finds and the AP50, which only a model that finds something can show. A file that returns detections
has no raw numbers to compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from boxcar.config.conversion_settings import Limits
from boxcar.inference.detections import Detections
from boxcar.scoring import Difference

EXACT = frozenset({"tflite_float32", "tfjs_float32"})  # the formats that the limits on raw differences hold for
SAME_WEIGHTS = EXACT | {"tflite_float32_nms"}  # these must find what the SavedModel finds, even if that is little
JUDGEABLE_AP50 = 0.1  # a model below this finds too little to compare


@dataclass(frozen=True)
class Cost:
    """Size and memory of a file, measured before the comparison."""

    bytes: int
    peak_memory_bytes: int | None  # of a process that runs it; None if the system does not report it


@dataclass(frozen=True, eq=False)
class Answer:
    """One file's answer on one image, compared with the SavedModel's."""

    image: str
    detections: Detections
    seconds: float  # from preprocessed pixels to detections
    references: int  # detections of the SavedModel that the file should find
    overlaps: list[float]  # IoU of each that it finds
    score_differences: list[float]  # of each that it finds, absolute
    raw_difference: float = 0.0  # of the heads: the largest absolute difference
    mean_raw_difference: float = 0.0  # of the heads: the mean absolute difference
    invalid: str = ""  # why the answer cannot be detections

    @property
    def lost(self) -> int:
        """How many of the SavedModel's detections the file does not find."""
        return self.references - len(self.overlaps)

    @property
    def displaced(self) -> float:
        """1 minus the smallest of the overlaps."""
        return 1 - min(self.overlaps, default=1.0)

    @property
    def rescored(self) -> float:
        """The largest difference in score."""
        return max(self.score_differences, default=0.0)


@dataclass(frozen=True)
class Failure:
    """A limit that a file broke."""

    limit: str  # its name, as in `limits` of the configuration, or another kind of failure
    found: str  # what was measured, or a sentence
    allowed: str = ""  # the limit's value; empty if there is none
    image: str = ""  # the worst image; empty if the failure does not concern single images


@dataclass(frozen=True)
class Verdict:
    """The verdict on one file."""

    scores: dict[str, Any]  # of its own detections, as `scoring.score` returns them
    milliseconds: float  # median per image
    agrees: bool | None  # None if it cannot be judged
    reason: str | None  # why it cannot be judged
    failures: tuple[Failure, ...]
    compared: dict[str, float | int | None]  # every number that was compared
    difference: Difference | None = None  # of its AP50 to the SavedModel's, for INT8


def judge(
    kind: str,
    answers: Sequence[Answer],
    scores: dict[str, Any],
    reference: dict[str, Any],
    limits: Limits,
    cost: Cost,
    difference: Difference | None = None,
) -> Verdict:
    """Compares a file's answers with the limits.

    Args:
        kind: its format.
        answers: one for each image.
        scores: of the file's detections.
        reference: of the SavedModel's detections.
        limits: the limits.
        cost: the file's size and memory.
        difference: of its AP50 to the SavedModel's, for INT8.
    """
    references, lost = sum(answer.references for answer in answers), sum(answer.lost for answer in answers)
    nms = kind.endswith("_nms")
    loss_limit = "nms_ap50_loss" if nms else "ap50_loss"
    loss = reference["AP50"] - scores["AP50"] if reference["AP50"] is not None else None
    compared: dict[str, float | int | None] = {
        "pictures": len(answers),
        "raw_difference": None if nms else max(answer.raw_difference for answer in answers),
        "mean_raw_difference": None if nms else _mean([answer.mean_raw_difference for answer in answers]),
        "references": references,
        "matched": (references - lost) / references if references else None,
        "mean_iou": _mean([overlap for answer in answers for overlap in answer.overlaps]),
        "score_difference": _mean([one for answer in answers for one in answer.score_differences]),
        loss_limit: loss,
    }
    if difference is not None:
        compared |= {"ap50_difference_low": difference.low, "ap50_difference_high": difference.high}
    reason = None
    failures: list[Failure] = []
    infinite = next((answer for answer in answers if not np.isfinite(answer.raw_difference)), None)
    invalid = next((answer for answer in answers if answer.invalid), None)
    if infinite is not None:
        failures.append(Failure("answers", "numbers that are not finite", image=infinite.image))
    elif invalid is not None:
        failures.append(Failure("answers", invalid.invalid, image=invalid.image))
    elif kind in EXACT:
        failures += _exact_failures(compared, answers, limits)
    elif loss is None and kind not in SAME_WEIGHTS:
        reason = "the pictures that it was compared on hold no objects"
    elif kind not in SAME_WEIGHTS and reference["AP50"] < JUDGEABLE_AP50:
        reason = (
            f"the model itself finds next to nothing on the pictures that it was compared on (AP50 {reference['AP50']:.3f})"
        )
    else:
        failures += _found_failures(compared, answers, limits)
    if reason is None and loss is not None and not any(failure.limit == "answers" for failure in failures):
        failures += _loss_failures(loss, scores, reference, answers, loss_limit, limits)
    milliseconds = median_milliseconds([answer.seconds for answer in answers])
    failures += _cost_failures(milliseconds, cost, limits)
    agrees = False if failures else None if reason else True
    return Verdict(scores, milliseconds, agrees, reason, tuple(failures), compared, difference)


def _exact_failures(compared: Mapping[str, Any], answers: Sequence[Answer], limits: Limits) -> list[Failure]:
    """The limits on raw differences that are broken although the weights are the same."""
    return [
        _beyond(name, compared[name], getattr(limits, name), _worst(answers, name))
        for name in ("raw_difference", "mean_raw_difference")
        if compared[name] > getattr(limits, name)
    ]


def _found_failures(compared: Mapping[str, Any], answers: Sequence[Answer], limits: Limits) -> list[Failure]:
    """The limits on the SavedModel's detections that are broken: found at all, in place, and with their scores."""
    references, lost, failures = compared["references"], sum(answer.lost for answer in answers), []
    matched, iou, difference = compared["matched"], compared["mean_iou"], compared["score_difference"]
    # With few objects a single one may exceed the limit; one is always within chance.
    if matched is not None and matched < limits.matched and lost > 1:
        counted = f" ({references - lost} of {references})"
        failures.append(_beyond("matched", matched, limits.matched, _worst(answers, "lost"), counted))
    if iou is not None and iou < limits.mean_iou:
        failures.append(_beyond("mean_iou", iou, limits.mean_iou, _worst(answers, "displaced")))
    if difference is not None and difference > limits.score_difference:
        failures.append(_beyond("score_difference", difference, limits.score_difference, _worst(answers, "rescored")))
    return failures


def _loss_failures(
    loss: float, scores: dict[str, Any], reference: dict[str, Any], answers: Sequence[Answer], name: str, limits: Limits
) -> list[Failure]:
    """Whether AP50 is too far below the SavedModel's."""
    boxes = [row["boxes"] for row in reference["per_class"].values() if row["boxes"]]
    # One object of few, as above.
    most = max(getattr(limits, name), 1 / (len(boxes) * min(boxes)) if boxes else 0.0)
    if loss <= most:
        return []
    image = _worst(answers, "lost") or _worst(answers, "rescored") or _worst(answers, "displaced")
    return [_beyond(name, loss, most, image, f" ({scores['AP50']:.3f} instead of {reference['AP50']:.3f})")]


def _cost_failures(milliseconds: float, cost: Cost, limits: Limits) -> list[Failure]:
    """Whether the file is too slow or too large."""
    peak = cost.peak_memory_bytes
    measured = {
        "milliseconds": milliseconds,
        "megabytes": cost.bytes / 1e6,
        "peak_memory_megabytes": None if peak is None else peak / 1e6,
    }
    failures = []
    for name, value in measured.items():
        limit = getattr(limits, name)
        if limit is None:
            continue
        if value is None:
            failures.append(Failure(name, "this system does not report it", f"at most {limit:g}"))
        elif value > limit:
            failures.append(_beyond(name, value, limit))
    return failures


def _beyond(name: str, value: float, limit: float, image: str = "", more: str = "") -> Failure:
    """A number beyond its limit, with enough digits to distinguish the two."""
    digits = next(digits for digits in range(3, 18) if f"{value:.{digits}g}" != f"{limit:.{digits}g}")
    bound = "at least" if value < limit else "at most"
    return Failure(name, f"{value:.{digits}g}{more}", f"{bound} {limit:.6g}", image)


def failure_table(failures: Mapping[str, Sequence[Failure]]) -> tuple[str, ...]:
    """The broken limits of each file, by its path, as lines of a table; no lines if none is broken."""
    rows = [
        (path, failure.limit, failure.found, failure.allowed, failure.image)
        for path, found in failures.items()
        for failure in found
    ]
    if not rows:
        return ()
    table = [("file", "limit", "found", "allowed", "worst image"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    return tuple(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip() for row in table
    )


def _worst(answers: Sequence[Answer], measure: str) -> str:
    """The image with the largest value of an attribute of `Answer`; empty if all are 0."""
    worst = max(answers, key=attrgetter(measure))
    return worst.image if getattr(worst, measure) > 0 else ""


def median_milliseconds(seconds: Sequence[float]) -> float:
    """The median of times in seconds, in milliseconds with two decimals."""
    return round(float(np.median(seconds)) * 1000, 2)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
