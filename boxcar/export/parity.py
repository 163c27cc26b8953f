"""Parity: runs exported files and their SavedModel on labeled images, and compares what they answer."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boxcar.config.conversion_settings import Limits
from boxcar.data.example import Example
from boxcar.data.ground_truth import ground_truth_of
from boxcar.detectors.tasks import find_task
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.verdict import Answer, Cost, Verdict, judge, median_milliseconds
from boxcar.inference.detections import Detections
from boxcar.inference.heads import Heads
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.runner import HeadsRunner, Runner
from boxcar.scoring import GroundTruth, ap50_difference, match

INT8 = frozenset({"tflite_int8", "tflite_int8_nms"})  # their loss of AP50 is tested for significance
MIN_SCORE = 0.3  # the file must find the SavedModel's detections with at least this score
MATCHED_IOU = 0.5  # the least overlap that counts as found

_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Candidate:
    """A file to compare: its format, its runner and its cost."""

    kind: str
    runner: Runner
    cost: Cost


def compare(
    model: HeadsRunner,
    candidates: Sequence[Candidate],
    images: Iterable[tuple[Example, npt.NDArray[np.uint8]]],
    limits: Limits,
    advance: Callable[[], None],
) -> tuple[Verdict, list[Verdict]]:
    """Runs a SavedModel and files made from it on labeled images, one image after the other.

    Args:
        model: the SavedModel.
        candidates: the exported files.
        images: examples and their pixels.
        limits: of the comparison.
        advance: called after each image.

    Returns:
        The SavedModel's verdict, which is its scores and its time (from the image's pixels to detections, by the signature
        `serving_default`), and each file's (its time is from preprocessed pixels to detections).
    """
    truths: list[GroundTruth] = []
    found: list[Detections] = []  # by the SavedModel
    seconds: list[float] = []
    answers: list[list[Answer]] = [[] for _ in candidates]
    for example, image in images:
        truths.append(ground_truth_of(example))
        started = time.perf_counter()
        found.append(model.detect(image))
        seconds.append(time.perf_counter() - started)
        pixels = preprocess(image, model.specification)
        wanted = model.heads(pixels)
        for candidate, own in zip(candidates, answers, strict=True):
            own.append(_answer(candidate.runner, pixels, example.filename or example.source_id, wanted, found[-1]))
        advance()
    labels = model.specification.labels
    task = find_task(model.specification)
    reference = task.score(truths, found, labels)
    verdicts = []
    for candidate, own in zip(candidates, answers, strict=True):
        detections = [answer.detections for answer in own]
        scores = task.score(truths, detections, labels)
        difference = ap50_difference(truths, found, detections, labels) if candidate.kind in INT8 else None
        verdicts.append(judge(candidate.kind, own, scores, reference, limits, candidate.cost, difference))
    return Verdict(reference, median_milliseconds(seconds), True, None, (), {"pictures": len(truths)}), verdicts


def _answer(runner: Runner, pixels: npt.NDArray[np.float32], image: str, wanted: Heads, found: Detections) -> Answer:
    """A file's answer on one image, compared with the SavedModel's heads and detections."""
    heads, invalid = None, ""
    started = time.perf_counter()
    try:
        if isinstance(runner, HeadsRunner):
            heads = runner.heads(pixels)
            detections = runner.decode(heads)
        else:
            detections = runner.find(pixels)
    except BoxcarError as error:
        if error.code != ExitCode.DATA:
            raise
        detections, invalid = _NOTHING, error.what.rstrip(".")
    seconds = time.perf_counter() - started
    largest, mean = (0.0, 0.0) if heads is None else head_differences(wanted, heads)
    references, overlaps, differences = compare_detections(found, detections)
    return Answer(image, detections, seconds, references, overlaps, differences, largest, mean, invalid)


def head_differences(wanted: Heads, heads: Heads) -> tuple[float, float]:
    """The largest and the mean absolute difference of two files' heads; infinite if one is not finite."""
    differences = np.concatenate([np.abs(values - heads[output]).ravel() for output, values in wanted.items()])
    if not np.isfinite(differences).all():
        return float("inf"), float("inf")
    return float(differences.max()), float(differences.mean())


def compare_detections(reference: Detections, detections: Detections) -> tuple[int, list[float], list[float]]:
    """How many of the reference's detections count, and of each that is found, the IoU and the absolute difference in score."""
    matches = match(reference, detections, min_score=MIN_SCORE)
    kept = matches.iou >= MATCHED_IOU
    return len(kept), matches.iou[kept].tolist(), np.abs(matches.score_difference[kept]).tolist()
