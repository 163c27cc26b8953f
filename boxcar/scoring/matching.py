"""Greedy matching by overlap: the one that every score, curve and comparison uses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxcar.inference.boxes import iou_matrix
from boxcar.inference.detections import Detections

_ANY = float(np.nextafter(np.float32(0), np.float32(1)))  # the smallest overlap there is


def greedy_partners(overlaps: NDArray[np.floating[Any]], least: float, *, last_of_equals: bool = False) -> NDArray[np.int64]:
    """Lets each row, in order, take the column that it overlaps most and that no row before it has taken.

    Args:
        overlaps: [M, N], 0 to 1; rows are detections, best score first.
        least: what a row must overlap a column by, above 0.
        last_of_equals: which of equal overlaps is taken: the first, or the last as in pycocotools.

    Returns:
        [M] the column of each row; -1 for none.
    """
    partners = np.full(len(overlaps), -1, np.int64)
    left = overlaps.copy()
    for row in np.flatnonzero((overlaps >= least).any(axis=1)):
        best = left.shape[1] - 1 - int(np.argmax(left[row, ::-1])) if last_of_equals else int(np.argmax(left[row]))
        if left[row, best] >= least:
            partners[row] = best
            left[:, best] = -1
    return partners


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of each of the K reference detections that score high enough, best first."""

    reference: NDArray[np.int64]  # [K], index into the reference's detections
    other: NDArray[np.int64]  # [K], index into the other's detections; -1 where unmatched
    iou: NDArray[np.float32]  # [K], 0 to 1; 0 where unmatched
    score_difference: NDArray[np.float32]  # [K], other's score minus the reference's; an unmatched one's other score is 0


def match(reference: Detections, other: Detections, *, min_score: float = 0.3) -> Matches:
    """Gives each reference detection the detection in `other` that overlaps it most.

    Greedy, best reference score first, within a class; of equal overlaps the one with the higher score. Boxes that do not
    overlap at all are no match. `min_score` applies to the reference only, so that an object whose score slips below it
    still counts as found.
    """
    chosen = np.flatnonzero(reference.scores >= min_score)
    overlaps = iou_matrix(reference.boxes[chosen], other.boxes)
    overlaps[reference.classes[chosen][:, None] != other.classes[None, :]] = 0
    partners = greedy_partners(overlaps, _ANY)
    rows = np.flatnonzero(partners >= 0)
    iou = np.zeros(len(chosen), np.float32)
    iou[rows] = overlaps[rows, partners[rows]]
    difference = -reference.scores[chosen]
    difference[rows] += other.scores[partners[rows]]
    return Matches(chosen, partners, iou, difference)
