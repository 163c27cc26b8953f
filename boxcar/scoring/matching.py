"""Matching the detections of two detectors on one image: does the exported file find what its model found?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxcar.inference.boxes import iou_matrix
from boxcar.inference.detections import Detections


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of each of the K reference detections that score high enough, best first."""

    reference: NDArray[np.int64]  # [K], index into the reference's detections
    other: NDArray[np.int64]  # [K], index into the other's detections; -1 where unmatched
    iou: NDArray[np.float32]  # [K], 0 to 1; 0 where unmatched
    score_difference: NDArray[np.float32]  # [K], other's score minus the reference's; an unmatched one's other score is 0


def match(reference: Detections, other: Detections, *, min_score: float = 0.3) -> Matches:
    """Gives each reference detection the detection in `other` that overlaps it most.

    Greedy, best reference score first: among those of the same class not yet taken the highest IoU wins, the higher
    score of equals. What does not overlap at all is no match. `min_score` is asked of the reference only, so that an
    object whose score merely slips below it still counts as found.
    """
    chosen = np.flatnonzero(reference.scores >= min_score)
    overlaps = iou_matrix(reference.boxes[chosen], other.boxes)
    overlaps[reference.classes[chosen][:, None] != other.classes[None, :]] = 0
    partner = np.full(len(chosen), -1, np.int64)
    iou = np.zeros(len(chosen), np.float32)
    difference = -reference.scores[chosen]
    for row in range(len(chosen) if len(other.scores) else 0):
        best = int(np.argmax(overlaps[row]))
        if overlaps[row, best] > 0:
            partner[row], iou[row] = best, overlaps[row, best]
            difference[row] += other.scores[best]
            overlaps[:, best] = 0
    return Matches(chosen, partner, iou, difference)
