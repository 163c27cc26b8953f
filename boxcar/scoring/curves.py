"""Precision and recall over the score threshold, class by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxcar.inference.boxes import iou_matrix
from boxcar.inference.detections import Detections
from boxcar.scoring.average_precision import GroundTruth
from boxcar.scoring.matching import greedy_partners

THRESHOLDS = 201  # evenly from 0 to 1, as TensorBoard's curves have them
IOU = 0.5
_SLACK = 1e-6  # float32 coordinates miss an overlap of exactly a half by less


@dataclass(frozen=True, eq=False)
class Curve:
    """One class's detections counted at rising score thresholds t = 0, 1 / 200, ... 1: those that score t or more."""

    true_positives: NDArray[np.int64]  # [201], never rising
    false_positives: NDArray[np.int64]  # [201]
    truths: int  # true boxes that are no crowds

    @property
    def precision(self) -> NDArray[np.float64]:
        """[201], 0 to 1: how many of the found are true; 0 if nothing is found."""
        return np.asarray(self.true_positives / np.maximum(self.true_positives + self.false_positives, 1), np.float64)

    @property
    def recall(self) -> NDArray[np.float64]:
        """[201], 0 to 1: how many of the true are found; 0 if there are none."""
        return np.asarray(self.true_positives / max(self.truths, 1), np.float64)


def precision_recall_curves(
    truths: Sequence[GroundTruth], detections: Sequence[Detections], labels: Mapping[int, str]
) -> dict[int, Curve]:
    """Each class's curve, by id, at an IoU of 0.5.

    Detections are matched as COCO's protocol does it (pycocotools, cocoeval.py, evaluateImg): best score first, each to the
    true box of its class that it overlaps most and that is not taken. What only meets a crowd is not counted.

    Args:
        truths: one per image.
        detections: one per image, in the same order.
        labels: the label map, id to name.

    Raises:
        ValueError: if the two sequences differ in length.
    """
    scores: dict[int, list[NDArray[np.float32]]] = {label: [] for label in labels}
    hits: dict[int, list[NDArray[np.bool_]]] = {label: [] for label in labels}
    counts = dict.fromkeys(labels, 0)
    for truth, found in zip(truths, detections, strict=True):
        for label in labels:
            true, mine = truth.labels == label, found.classes == label
            counts[label] += int(np.count_nonzero(true & ~truth.is_crowd))
            if mine.any():
                verdict = _verdicts(truth.boxes[true], truth.is_crowd[true], found.boxes[mine])
                scores[label].append(found.scores[mine][verdict >= 0])
                hits[label].append(verdict[verdict >= 0] > 0)
    return {label: _curve(scores[label], hits[label], counts[label]) for label in labels}


def _curve(scores: list[NDArray[np.float32]], hits: list[NDArray[np.bool_]], truths: int) -> Curve:
    # In float64, so that a score of 0.3 reaches the threshold 0.3: the next lower one is never further than rounding away.
    score = np.concatenate([np.zeros(0, np.float32), *scores]).astype(np.float64) * (THRESHOLDS - 1)
    hit = np.concatenate([np.zeros(0, np.bool_), *hits])
    place = np.clip(np.floor(score + 1e-4), 0, THRESHOLDS - 1).astype(np.int64)

    def reached(places: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.cumsum(np.bincount(places, minlength=THRESHOLDS)[::-1])[::-1].astype(np.int64)

    return Curve(reached(place[hit]), reached(place[~hit]), truths)


def _verdicts(true: NDArray[np.float32], is_crowd: NDArray[np.bool_], found: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each found box [M, 4], best first, of one class in one image: 1 true, 0 false, -1 counts neither way."""
    is_true = greedy_partners(iou_matrix(found, true[~is_crowd]), IOU - _SLACK, last_of_equals=True) >= 0
    in_crowd = coverage(found, true[is_crowd]).max(axis=1, initial=0) >= IOU - _SLACK
    return np.where(is_true, 1, np.where(in_crowd, -1, 0))


def coverage(found: NDArray[np.float32], crowds: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of each found box [M, 4] lies in each crowd [N, 4]: [M, N], 0 to 1; 0 for a box without area."""
    height = np.minimum(found[:, None, 2], crowds[:, 2]) - np.maximum(found[:, None, 0], crowds[:, 0])
    width = np.minimum(found[:, None, 3], crowds[:, 3]) - np.maximum(found[:, None, 1], crowds[:, 1])
    area = np.prod(np.maximum(found[:, 2:] - found[:, :2], 0), axis=1)[:, None]
    inside = np.maximum(height, 0) * np.maximum(width, 0)
    result: NDArray[np.float32] = np.divide(inside, area, out=np.zeros_like(inside), where=area > 0)
    return result
