"""Does an exported file answer as its SavedModel does? Both are run on labelled images."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boxcar.config.conversion_settings import Limits
from boxcar.data.example import Example
from boxcar.detectors.tasks import find_task
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.verdict import Cost, Tally, Verdict, judge
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
    """Runs a SavedModel and files made from it on labelled images, one image after the other.

    Args:
        model: the SavedModel.
        candidates: the exported files.
        images: examples and their pixels.
        limits: of the comparison.
        advance: called after each image.

    Returns:
        The SavedModel's verdict, which is its scores and its time (the signature `serving_default`, preprocessing and NMS
        included), and each file's (from preprocessed pixels to detections).
    """
    truths: list[GroundTruth] = []
    own = Tally()
    tallies = [Tally() for _ in candidates]
    for example, image in images:
        truths.append(GroundTruth(example.width, example.height, example.boxes, example.labels, example.is_crowd))
        name = example.filename or example.source_id
        started = time.perf_counter()
        found = model.detect(image)
        own.seconds.append(time.perf_counter() - started)
        own.detections.append(found)
        pixels = preprocess(image, model.specification)
        wanted = model.heads(pixels)
        for candidate, tally in zip(candidates, tallies, strict=True):
            heads, detections = _answer(candidate.runner, pixels, tally, name)
            if heads is not None:
                _compare_heads(tally, name, wanted, heads)
            _compare_detections(tally, name, found, detections)
        advance()
    labels = model.specification.labels
    task = find_task(model.specification)
    reference = task.score(truths, own.detections, labels)
    verdicts = []
    for candidate, tally in zip(candidates, tallies, strict=True):
        scores = task.score(truths, tally.detections, labels)
        difference = ap50_difference(truths, own.detections, tally.detections, labels) if candidate.kind in INT8 else None
        verdicts.append(judge(candidate.kind, tally, scores, reference, limits, candidate.cost, difference))
    return Verdict(reference, own.milliseconds, True, None, (), {"pictures": len(truths)}), verdicts


def _answer(runner: Runner, pixels: npt.NDArray[np.float32], tally: Tally, name: str) -> tuple[Heads | None, Detections]:
    """A file's raw answer, if it has one, and its detections; an answer that cannot be detections is noted in the tally."""
    heads = None
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
        detections = _NOTHING
        if not tally.nonsense:
            tally.nonsense, tally.nonsense_worst = error.what.rstrip("."), name
    tally.seconds.append(time.perf_counter() - started)
    return heads, detections


def _compare_heads(tally: Tally, name: str, wanted: Heads, heads: Heads) -> None:
    differences = np.concatenate([np.abs(values - heads[output]).ravel() for output, values in wanted.items()])
    difference = float(differences.max()) if np.isfinite(differences).all() else float("inf")
    mean = float(differences.mean())
    if mean >= max(tally.mean_raw_differences, default=0.0):
        tally.mean_raw_worst = name
    tally.mean_raw_differences.append(mean)
    if difference >= tally.raw_difference:
        tally.raw_difference, tally.raw_worst = difference, name


def _compare_detections(tally: Tally, name: str, found: Detections, detections: Detections) -> None:
    tally.detections.append(detections)
    matches = match(found, detections, min_score=MIN_SCORE)
    overlaps, kept = matches.iou, matches.iou >= MATCHED_IOU
    tally.references += len(overlaps)
    good = overlaps[kept].tolist()
    tally.overlaps += good
    differences = np.abs(matches.score_difference[kept]).tolist()
    if differences and max(differences) >= max(tally.score_differences, default=0.0):
        tally.score_worst = name
    tally.score_differences += differences
    if len(overlaps) - len(good) > tally.lost_most:
        tally.lost_most, tally.lost_worst = len(overlaps) - len(good), name
    if good and min(good) < tally.overlap_least:
        tally.overlap_least, tally.overlap_worst = min(good), name
