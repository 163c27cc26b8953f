"""The confusion matrix: which class is mistaken for which, what is missed, and what is found in the background."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from boxcar.inference.detections import Detections
from boxcar.scoring.ground_truth import GroundTruth, without_ignored
from boxcar.scoring.matching import IOU, Overlaps, greedy_partners


def confusion_matrix(
    truths: Sequence[GroundTruth], detections: Sequence[Detections], labels: Mapping[int, str], min_score: float
) -> NDArray[np.int64]:
    """Counts true boxes against what was found on them.

    A found box matches a true one if their IoU is 0.5 or more. First each found box, best score first, is assigned the true box
    of its class that it overlaps most; then the remaining ones, largest overlap first, a true box of another class. Each true
    box is assigned once. Crowds, and what is found in a crowd of its class, are not counted.

    Args:
        truths: one per image.
        detections: one per image, in the same order; those that score below `min_score` are left out.
        labels: the label map, id to name.
        min_score: 0 to 1.

    Returns:
        [K + 1, K + 1]: rows are the true classes in ascending order of id, columns the found ones. The last row and column are
        the background: its column counts what was missed, its row what was found there.

    Raises:
        ValueError: if the two sequences differ in length.
    """
    truths, detections = without_ignored(truths, detections)
    place = {label: index for index, label in enumerate(sorted(labels))}
    background = len(place)
    counts = np.zeros((background + 1, background + 1), np.int64)
    for truth, answer in zip(truths, detections, strict=True):
        found = answer.above(min_score)
        overlaps, solid = Overlaps(truth, found).iou, ~truth.is_crowd
        true_labels, classes = truth.labels[solid], found.classes
        partner = _partners(overlaps[:, solid], true_labels, classes)
        crowded = (overlaps[:, ~solid] >= IOU) & (classes[:, None] == truth.labels[~solid])
        missed = np.ones(len(true_labels), np.bool_)
        for row, other in enumerate(partner.tolist()):
            if other >= 0:
                missed[other] = False
                counts[place[int(true_labels[other])], place[int(classes[row])]] += 1
            elif not crowded[row].any():
                counts[background, place[int(classes[row])]] += 1
        for label in true_labels[missed].tolist():
            counts[place[label], background] += 1
    return counts


def _partners(overlaps: NDArray[np.float64], true_labels: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each found box the index of the true box it takes; -1 for none. Clears `overlaps`."""
    partner = greedy_partners(np.where(classes[:, None] == true_labels, overlaps, 0), IOU)
    taken = np.flatnonzero(partner >= 0)
    overlaps[taken] = overlaps[:, partner[taken]] = 0
    while overlaps.max(initial=0) >= IOU:
        row, best = divmod(int(np.argmax(overlaps)), overlaps.shape[1])
        partner[row] = best
        overlaps[:, best] = overlaps[row] = 0
    return partner
