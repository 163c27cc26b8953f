"""The gate's decision on answers whose truth is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from boxcar.config.gate_settings import GateSettings
from boxcar.errors import BoxcarError
from boxcar.inference.detections import Detections
from boxcar.registry.decision import FEWEST_PICTURES, Answers, decide, pictures_needed
from boxcar.scoring import Difference, GroundTruth, one_sided

LABELS = {1: "cat", 2: "dog"}


def tables(
    random: Any, pictures: int, *finds: float, labels: dict[int, str] = LABELS
) -> tuple[list[GroundTruth], list[list[Detections]]]:
    """Labelled pictures, and the answers of detectors that find these shares of the objects, beside what is none.

    Half of what makes an object hard is the object's own, so that detectors miss the same ones more often than by chance.
    """
    truths: list[GroundTruth] = []
    answers: list[list[Detections]] = [[] for _ in finds]
    for _ in range(pictures):
        count = int(random.integers(1, 4))
        left = np.arange(count) * 0.3
        boxes = np.stack([np.full(count, 0.1), left, np.full(count, 0.4), left + 0.25], 1).astype(np.float32)
        classes = random.choice(list(labels), count)
        truths.append(GroundTruth(400, 400, boxes, classes.astype(np.int64), np.zeros(count, np.bool_)))
        hard = random.random(count)
        for found, share in zip(answers, finds, strict=True):
            hit = np.where(random.random(count) < 0.5, hard, random.random(count)) < share
            false = int(random.poisson(0.5))
            left = np.arange(false) * 0.05
            nothing = np.stack([np.full(false, 0.6), left, np.full(false, 0.8), left + 0.1], 1).astype(np.float32)
            scores = np.concatenate([random.beta(5, 2, hit.sum()), random.beta(2, 4, false)]).astype(np.float32)
            order = np.argsort(-scores)
            kinds = np.concatenate([classes[hit], random.choice(list(labels), false)]).astype(np.int64)
            found.append(Detections(np.concatenate([boxes[hit], nothing])[order], scores[order], kinds[order]))
    return truths, answers


def answers(found: Sequence[Detections], labels: dict[int, str] = LABELS, **cost: float) -> Answers:
    return Answers(labels, found, **({"milliseconds": 5.0, "megabytes": 3.0} | cost))


def shares(pictures: int, champion: float, challenger: float, pairs: int, settings: GateSettings) -> dict[str, float]:
    """How often the gate says what of detectors that find these shares."""
    random, said = np.random.default_rng(pictures), dict.fromkeys(("promoted", "kept", "undecided"), 0)
    for number in range(pairs):
        truths, (ours, theirs) = tables(random, pictures, challenger, champion)
        said[decide(truths, LABELS, answers(ours), answers(theirs), settings, seed=number).verdict] += 1
    return {verdict: count / pairs for verdict, count in said.items()}


@pytest.mark.parametrize(
    ("pictures", "pairs"), [(60, 60), *(pytest.param(pictures, 200, marks=pytest.mark.slow) for pictures in (30, 60, 250))]
)
def test_wrong_decisions_are_as_rare_as_was_asked(pictures: int, pairs: int) -> None:
    """Both find the same, and only what is better is to pass: each promotion is a false one, as is each word of a loss."""
    share = shares(pictures, 0.85, 0.85, pairs, GateSettings(min_gain=0.0))
    by_chance = 2 * (0.05 * 0.95 / pairs) ** 0.5
    assert share["promoted"] <= 0.05 + by_chance
    assert share["kept"] <= 0.05 + by_chance
    # Nor is the gate a wall: it errs nearly as often as it may.
    assert share["promoted"] + share["kept"] > 0.02


@pytest.mark.parametrize(
    ("pictures", "pairs"),
    [(FEWEST_PICTURES, 40), *(pytest.param(pictures, 200, marks=pytest.mark.slow) for pictures in (1, 5, FEWEST_PICTURES))],
)
def test_few_pictures_promote_nothing_that_is_worse(pictures: int, pairs: int) -> None:
    worse = shares(pictures, 0.95, 0.80, pairs, GateSettings())
    assert worse["promoted"] <= 0.05 + 2 * (0.05 * 0.95 / pairs) ** 0.5
    better = shares(pictures, 0.2, 1.0, 20, GateSettings())
    assert (better["promoted"] > 0.5) == (pictures >= FEWEST_PICTURES), "more of them do tell"


def test_too_few_pictures_with_objects_say_so_however_many_are_empty() -> None:
    random = np.random.default_rng(3)
    truths, (good, bad) = tables(random, FEWEST_PICTURES - 1, 1.0, 0.0)
    nothing = GroundTruth(400, 400, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    told = decide(
        [*truths, *[nothing] * 50], LABELS, answers([*good, *[none] * 50]), answers([*bad, *[none] * 50]), GateSettings()
    )
    assert (told.verdict, told.pictures_needed) == ("undecided", FEWEST_PICTURES)
    assert told.reason == "7 test images contain an object of a class that both know. At least 8 are needed."


def test_a_real_gain_is_seen_and_a_real_loss_too() -> None:
    assert shares(150, 0.8, 0.93, 20, GateSettings())["promoted"] >= 0.9
    assert shares(150, 0.93, 0.8, 20, GateSettings())["kept"] >= 0.9


def test_the_three_decisions_and_their_reasons() -> None:
    random = np.random.default_rng(4)
    truths, (good, bad, same) = tables(random, 60, 0.95, 0.6, 0.93)
    told = decide(truths, LABELS, answers(good), answers(bad), GateSettings())
    assert told.verdict == "promoted" and "above -0.005" in told.reason
    assert told.difference is not None and told.difference.low is not None and told.difference.low > -0.005
    told = decide(truths, LABELS, answers(bad), answers(good), GateSettings())
    assert told.verdict == "kept" and "not above -0.005" in told.reason and told.pictures_needed is None
    told = decide(truths, LABELS, answers(same), answers(good), GateSettings())
    assert told.verdict == "undecided" and told.pictures_needed is not None and told.pictures_needed > 60
    assert f"about {told.pictures_needed} would" in told.reason
    told = decide(truths, LABELS, answers(good), answers(good), GateSettings())
    assert told.verdict == "promoted" and told.difference == Difference(0.0, 0.0, 0.0)
    told = decide(truths, LABELS, answers(good), answers(good), GateSettings(min_gain=0.0))
    assert told.verdict == "kept"  # the upper bound is at it


def test_the_pictures_it_would_need_are_enough() -> None:
    """With the answers for as many, the same detectors are told apart more often than not."""
    told = decide_pair(np.random.default_rng(6), 60, 0.88, 0.92)
    assert told.verdict == "undecided" and told.pictures_needed is not None
    random = np.random.default_rng(7)
    again = [decide_pair(random, told.pictures_needed, 0.88, 0.92).verdict for _ in range(10)]
    assert again.count("promoted") >= 5, (told.pictures_needed, again)


def decide_pair(random: Any, pictures: int, champion: float, challenger: float) -> Any:
    truths, (ours, theirs) = tables(random, pictures, challenger, champion)
    return decide(truths, LABELS, answers(ours), answers(theirs), GateSettings())


def test_the_number_of_pictures_grows_with_the_square() -> None:
    assert pictures_needed(Difference(0.015, -0.025, 0.055), 100, -0.005) == 400
    assert pictures_needed(Difference(-0.015, -0.055, 0.015), 100, -0.005) in (900, 901)
    assert pictures_needed(Difference(-0.005, -0.01, 0.0), 100, -0.005) is None
    assert pictures_needed(Difference(0.02, -0.0051, 0.05), 100, -0.005) == 101


def test_floors_and_ceilings_keep_the_champion_whatever_the_gain() -> None:
    random = np.random.default_rng(1)
    truths, (good, bad) = tables(random, 60, 0.95, 0.6)
    held = {"class_floors": {"cat": 0.99}, "max_milliseconds": 4.0, "max_megabytes": 2.0}
    told = decide(truths, LABELS, answers(good), answers(bad), GateSettings(**held))
    assert told.verdict == "kept" and len(told.broken) == 3
    for word in ("AP50 of cat", "its floor of 0.99", "5 ms, above the limit of 4", "3 MB, above the limit of 2"):
        assert word in told.reason
    within = {"class_floors": {"cat": 0.5}, "max_milliseconds": 5.0, "max_megabytes": 3.0}
    assert decide(truths, LABELS, answers(good), answers(bad), GateSettings(**within)).verdict == "promoted"
    assert decide(truths, LABELS, answers(good), None, GateSettings(**held)).verdict == "kept"
    with pytest.raises(BoxcarError, match="--class-floor names bird") as error:
        decide(truths, LABELS, answers(good), None, GateSettings(class_floors={"bird": 0.5}))
    assert error.value.code == 64


def test_the_first_version_needs_no_champion() -> None:
    truths, (found,) = tables(np.random.default_rng(2), 20, 0.4)
    told = decide(truths, LABELS, answers(found), None, GateSettings())
    assert (told.verdict, told.difference, told.scores[1]) == ("promoted", None, None)


def test_other_classes_are_compared_on_the_shared_ones_and_must_be_accepted() -> None:
    random = np.random.default_rng(3)
    truths, (good, bad) = tables(random, 60, 0.95, 0.6)
    more = {**LABELS, 3: "bird"}
    # It also finds birds that nobody has labelled.
    birds = [
        Detections(
            np.concatenate([one.boxes, [[0.5, 0.5, 0.7, 0.7]]]).astype(np.float32),
            np.append(one.scores, 0).astype(np.float32),
            np.append(one.classes, 3),
        )
        for one in good
    ]
    told = decide(truths, LABELS, answers(birds, more), answers(bad), GateSettings())
    assert told.verdict == "undecided" and told.new_classes == ("bird",) and told.classes == ("cat", "dog")
    assert "also knows bird" in told.reason and "--accept-new-classes" in told.reason
    accepting = GateSettings(accept_new_classes=True)
    told = decide(truths, LABELS, answers(birds, more), answers(bad), accepting)
    alone = decide(truths, LABELS, answers(good), answers(bad), GateSettings())
    assert told.verdict == "promoted" and told.difference == alone.difference
    told = decide(truths, LABELS, answers(bad, more), answers(good), accepting)
    assert told.verdict == "kept"  # accepting is not promoting
    told = decide(truths, LABELS, answers(_only_cats(good), {1: "cat"}), answers(bad), GateSettings())
    assert told.verdict == "undecided" and told.lost_classes == ("dog",) and told.classes == ("cat",)
    assert "does not know dog" in told.reason


@pytest.mark.parametrize("shifted", [{1: "dog", 2: "cat"}, {2: "cat"}, {1: "bird", 2: "dog"}])
def test_ids_that_shifted_are_refused(shifted: dict[int, str]) -> None:
    truths, (found,) = tables(np.random.default_rng(2), 5, 0.4)
    with pytest.raises(BoxcarError, match="Id 1 is cat in the champion") as error:
        decide(truths, {7: "fish"}, answers(found, shifted), answers(found), GateSettings())
    assert error.value.code == 65 and "--label-map" in error.value.do


def _only_cats(found: list[Detections]) -> list[Detections]:
    return [
        Detections(one.boxes[one.classes == 1], one.scores[one.classes == 1], one.classes[one.classes == 1]) for one in found
    ]


def test_bounds_are_wider_for_few_pictures() -> None:
    # Student's quantiles: 1.6991 with 29 degrees of freedom, 1.6604 with 99; the normal distribution's is 1.6449.
    assert one_sided(0.95, 30) == pytest.approx(0.9160, abs=2e-4)
    assert one_sided(0.95, 100) == pytest.approx(0.9048, abs=2e-4)
    assert one_sided(0.95, 100_000) == pytest.approx(0.9, abs=1e-4)
