"""Does an exported file answer as its SavedModel does? Both are run on labelled pictures."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boxcar.config.conversion import Limits
from boxcar.data.example import Example
from boxcar.detectors.catalog import find_task
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.verdict import Cost, Tally, Verdict, judge
from boxcar.inference.detections import Detections
from boxcar.inference.heads import Heads
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.runner import HeadsRunner, Runner
from boxcar.scoring import GroundTruth, ap50_difference, match

INT8 = frozenset({"tflite_int8", "tflite_int8_nms"})  # these are told whether what they lose is more than luck
MIN_SCORE = 0.3  # detections of the SavedModel from this score on must be found by the file too
MATCHED_IOU = 0.5  # from this overlap on it counts as found

_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Candidate:
    """A file to be compared: its format, opened, and what it costs."""

    kind: str
    runner: Runner
    cost: Cost


def compare(
    model: HeadsRunner,
    candidates: Sequence[Candidate],
    pictures: Iterable[tuple[Example, npt.NDArray[np.uint8]]],
    limits: Limits,
    advance: Callable[[], None],
) -> tuple[Verdict, list[Verdict]]:
    """Runs a SavedModel and files made of it on labelled pictures, one picture after the other.

    Args:
        model: the SavedModel.
        candidates: the exported files.
        pictures: examples and their pixels.
        limits: what the files are held to.
        advance: called after each picture.

    Returns:
        The SavedModel's verdict, which is its scores and its time (the signature `serving_default`, preprocessing and NMS
        included), and each file's (from preprocessed pixels to detections).
    """
    truths: list[GroundTruth] = []
    own = Tally()
    tallies = [Tally() for _ in candidates]
    for example, picture in pictures:
        truths.append(GroundTruth(example.width, example.height, example.boxes, example.labels, example.is_crowd))
        name = example.filename or example.source_id
        began = time.perf_counter()
        found = model.detect(picture)
        own.seconds.append(time.perf_counter() - began)
        own.detections.append(found)
        pixels = preprocess(picture, model.specification)
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
        told = ap50_difference(truths, own.detections, tally.detections, labels) if candidate.kind in INT8 else None
        verdicts.append(judge(candidate.kind, tally, scores, reference, limits, candidate.cost, told))
    return Verdict(reference, own.milliseconds, True, None, (), {"pictures": len(truths)}), verdicts


def _answer(runner: Runner, pixels: npt.NDArray[np.float32], tally: Tally, name: str) -> tuple[Heads | None, Detections]:
    """A file's raw answer, where it has one, and its detections; what cannot be detections is kept as such."""
    heads = None
    began = time.perf_counter()
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
    tally.seconds.append(time.perf_counter() - began)
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
