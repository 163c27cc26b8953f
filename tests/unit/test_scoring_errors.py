"""Curves against the average precision they belong to, and the confusion matrix against what is written down by hand."""

import numpy as np
import pytest
from scoring_cases import LABELS, detections, random_case, truth

from boxcar.scoring import confusion_matrix, precision_recall_curves, score


def ap50(curve):
    """COCO's average precision of a curve: at 101 recalls the best precision at that recall or beyond."""
    recalls = np.linspace(0, 1, 101)
    return np.mean([max((p for p, r in curve if r >= recall), default=0.0) for recall in recalls])


@pytest.mark.parametrize("seed", range(60))
def test_curves_are_those_that_average_precision_is_the_mean_of(seed):
    truths, found, labels = random_case(seed)
    # Scores that the thresholds tell apart, or the curves would be coarser than the protocol's.
    random = np.random.default_rng(seed)
    total = sum(len(one.scores) for one in found)
    if total > 190:
        pytest.skip("more detections than thresholds")
    steps = iter(random.permutation(np.arange(5, 200))[:total] / 200)
    for one in found:
        one.scores[:] = np.sort(np.array([next(steps) for _ in one.scores], np.float32))[::-1]
    ours = precision_recall_curves(truths, found, labels)
    scores = score(truths, found, labels)["per_class"]
    for label, entry in zip(sorted(labels), scores.values(), strict=True):
        curve = ours[label]
        assert curve.truths == entry["boxes"]
        assert (np.diff(curve.recall) <= 0).all()
        if entry["AP50"] is not None:
            assert ap50(list(zip(curve.precision, curve.recall, strict=True))) == pytest.approx(entry["AP50"], abs=1e-6)


def test_a_curve_counts_what_scores_the_threshold_or_more():
    truths = [truth([[10, 10, 110, 110], [10, 150, 60, 200]], [2, 2])]
    found = [detections([[10, 10, 110, 110], [10, 150, 60, 200], [200, 200, 240, 240]], [0.9, 0.3, 0.5], [2, 2, 2])]
    curve = precision_recall_curves(truths, found, LABELS)[2]
    assert [curve.true_positives[i] for i in (0, 60, 61, 180, 181, 200)] == [2, 2, 1, 1, 0, 0]
    assert [curve.false_positives[i] for i in (0, 100, 101)] == [1, 1, 0]
    assert curve.precision[[0, 101, 200]].tolist() == [2 / 3, 1, 0]
    assert curve.recall[[0, 101, 200]].tolist() == [1, 0.5, 0]
    assert precision_recall_curves(truths, found, LABELS)[5].recall.sum() == 0


def test_what_meets_a_crowd_is_neither_right_nor_wrong():
    truths = [truth([[0, 0, 200, 200], [10, 10, 60, 60]], [2, 2], [True, False])]
    found = [detections([[100, 100, 150, 150], [10, 10, 60, 60], [0, 250, 50, 300]], [0.9, 0.8, 0.7], [2, 2, 2])]
    curve = precision_recall_curves(truths, found, LABELS)[2]
    assert (curve.true_positives[0], curve.false_positives[0], curve.truths) == (1, 1, 1)
    assert confusion_matrix(truths, found, LABELS, 0.3).tolist() == [[1, 0, 0, 0], [0] * 4, [0] * 4, [1, 0, 0, 0]]


def test_confusion_by_hand():
    a, b, c, far = [0, 0, 100, 100], [0, 150, 100, 250], [120, 0, 220, 100], [150, 200, 230, 300]
    truths = [truth([a, b, c], [2, 5, 9]), truth([], [])]
    found = [
        # a is found twice, b taken for a knife (as well as for a fork, a little less so), c is missed: below the threshold.
        detections([a, [0, 0, 100, 90], b, [0, 150, 100, 240], c, far], [0.9, 0.8, 0.4, 0.6, 0.29, 0.5], [2, 2, 9, 2, 9, 5]),
        detections([a], [0.31], [9]),
    ]
    assert confusion_matrix(truths, found, LABELS, 0.3).tolist() == [
        # fork, spoon, knife, missed
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [2, 1, 1, 0],  # where nothing is
    ]
    # Of two on one object the one of the right class counts, however little it scores and overlaps.
    found = [detections([a, [0, 0, 100, 60]], [0.9, 0.4], [5, 2])]
    assert confusion_matrix([truth([a], [2])], found, LABELS, 0.3).tolist() == [[1, 0, 0, 0], [0] * 4, [0] * 4, [0, 1, 0, 0]]


@pytest.mark.parametrize("seed", range(20))
def test_every_true_and_every_found_box_is_counted_once(seed):
    truths, found, labels = random_case(seed)
    truths = [type(t)(t.width, t.height, t.boxes, t.labels, np.zeros(len(t.labels), bool)) for t in truths]
    counts = confusion_matrix(truths, found, labels, 0.3)
    for place, label in enumerate(sorted(labels)):
        assert counts[place].sum() == sum((t.labels == label).sum() for t in truths)
        assert counts[:, place].sum() == sum(((f.classes == label) & (f.scores >= 0.3)).sum() for f in found)
    assert counts[-1, -1] == 0
