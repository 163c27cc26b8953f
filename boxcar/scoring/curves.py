"""Precision and recall over the score threshold, class by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxcar.inference.detections import Detections
from boxcar.scoring.average_precision import detection_limit
from boxcar.scoring.ground_truth import GroundTruth, without_ignored
from boxcar.scoring.matching import Overlaps

THRESHOLDS = 201  # evenly from 0 to 1, as TensorBoard's curves have them


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

    Detections are matched as by `Overlaps.match`: best score first, each to the true box of its class that it overlaps most
    and that is not taken. What only meets a crowd is not counted.

    Args:
        truths: one per image.
        detections: one per image, in the same order.
        labels: the label map, id to name.

    Raises:
        ValueError: if the two sequences differ in length.
    """
    truths, detections = without_ignored(truths, detections)
    images = [Overlaps(truth, found) for truth, found in zip(truths, detections, strict=True)]
    limit = detection_limit(truths)
    return {label: _curve([image.match(label, limit) for image in images]) for label in labels}


def _curve(matched: list[tuple[NDArray[np.float32], NDArray[np.bool_], int]]) -> Curve:
    score = np.concatenate([np.zeros(0, np.float32), *(scores for scores, _, _ in matched)])
    hit = np.concatenate([np.zeros(0, np.bool_), *(hit for _, hit, _ in matched)])
    # In float64 and with some tolerance, so that a float32 score of 0.3 reaches the threshold 0.3.
    place = np.clip(np.floor(score.astype(np.float64) * (THRESHOLDS - 1) + 1e-4), 0, THRESHOLDS - 1).astype(np.int64)

    def reached(places: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.cumsum(np.bincount(places, minlength=THRESHOLDS)[::-1])[::-1].astype(np.int64)

    return Curve(reached(place[hit]), reached(place[~hit]), sum(objects for _, _, objects in matched))
