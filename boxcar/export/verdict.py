"""The verdict on one exported file: its answers compared with the limits.

Files with the weights as they were trained must give the same numbers. A quantized file gives other numbers; it must keep the
boxes that the SavedModel finds and the AP50, which shows only with a model that finds something. A file that answers with
detections has no raw numbers to compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    peak_memory_bytes: int | None  # of a process that runs it; None where the system does not report it


@dataclass
class Tally:
    """What is counted while one file answers."""

    detections: list[Detections] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # per image, from preprocessed pixels to detections
    raw_difference: float = 0.0  # largest absolute difference to the SavedModel's heads
    raw_worst: str = ""  # the image it was found on
    mean_raw_differences: list[float] = field(default_factory=list)  # per image
    mean_raw_worst: str = ""  # the image with the largest of these
    references: int = 0  # detections of the SavedModel that the file should have found
    overlaps: list[float] = field(default_factory=list)  # IoU of each that it did find
    score_differences: list[float] = field(default_factory=list)  # of each that it did find, the absolute difference
    score_worst: str = ""  # the image with the largest of these
    lost_worst: str = ""  # the image on which most of them were lost
    lost_most: int = 0
    overlap_worst: str = ""  # the image with the smallest overlap
    overlap_least: float = 1.0
    nonsense: str = ""  # why an answer cannot be detections
    nonsense_worst: str = ""  # the image of that answer

    @property
    def milliseconds(self) -> float:
        """Per image, the median."""
        return round(float(np.median(self.seconds)) * 1000, 2)


@dataclass(frozen=True)
class Failure:
    """A limit that a file broke.

    Attributes:
        limit: its name, as in `limits` of the configuration, or another kind of failure.
        found: what was measured, or a sentence.
        allowed: the limit's value; empty if there is none.
        image: the worst image; empty if the failure is not of one image.
    """

    limit: str
    found: str
    allowed: str = ""
    image: str = ""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one file.

    Attributes:
        scores: `scoring.score`'s answer for its own detections.
        milliseconds: median per image.
        agrees: None if it cannot be judged.
        reason: why it cannot be judged, or None.
        failures: the limits it broke.
        compared: every number that was compared.
        difference: of its AP50 to the SavedModel's, for INT8.
    """

    scores: dict[str, Any]
    milliseconds: float
    agrees: bool | None
    reason: str | None
    failures: tuple[Failure, ...]
    compared: dict[str, float | int | None]
    difference: Difference | None = None


def judge(
    kind: str,
    tally: Tally,
    scores: dict[str, Any],
    reference: dict[str, Any],
    limits: Limits,
    cost: Cost,
    difference: Difference | None = None,
) -> Verdict:
    """Compares what one file answered with the limits.

    Args:
        kind: its format.
        tally: what was counted on the images.
        scores: of the file's detections.
        reference: of the SavedModel's.
        limits: the limits.
        cost: the file's size and memory.
        difference: of its AP50 to the SavedModel's, for INT8.
    """
    found = len(tally.overlaps)
    nms = kind.endswith("_nms")
    loss_limit = "nms_ap50_loss" if nms else "ap50_loss"
    loss = reference["AP50"] - scores["AP50"] if reference["AP50"] is not None else None
    compared: dict[str, float | int | None] = {
        "pictures": len(tally.detections),
        "raw_difference": None if nms else tally.raw_difference,
        "mean_raw_difference": None if nms else _mean(tally.mean_raw_differences),
        "references": tally.references,
        "matched": found / tally.references if tally.references else None,
        "mean_iou": _mean(tally.overlaps),
        "score_difference": _mean(tally.score_differences),
        loss_limit: loss,
    }
    if difference is not None:
        compared |= {"ap50_difference_low": difference.low, "ap50_difference_high": difference.high}
    reason = None
    failures: list[Failure] = []
    if not np.isfinite(tally.raw_difference):
        failures.append(Failure("answers", "numbers that are not finite", image=tally.raw_worst))
    elif tally.nonsense:
        failures.append(Failure("answers", tally.nonsense, image=tally.nonsense_worst))
    elif kind in EXACT:
        failures += _exact_failures(compared, tally, limits)
    elif loss is None and kind not in SAME_WEIGHTS:
        reason = "the pictures that it was compared on hold no objects"
    elif kind not in SAME_WEIGHTS and reference["AP50"] < JUDGEABLE_AP50:
        reason = (
            f"the model itself finds next to nothing on the pictures that it was compared on (AP50 {reference['AP50']:.3f})"
        )
    else:
        failures += _found_failures(compared, tally, limits)
    if reason is None and loss is not None and not any(failure.limit == "answers" for failure in failures):
        failures += _loss_failures(loss, scores, reference, tally, loss_limit, limits)
    failures += _cost_failures(tally.milliseconds, cost, limits)
    agrees = False if failures else None if reason else True
    return Verdict(scores, tally.milliseconds, agrees, reason, tuple(failures), compared, difference)


def _exact_failures(compared: Mapping[str, Any], tally: Tally, limits: Limits) -> list[Failure]:
    """Where raw answers differ from the SavedModel's although the weights are the same."""
    return [
        _beyond(name, compared[name], getattr(limits, name), image)
        for name, image in (("raw_difference", tally.raw_worst), ("mean_raw_difference", tally.mean_raw_worst))
        if compared[name] is not None and compared[name] > getattr(limits, name)
    ]


def _found_failures(compared: Mapping[str, Any], tally: Tally, limits: Limits) -> list[Failure]:
    """Which of the SavedModel's detections are missing, or not found well enough."""
    found, failures = len(tally.overlaps), []
    matched, iou, difference = compared["matched"], compared["mean_iou"], compared["score_difference"]
    # With few objects a single one may exceed the limit; one is always within chance.
    if matched is not None and matched < limits.matched and tally.references - found > 1:
        counted = f" ({found} of {tally.references})"
        failures.append(_beyond("matched", matched, limits.matched, tally.lost_worst, counted))
    if iou is not None and iou < limits.mean_iou:
        failures.append(_beyond("mean_iou", iou, limits.mean_iou, tally.overlap_worst))
    if difference is not None and difference > limits.score_difference:
        failures.append(_beyond("score_difference", difference, limits.score_difference, tally.score_worst))
    return failures


def _loss_failures(
    loss: float, scores: dict[str, Any], reference: dict[str, Any], tally: Tally, name: str, limits: Limits
) -> list[Failure]:
    """Whether AP50 is too far below the SavedModel's."""
    boxes = [row["boxes"] for row in reference["per_class"].values() if row["boxes"]]
    # One object of few, as above.
    most = max(getattr(limits, name), 1 / (len(boxes) * min(boxes)) if boxes else 0.0)
    if loss <= most:
        return []
    image = tally.lost_worst or tally.score_worst or tally.overlap_worst
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


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
