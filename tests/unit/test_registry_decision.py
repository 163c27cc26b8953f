"""The gate's decisions on simulated detectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from boxcar.config.gate_settings import GateSettings
from boxcar.errors import BoxcarError
from boxcar.inference.detections import Detections
from boxcar.registry.decision import FEWEST_PICTURES, Measured, decide, pictures_needed
from boxcar.scoring import Difference, GroundTruth, one_sided

LABELS = {1: "cat", 2: "dog"}


def tables(
    random: Any, pictures: int, *finds: float, labels: dict[int, str] = LABELS
) -> tuple[list[GroundTruth], list[list[Detections]]]:
    """Ground truth, and the detections of simulated detectors that find these shares of the objects and add false ones.

    Detectors miss the same objects more often than by chance: half of the difficulty is the object's own.
    """
    truths: list[GroundTruth] = []
    detections: list[list[Detections]] = [[] for _ in finds]
    for _ in range(pictures):
        count = int(random.integers(1, 4))
        left = np.arange(count) * 0.3
        boxes = np.stack([np.full(count, 0.1), left, np.full(count, 0.4), left + 0.25], 1).astype(np.float32)
        classes = random.choice(list(labels), count)
        truths.append(GroundTruth(400, 400, boxes, classes.astype(np.int64), np.zeros(count, np.bool_)))
        hard = random.random(count)
        for found, share in zip(detections, finds, strict=True):
            hit = np.where(random.random(count) < 0.5, hard, random.random(count)) < share
            false = int(random.poisson(0.5))
            left = np.arange(false) * 0.05
            nothing = np.stack([np.full(false, 0.6), left, np.full(false, 0.8), left + 0.1], 1).astype(np.float32)
            scores = np.concatenate([random.beta(5, 2, hit.sum()), random.beta(2, 4, false)]).astype(np.float32)
            order = np.argsort(-scores)
            kinds = np.concatenate([classes[hit], random.choice(list(labels), false)]).astype(np.int64)
            found.append(Detections(np.concatenate([boxes[hit], nothing])[order], scores[order], kinds[order]))
    return truths, detections


def measured(found: Sequence[Detections], labels: dict[int, str] = LABELS, **cost: float) -> Measured:
    return Measured(labels, found, **({"milliseconds": 5.0, "megabytes": 3.0} | cost))


def shares(pictures: int, champion: float, challenger: float, pairs: int, settings: GateSettings) -> dict[str, float]:
    """The share of each verdict for detectors that find these shares of the objects."""
    random, counts = np.random.default_rng(pictures), dict.fromkeys(("promoted", "kept", "undecided"), 0)
    for number in range(pairs):
        truths, (ours, theirs) = tables(random, pictures, challenger, champion)
        counts[decide(truths, LABELS, measured(ours), measured(theirs), settings, seed=number).verdict] += 1
    return {verdict: count / pairs for verdict, count in counts.items()}


@pytest.mark.parametrize(
    ("pictures", "pairs"), [(60, 60), *(pytest.param(pictures, 200, marks=pytest.mark.slow) for pictures in (30, 60, 250))]
)
def test_wrong_decisions_are_as_rare_as_requested(pictures: int, pairs: int) -> None:
    """Both detectors are equally good, and only a better one should pass. Every promotion and every refusal is an error."""
    share = shares(pictures, 0.85, 0.85, pairs, GateSettings(min_gain=0.0))
    by_chance = 2 * (0.05 * 0.95 / pairs) ** 0.5
    assert share["promoted"] <= 0.05 + by_chance
    assert share["kept"] <= 0.05 + by_chance
    # The gate is not too strict either: errors are nearly as frequent as allowed.
    assert share["promoted"] + share["kept"] > 0.02


@pytest.mark.parametrize(
    ("pictures", "pairs"),
    [(FEWEST_PICTURES, 40), *(pytest.param(pictures, 200, marks=pytest.mark.slow) for pictures in (1, 5, FEWEST_PICTURES))],
)
def test_few_images_promote_no_worse_version(pictures: int, pairs: int) -> None:
    worse = shares(pictures, 0.95, 0.80, pairs, GateSettings())
    assert worse["promoted"] <= 0.05 + 2 * (0.05 * 0.95 / pairs) ** 0.5
    better = shares(pictures, 0.2, 1.0, 20, GateSettings())
    assert (better["promoted"] > 0.5) == (pictures >= FEWEST_PICTURES), "enough images promote a better version"


@pytest.mark.parametrize("count", [0, 1])
def test_images_without_objects_that_scores_use_do_not_count(count: int) -> None:
    random = np.random.default_rng(3)
    truths, (good, bad) = tables(random, FEWEST_PICTURES - 1, 1.0, 0.0)
    boxes, labels, ignored = np.full((count, 4), (0, 0, 1, 1), np.float32), np.ones(count, np.int64), np.ones(count, np.bool_)
    nothing = GroundTruth(400, 400, boxes, labels, ~ignored, ignored)
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    decided = decide(
        [*truths, *[nothing] * 50], LABELS, measured([*good, *[none] * 50]), measured([*bad, *[none] * 50]), GateSettings()
    )
    assert (decided.verdict, decided.pictures_needed) == ("undecided", FEWEST_PICTURES)
    assert decided.reason == "7 test images contain an object of a class that both know. At least 8 are needed."


def test_a_large_gain_is_promoted_and_a_large_loss_kept() -> None:
    assert shares(150, 0.8, 0.93, 20, GateSettings())["promoted"] >= 0.9
    assert shares(150, 0.93, 0.8, 20, GateSettings())["kept"] >= 0.9


def test_the_three_decisions_and_their_reasons() -> None:
    random = np.random.default_rng(4)
    truths, (good, bad, same) = tables(random, 60, 0.95, 0.6, 0.93)
    decided = decide(truths, LABELS, measured(good), measured(bad), GateSettings())
    assert decided.verdict == "promoted" and "above -0.005" in decided.reason
    assert decided.difference is not None and decided.difference.low is not None and decided.difference.low > -0.005
    decided = decide(truths, LABELS, measured(bad), measured(good), GateSettings())
    assert decided.verdict == "kept" and "not above -0.005" in decided.reason and decided.pictures_needed is None
    decided = decide(truths, LABELS, measured(same), measured(good), GateSettings())
    assert decided.verdict == "undecided" and decided.pictures_needed is not None and decided.pictures_needed > 60
    assert f"about {decided.pictures_needed} would" in decided.reason
    decided = decide(truths, LABELS, measured(good), measured(good), GateSettings())
    assert decided.verdict == "promoted" and decided.difference == Difference(0.0, 0.0, 0.0)
    decided = decide(truths, LABELS, measured(good), measured(good), GateSettings(min_gain=0.0))
    assert decided.verdict == "kept"  # the upper bound is at it


def test_the_number_of_images_needed_is_enough() -> None:
    """With that many images, at least half of the decisions on the same detectors are promotions."""
    decided = decide_pair(np.random.default_rng(6), 60, 0.88, 0.92)
    assert decided.verdict == "undecided" and decided.pictures_needed is not None
    random = np.random.default_rng(7)
    again = [decide_pair(random, decided.pictures_needed, 0.88, 0.92).verdict for _ in range(10)]
    assert again.count("promoted") >= 5, (decided.pictures_needed, again)


def decide_pair(random: Any, pictures: int, champion: float, challenger: float) -> Any:
    truths, (ours, theirs) = tables(random, pictures, challenger, champion)
    return decide(truths, LABELS, measured(ours), measured(theirs), GateSettings())


def test_the_number_of_images_needed_grows_with_the_square_of_the_bounds() -> None:
    assert pictures_needed(Difference(0.015, -0.025, 0.055), 100, -0.005) == 400
    assert pictures_needed(Difference(-0.015, -0.055, 0.015), 100, -0.005) in (900, 901)
    assert pictures_needed(Difference(-0.005, -0.01, 0.0), 100, -0.005) is None
    assert pictures_needed(Difference(0.02, -0.0051, 0.05), 100, -0.005) == 101


def test_broken_floors_and_limits_keep_the_champion_despite_a_gain() -> None:
    random = np.random.default_rng(1)
    truths, (good, bad) = tables(random, 60, 0.95, 0.6)
    broken = {"class_floors": {"cat": 0.99}, "max_milliseconds": 4.0, "max_megabytes": 2.0}
    decided = decide(truths, LABELS, measured(good), measured(bad), GateSettings(**broken))
    assert decided.verdict == "kept" and len(decided.broken) == 3
    for word in ("AP50 of cat", "its floor of 0.99", "5 ms, above the limit of 4", "3 MB, above the limit of 2"):
        assert word in decided.reason
    within = {"class_floors": {"cat": 0.5}, "max_milliseconds": 5.0, "max_megabytes": 3.0}
    assert decide(truths, LABELS, measured(good), measured(bad), GateSettings(**within)).verdict == "promoted"
    assert decide(truths, LABELS, measured(good), None, GateSettings(**broken)).verdict == "kept"
    with pytest.raises(BoxcarError, match="--class-floor names bird") as error:
        decide(truths, LABELS, measured(good), None, GateSettings(class_floors={"bird": 0.5}))
    assert error.value.code == 64


def test_the_first_version_needs_no_champion() -> None:
    truths, (found,) = tables(np.random.default_rng(2), 20, 0.4)
    decided = decide(truths, LABELS, measured(found), None, GateSettings())
    assert (decided.verdict, decided.difference, decided.scores[1]) == ("promoted", None, None)


def test_other_classes_must_be_accepted_and_the_shared_ones_are_compared() -> None:
    random = np.random.default_rng(3)
    truths, (good, bad) = tables(random, 60, 0.95, 0.6)
    more = {**LABELS, 3: "bird"}
    # It also detects birds, which have no labels.
    birds = [
        Detections(
            np.concatenate([one.boxes, [[0.5, 0.5, 0.7, 0.7]]]).astype(np.float32),
            np.append(one.scores, 0).astype(np.float32),
            np.append(one.classes, 3),
        )
        for one in good
    ]
    decided = decide(truths, LABELS, measured(birds, more), measured(bad), GateSettings())
    assert decided.verdict == "undecided" and decided.new_classes == ("bird",) and decided.classes == ("cat", "dog")
    assert "also knows bird" in decided.reason and "--accept-new-classes" in decided.reason
    accepting = GateSettings(accept_new_classes=True)
    decided = decide(truths, LABELS, measured(birds, more), measured(bad), accepting)
    alone = decide(truths, LABELS, measured(good), measured(bad), GateSettings())
    assert decided.verdict == "promoted" and decided.difference == alone.difference
    decided = decide(truths, LABELS, measured(bad, more), measured(good), accepting)
    assert decided.verdict == "kept"  # accepting is not promoting
    decided = decide(truths, LABELS, measured(_only_cats(good), {1: "cat"}), measured(bad), GateSettings())
    assert decided.verdict == "undecided" and decided.lost_classes == ("dog",) and decided.classes == ("cat",)
    assert "does not know dog" in decided.reason


def test_a_class_that_was_added_does_not_hide_a_loss_in_the_others() -> None:
    labels = {**LABELS, 3: "bird"}
    random = np.random.default_rng(4)
    truths, (all_found, fewer) = tables(random, 60, 0.95, 0.6, labels=labels)
    # It detects all birds, which the champion does not know, but fewer cats and dogs than the champion.
    challenger = [_merged(_of(one, [1, 2]), _of(other, [3])) for one, other in zip(fewer, all_found, strict=True)]
    champion = [_of(one, [1, 2]) for one in all_found]
    settings = GateSettings(accept_new_classes=True)
    decided = decide(truths, labels, measured(challenger, labels), measured(champion), settings)
    assert (decided.verdict, decided.classes, decided.new_classes) == ("kept", ("cat", "dog"), ("bird",))
    ours, theirs = decided.scores
    assert theirs is not None and ours.keys() == theirs.keys() and set(ours["per_class"]) == {"cat", "dog"}
    assert decided.difference is not None and decided.difference.high is not None and decided.difference.high < -0.1


def test_a_version_with_the_champions_weights_is_kept() -> None:
    truths, (found,) = tables(np.random.default_rng(2), 20, 0.4)
    same = (truths, LABELS, measured(found), measured(found))
    assert decide(*same, GateSettings()).verdict == "promoted"  # as one that is trained, and as good
    decided = decide(*same, GateSettings(), unchanged=True)
    assert (decided.verdict, decided.reason) == (
        "kept",
        "Training did not improve on the champion, so this version has its weights.",
    )
    broken = decide(*same, GateSettings(max_megabytes=1), unchanged=True)
    assert broken.verdict == "kept" and "MB" in broken.reason


@pytest.mark.parametrize("shifted", [{1: "dog", 2: "cat"}, {2: "cat"}, {1: "bird", 2: "dog"}])
def test_ids_that_shifted_are_refused(shifted: dict[int, str]) -> None:
    truths, (found,) = tables(np.random.default_rng(2), 5, 0.4)
    with pytest.raises(BoxcarError, match="Id 1 is cat in the champion") as error:
        decide(truths, {7: "fish"}, measured(found, shifted), measured(found), GateSettings())
    assert error.value.code == 65 and "--label-map" in error.value.do


def _only_cats(found: list[Detections]) -> list[Detections]:
    return [_of(one, [1]) for one in found]


def _of(found: Detections, classes: list[int]) -> Detections:
    kept = np.isin(found.classes, classes)
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept])


def _merged(one: Detections, other: Detections) -> Detections:
    """The detections of both, best first."""
    order = np.argsort(-np.concatenate([one.scores, other.scores]))
    return Detections(
        np.concatenate([one.boxes, other.boxes])[order],
        np.concatenate([one.scores, other.scores])[order],
        np.concatenate([one.classes, other.classes])[order],
    )


def test_bounds_are_wider_for_few_pictures() -> None:
    # Student's quantiles: 1.6991 with 29 degrees of freedom, 1.6604 with 99; the normal distribution's is 1.6449.
    assert one_sided(0.95, 30) == pytest.approx(0.9160, abs=2e-4)
    assert one_sided(0.95, 100) == pytest.approx(0.9048, abs=2e-4)
    assert one_sided(0.95, 100_000) == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("pictures", [1, FEWEST_PICTURES - 1, FEWEST_PICTURES])
def test_the_first_decision_says_that_no_other_will_be_possible(pictures: int) -> None:
    truths, (found,) = tables(np.random.default_rng(4), pictures, 0.9)
    decided = decide(truths, LABELS, measured(found), None, GateSettings())
    assert decided.verdict == "promoted"
    assert ("boxcar models retest" in decided.reason) == (pictures < FEWEST_PICTURES)
