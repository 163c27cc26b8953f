"""The paired bootstrap: its AP50 is the scorer's, its draws are images taken again, and its interval covers the truth."""

import numpy as np
import pytest
from scoring_cases import LABELS, NOTHING_FOUND, ODD_CASES, TWO, detections, random_case, truth

from boxcar.inference.detections import Detections
from boxcar.scoring import ap50_difference, score
from boxcar.scoring.bootstrap import _ap50


@pytest.mark.parametrize("block", range(5))
def test_the_point_is_the_scorers_own(block):
    for seed in range(block * 30, block * 30 + 30):
        truths, found, labels = random_case(seed)
        mine = _ap50(truths, found, labels, np.ones((1, len(truths)), np.int32))[0]
        wanted = score(truths, found, labels)["AP50"]
        assert (None if np.isnan(mine) else mine) == (None if wanted is None else pytest.approx(wanted, abs=1e-9)), seed


@pytest.mark.parametrize("case", ODD_CASES)
def test_odd_cases(case):
    truths, found = ODD_CASES[case]
    mine = _ap50(truths, found, LABELS, np.ones((1, len(truths)), np.int32))[0]
    wanted = score(truths, found, LABELS)["AP50"]
    assert (None if np.isnan(mine) else mine) == (None if wanted is None else pytest.approx(wanted, abs=1e-9))


def test_a_weight_is_an_image_taken_again():
    told = 0
    for seed in range(100, 140):
        truths, found, labels = random_case(seed)
        found = [untied(image, np.random.default_rng(seed + place)) for place, image in enumerate(found)]
        weights = np.random.default_rng(seed).integers(0, 4, (3, len(truths))).astype(np.int32)
        for row, mine in zip(weights, _ap50(truths, found, labels, weights), strict=True):
            again = np.repeat(np.arange(len(truths)), row)
            wanted = score([truths[i] for i in again], [found[i] for i in again], labels)["AP50"]
            assert (None if np.isnan(mine) else mine) == (None if wanted is None else pytest.approx(wanted, abs=1e-9)), seed
            told += wanted is not None and 0 < wanted < 1
    assert told >= 40


def untied(found, random):
    """The same detections with scores of which no two are equal: the order of equal ones is nobody's."""
    scores = found.scores * (1 - random.random(len(found.scores)) * 1e-3).astype(np.float32)
    order = np.argsort(-scores)
    return Detections(found.boxes[order], scores[order], found.classes[order])


def _found(random, share):
    """One box on each of 60 images, and detections that hit that share of them."""
    truths = [truth([[10, 10, 110, 110]], [2]) for _ in range(60)]
    hits = random.random(60) < share
    return truths, [detections([[10, 10, 110, 110] if hit else [120, 120, 200, 200]], [random.random()], [2]) for hit in hits]


def test_the_same_answers_differ_by_nothing():
    truths, found = _found(np.random.default_rng(1), 0.7)
    told = ap50_difference(truths, found, found, LABELS)
    assert (told.point, told.low, told.high) == (0.0, 0.0, 0.0)
    assert not told.is_loss


def test_a_real_loss_is_told_from_none():
    random = np.random.default_rng(2)
    losses = 0
    for _ in range(40):
        truths, one = _found(random, 0.8)
        _, other = _found(random, 0.8)
        losses += ap50_difference(truths, one, other, LABELS, resamples=200).is_loss
    assert losses <= 5  # one in 40 by chance at 95 %, two-sided; more than 5 come once in ten thousand
    truths, one = _found(random, 0.9)
    _, other = _found(random, 0.5)
    told = ap50_difference(truths, one, other, LABELS)
    assert told.is_loss and told.low < told.point < told.high < 0


def test_the_same_seed_draws_the_same():
    truths, one = _found(np.random.default_rng(3), 0.9)
    _, other = _found(np.random.default_rng(4), 0.7)
    assert ap50_difference(truths, one, other, LABELS, seed=5) == ap50_difference(truths, one, other, LABELS, seed=5)
    assert ap50_difference(truths, one, other, LABELS, seed=5) != ap50_difference(truths, one, other, LABELS, seed=6)


def test_images_without_objects_tell_nothing():
    empty = [truth([], [])] * 3
    told = ap50_difference(empty, [NOTHING_FOUND] * 3, [NOTHING_FOUND] * 3, LABELS)
    assert (told.point, told.low, told.high, told.is_loss) == (None, None, None, False)
    assert ap50_difference([], [], [], LABELS).point is None


def test_images_and_answers_must_be_as_many():
    with pytest.raises(ValueError, match="argument 2"):
        ap50_difference([TWO], [], [NOTHING_FOUND], LABELS)
