"""Greedy matching by overlap: the one that every curve, count and comparison uses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco.mask import bbox_iou
from numpy.typing import NDArray

from boxcar.inference.boxes import iou_matrix
from boxcar.inference.detections import Detections
from boxcar.scoring.average_precision import pixel_boxes
from boxcar.scoring.ground_truth import GroundTruth

IOU = 0.5  # the overlap from which a detection counts as one of an object

_ANY = float(np.nextafter(np.float32(0), np.float32(1)))  # the smallest overlap there is


def greedy_partners(overlaps: NDArray[np.floating[Any]], least: float, *, last_of_equals: bool = False) -> NDArray[np.int64]:
    """Assigns to each row, in order, the column that it overlaps most among those that are not assigned yet.

    Args:
        overlaps: [M, N], 0 to 1; rows are detections, best score first.
        least: the minimum overlap, above 0.
        last_of_equals: whether the last of equal overlaps is assigned, as in pycocotools, or the first.

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


class Overlaps:
    """The overlaps of one image's detections with its ground truth, as COCO's protocol measures them.

    Attributes:
        iou: [D, N], 0 to 1: intersection over union; over the detection alone for a crowd.
    """

    def __init__(self, truth: GroundTruth, found: Detections) -> None:
        self.truth, self.found = truth, found
        labeled = pixel_boxes(truth.boxes, truth).round(3)
        self.iou: NDArray[np.float64] = bbox_iou(pixel_boxes(found.boxes, truth), labeled, truth.is_crowd)

    def match(self, label: int, limit: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
        """Matches the detections of one class as pycocotools does it (cocoeval.py, evaluateImg), at an IoU of 0.5.

        Args:
            label: the class's id.
            limit: the number of detections that count, of all images' `detection_limit`.

        Returns:
            Of the detections that count, their scores, best first, and whether each hits an object; and the number of objects.
            A detection that meets only a crowd does not count.
        """
        chosen = np.flatnonzero(self.found.classes == label)[:limit]
        of_label = self.truth.labels == label
        objects, crowds = np.flatnonzero(of_label & ~self.truth.is_crowd), np.flatnonzero(of_label & self.truth.is_crowd)
        hit = greedy_partners(self.iou[np.ix_(chosen, objects)], IOU, last_of_equals=True) >= 0
        counts = hit | ~(self.iou[np.ix_(chosen, crowds)] >= IOU).any(axis=1)
        return self.found.scores[chosen][counts], hit[counts], len(objects)


@dataclass(frozen=True, eq=False)
class Matches:
    """The matches of the K reference detections whose scores are high enough, best first."""

    reference: NDArray[np.int64]  # [K], index into the reference's detections
    other: NDArray[np.int64]  # [K], index into the other's detections; -1 if unmatched
    iou: NDArray[np.float32]  # [K], 0 to 1; 0 if unmatched
    score_difference: NDArray[np.float32]  # [K], other's score minus the reference's; an unmatched one's other score is 0


def match(reference: Detections, other: Detections, *, min_score: float = 0.3) -> Matches:
    """Matches each reference detection with the detection in `other` that overlaps it most.

    Greedy, best reference score first, within a class; among equal overlaps, the one with the higher score. Boxes that do not
    overlap never match. `min_score` applies to the reference only, so that an object counts as found even if its score falls
    below it.
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
