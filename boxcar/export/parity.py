"""Does an exported file answer as its SavedModel does? Measured on labelled pictures, and judged by fixed limits.

Files with the weights as they were trained must give the same numbers. A quantised file gives other numbers; what it must
keep are the boxes that the SavedModel finds and the AP50, and whether it does can be seen only of a model that finds something.
A file that answers with detections has no other numbers to compare.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from boxcar.detectors.detections import Detections
from boxcar.detectors.examples import Example
from boxcar.detectors.preprocessing import preprocess
from boxcar.detectors.runners import HeadsRunner, Runner
from boxcar.errors import BoxcarError, ExitCode
from boxcar.scoring import Truth, match, score

RAW_LIMIT = 1e-3  # largest absolute difference of any number in the heads
EXACT = frozenset({"tflite_float32", "tfjs_float32"})  # the formats that RAW_LIMIT holds for
SAME_WEIGHTS = EXACT | {"tflite_float32_nms"}  # these find what the SavedModel finds, however little that is

MIN_SCORE = 0.3  # detections of the SavedModel from this score on must be found by the file too
MATCHED_IOU = 0.5  # from this overlap on it counts as found
MATCHED_LIMIT = 0.9  # share of them that is found, at least
IOU_LIMIT = 0.8  # mean overlap of those that are found, at least
SCORE_LIMIT = 0.1  # mean absolute difference of their scores, at most
AP50_LOSS_LIMIT = 0.02  # how far the file's AP50 may lie below the SavedModel's
NMS_AP50_LOSS_LIMIT = 0.05  # the same for a file that decodes by itself, with TensorFlow Lite's operator
JUDGEABLE_AP50 = 0.1  # below this a model finds next to nothing, and there is nothing to compare

_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass
class Tally:
    """What one file answered."""

    detections: list[Detections] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # a picture, from preprocessed pixels to detections
    raw_difference: float = 0.0  # largest absolute difference to the SavedModel's heads
    raw_worst: str = ""  # the picture it was found on
    references: int = 0  # detections of the SavedModel that the file should have found
    overlaps: list[float] = field(default_factory=list)  # IoU of each that it did find
    score_differences: list[float] = field(default_factory=list)  # of each that it did find, the absolute difference
    lost_worst: str = ""  # the picture on which most of them were lost
    lost_most: int = 0
    overlap_worst: str = ""  # the picture with the smallest overlap
    overlap_least: float = 1.0
    nonsense: str = ""  # why an answer cannot be detections, and on which picture


@dataclass(frozen=True)
class Verdict:
    """What is said of one file.

    Attributes:
        scores: `scoring.score`'s answer for its own detections.
        agrees: None where it cannot be judged.
        reason: why it cannot be judged, or None.
        failures: the limits it broke, each as limit, value and worst picture.
    """

    scores: dict[str, Any]
    milliseconds: float  # median of a picture
    agrees: bool | None
    reason: str | None
    failures: tuple[str, ...]
    compared: dict[str, float | int | None]


def compare(
    model: HeadsRunner,
    files: Mapping[str, Runner],
    pictures: Iterable[tuple[Example, npt.NDArray[np.uint8]]],
    advance: Callable[[], None],
) -> tuple[Verdict, dict[str, Verdict]]:
    """Runs a SavedModel and the files made of it on labelled pictures, one picture after the other.

    Args:
        model: the SavedModel.
        files: the exported files, by format.
        pictures: examples and their pixels.
        advance: called after each picture.

    Returns:
        The SavedModel's verdict, which is its scores and its time (the signature `serving_default`, preprocessing and NMS
        included), and each file's (from preprocessed pixels to detections).
    """
    truths: list[Truth] = []
    own = Tally()
    tallies = {kind: Tally() for kind in files}
    for example, picture in pictures:
        truths.append(Truth(example.width, example.height, example.boxes, example.labels, example.is_crowd))
        began = time.perf_counter()
        found = model.detect(picture)
        own.seconds.append(time.perf_counter() - began)
        own.detections.append(found)
        pixels = preprocess(picture, model.specification.image_size)
        wanted = model.heads(pixels)
        for kind, runner in files.items():
            tally, name = tallies[kind], example.filename or example.source_id
            heads = None
            began = time.perf_counter()
            try:
                if isinstance(runner, HeadsRunner):
                    heads = runner.heads(pixels)
                    detections = runner.decode(*heads)
                else:
                    detections = runner.find(pixels)
            except BoxcarError as error:
                if error.code != ExitCode.DATA:
                    raise
                detections = _NOTHING
                tally.nonsense = tally.nonsense or f"{error.what.rstrip('.')}, on {name} for one"
            tally.seconds.append(time.perf_counter() - began)
            if heads is not None:
                _compare_heads(tally, name, wanted, heads)
            _compare_detections(tally, name, found, detections)
        advance()
    labels = model.specification.labels
    reference = score(truths, own.detections, labels)
    verdict = Verdict(reference, _median(own), True, None, (), {"pictures": len(truths)})
    return verdict, {
        kind: judge(kind, tally, score(truths, tally.detections, labels), reference) for kind, tally in tallies.items()
    }


def judge(kind: str, tally: Tally, scores: dict[str, Any], reference: dict[str, Any]) -> Verdict:
    """Holds what one file answered against the limits.

    Args:
        kind: its format.
        tally: what was counted on the pictures.
        scores: of the file's detections.
        reference: of the SavedModel's.
    """
    found = len(tally.overlaps)
    matched = found / tally.references if tally.references else None
    mean_iou = float(np.mean(tally.overlaps)) if tally.overlaps else None
    score_difference = float(np.mean(tally.score_differences)) if tally.score_differences else None
    nms = kind.endswith("_nms")
    loss = reference["AP50"] - scores["AP50"] if reference["AP50"] is not None else None
    compared = {
        "pictures": len(tally.detections),
        "raw_difference": None if nms else tally.raw_difference,
        "references": tally.references,
        "matched": matched,
        "mean_iou": mean_iou,
        "mean_score_difference": score_difference,
        "AP50_loss": loss,
    }
    failures: list[str] = []
    reason = None
    if not np.isfinite(tally.raw_difference):
        failures.append(f"it answers numbers that are not finite, on {tally.raw_worst} for one")
    elif tally.nonsense:
        failures.append(f"it answers what cannot be detections: {tally.nonsense}")
    elif kind in EXACT:
        if tally.raw_difference > RAW_LIMIT:
            failures.append(
                f"heads differ by {tally.raw_difference:.2g}, at most {RAW_LIMIT:g} is allowed; worst on {tally.raw_worst}"
            )
    elif loss is None and kind not in SAME_WEIGHTS:
        reason = "the test pictures hold no objects"
    elif kind not in SAME_WEIGHTS and reference["AP50"] < JUDGEABLE_AP50:
        reason = f"the model itself finds next to nothing on the test pictures (AP50 {reference['AP50']:.3f})"
    else:
        # Of few objects a single one may be more than the limit: one is never told from chance.
        boxes = [row["boxes"] for row in reference["per_class"].values() if row["boxes"]]
        most_loss = max(NMS_AP50_LOSS_LIMIT if nms else AP50_LOSS_LIMIT, 1 / (len(boxes) * min(boxes)) if boxes else 0.0)
        if loss is not None and loss > most_loss:
            failures.append(
                f"AP50 is {scores['AP50']:.3f}, {loss:.3f} below the SavedModel's; at most {most_loss:.3f} is allowed"
            )
        if matched is not None and matched < MATCHED_LIMIT and tally.references - found > 1:
            failures.append(
                f"{found} of the SavedModel's {tally.references} detections are found, {matched:.2f} of them; "
                f"at least {MATCHED_LIMIT:g} must be; worst on {tally.lost_worst}"
            )
        if mean_iou is not None and mean_iou < IOU_LIMIT:
            failures.append(
                f"boxes overlap the SavedModel's by {mean_iou:.2f} on average, at least {IOU_LIMIT:g} is asked; "
                f"worst on {tally.overlap_worst}"
            )
        if score_difference is not None and score_difference > SCORE_LIMIT:
            failures.append(
                f"scores differ from the SavedModel's by {score_difference:.2f} on average, at most {SCORE_LIMIT:g} is allowed"
            )
    agrees = None if reason else not failures
    return Verdict(scores, _median(tally), agrees, reason, tuple(failures), compared)


def _compare_heads(
    tally: Tally,
    name: str,
    wanted: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    heads: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
) -> None:
    differences = np.concatenate([np.abs(one - other).ravel() for one, other in zip(wanted, heads, strict=True)])
    difference = float(differences.max()) if np.isfinite(differences).all() else float("inf")
    if difference >= tally.raw_difference:
        tally.raw_difference, tally.raw_worst = difference, name


def _compare_detections(tally: Tally, name: str, found: Detections, detections: Detections) -> None:
    tally.detections.append(detections)
    matches = match(found, detections, min_score=MIN_SCORE)
    overlaps, kept = matches.iou, matches.iou >= MATCHED_IOU
    tally.references += len(overlaps)
    good = overlaps[kept].tolist()
    tally.overlaps += good
    tally.score_differences += np.abs(matches.score_difference[kept]).tolist()
    if len(overlaps) - len(good) > tally.lost_most:
        tally.lost_most, tally.lost_worst = len(overlaps) - len(good), name
    if good and min(good) < tally.overlap_least:
        tally.overlap_least, tally.overlap_worst = min(good), name


def _median(tally: Tally) -> float:
    return round(float(np.median(tally.seconds)) * 1000, 2)
