"""The limits that an exported file is held against."""

from typing import Any

import numpy as np
import pytest

from boxcar.config.conversion_settings import Limits
from boxcar.export.parity import compare_detections, head_differences
from boxcar.export.verdict import Answer, Cost, Failure, Verdict, failure_table
from boxcar.export.verdict import judge as judge_by
from boxcar.inference.detections import Detections

SMALL = Cost(bytes=3_000_000, peak_memory_bytes=90_000_000)
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def _scores(ap50: float | None, *boxes: int) -> dict[str, Any]:
    return {"AP50": ap50, "AP": ap50, "per_class": {str(n): {"AP50": ap50, "boxes": count} for n, count in enumerate(boxes)}}


def judge(kind: str, answers: list[Answer], scores: dict[str, Any], reference: dict[str, Any]) -> Verdict:
    return judge_by(kind, answers, scores, reference, Limits(), SMALL)


def _answers(found: int, references: int, overlap: float = 0.95, score_difference: float = 0.0) -> list[Answer]:
    """On a.jpg nothing is found of what should be, on b.jpg everything."""
    return [
        Answer("a.jpg", NOTHING, 0.01, references - found, [], []),
        Answer("b.jpg", NOTHING, 0.01, found, [overlap] * found, [score_difference] * found),
    ]


def _raw(largest: float, mean: float = 0.0) -> list[Answer]:
    return [Answer("a.jpg", NOTHING, 0.01, 0, [], [], largest, mean), Answer("b.jpg", NOTHING, 0.01, 0, [], [])]


@pytest.mark.parametrize(("difference", "agrees"), [(0.0, True), (1e-3, True), (1.1e-3, False)])
def test_exact_formats_by_their_numbers(difference: float, agrees: bool) -> None:
    for kind in ("tflite_float32", "tfjs_float32"):
        verdict = judge(kind, _raw(difference), _scores(0.0, 100), _scores(0.0, 100))
        assert verdict.agrees is agrees
        broken = () if agrees else (Failure("raw_difference", "0.0011", "at most 0.001", "a.jpg"),)
        assert verdict.failures == broken


@pytest.mark.parametrize(
    ("answers", "ap50", "broken"),
    [
        (_answers(100, 100), 0.90, None),
        (_answers(100, 100), 0.881, None),
        (_answers(100, 100), 0.879, Failure("ap50_loss", "0.021 (0.879 instead of 0.900)", "at most 0.02", "b.jpg")),
        (_answers(99, 100), 0.879, Failure("ap50_loss", "0.021 (0.879 instead of 0.900)", "at most 0.02", "a.jpg")),
        (_answers(100, 100), 0.95, None),  # better than its model is no fault
        (_answers(90, 100), 0.90, None),
        (_answers(89, 100), 0.90, Failure("matched", "0.89 (89 of 100)", "at least 0.9", "a.jpg")),
        (_answers(100, 100, 0.81), 0.90, None),
        (_answers(100, 100, 0.79), 0.90, Failure("mean_iou", "0.79", "at least 0.8", "b.jpg")),
        (_answers(4, 5), 0.90, None),  # a single one is never told from chance
        (_answers(3, 5), 0.90, Failure("matched", "0.6 (3 of 5)", "at least 0.9", "a.jpg")),
        (_answers(0, 0), 0.90, None),  # nothing scored high enough to ask for
    ],
)
def test_quantised_formats_by_what_they_find(answers: list[Answer], ap50: float, broken: Failure | None) -> None:
    for kind in ("tflite_int8", "tflite_float16", "tflite_dynamic", "tfjs_float16", "tfjs_uint8"):
        verdict = judge(kind, answers, _scores(ap50, 100, 100), _scores(0.90, 100, 100))
        assert verdict.agrees is (broken is None)
        assert verdict.reason is None
        assert verdict.failures == ((broken,) if broken else ())


@pytest.mark.parametrize(("ap50", "agrees"), [(0.851, True), (0.849, False)])
def test_files_that_answer_with_detections_may_lose_a_little_more(ap50: float, agrees: bool) -> None:
    for kind in ("tflite_float32_nms", "tflite_int8_nms"):
        verdict = judge(kind, _answers(100, 100), _scores(ap50, 100, 100), _scores(0.90, 100, 100))
        assert verdict.agrees is agrees
        assert verdict.compared["raw_difference"] is None


@pytest.mark.parametrize(("difference", "agrees"), [(0.09, True), (0.11, False)])
def test_scores_stay_what_they_are(difference: float, agrees: bool) -> None:
    answers = _answers(50, 50) + _answers(50, 50, score_difference=2 * difference)
    verdict = judge("tflite_int8_nms", answers, _scores(0.9, 100), _scores(0.9, 100))
    assert verdict.agrees is agrees
    assert verdict.failures == (() if agrees else (Failure("score_difference", "0.11", "at most 0.1", "b.jpg"),))


@pytest.mark.parametrize("kind", ["tflite_int8", "tflite_int8_nms"])
def test_nonsense_fails_however_little_the_model_knows(kind: str) -> None:
    answers = [*_answers(0, 0), Answer("c.jpg", NOTHING, 0.01, 0, [], [], invalid="classes of three and a half")]
    verdict = judge(kind, answers, _scores(0.0, 20), _scores(0.01, 20))
    assert verdict.failures == (Failure("answers", "classes of three and a half", image="c.jpg"),)
    assert verdict.agrees is False


@pytest.mark.parametrize("ap50", [0.01, None])
def test_the_same_weights_are_judged_however_little_they_find(ap50: float | None) -> None:
    boxes = (100,) if ap50 else ()
    assert judge("tflite_float32_nms", _answers(100, 100), _scores(ap50, *boxes), _scores(ap50, *boxes)).agrees is True
    verdict = judge("tflite_float32_nms", _answers(50, 100), _scores(ap50, *boxes), _scores(ap50, *boxes))
    assert verdict.failures == (Failure("matched", "0.5 (50 of 100)", "at least 0.9", "a.jpg"),)


def test_a_loss_of_one_object_among_few() -> None:
    assert judge("tflite_int8", _answers(20, 20), _scores(0.80, 20, 0), _scores(0.85, 20, 0)).agrees is True
    assert judge("tflite_int8", _answers(20, 20), _scores(0.79, 20, 0), _scores(0.85, 20, 0)).agrees is False


@pytest.mark.parametrize(("ap50", "words"), [(0.099, "next to nothing"), (None, "no objects")])
def test_a_model_that_finds_nothing_judges_nobody(ap50: float | None, words: str) -> None:
    verdict = judge("tflite_int8", _answers(0, 50), _scores(ap50 and 0.0, 20), _scores(ap50, 20))
    assert verdict.agrees is None
    assert verdict.reason is not None and words in verdict.reason
    assert not verdict.failures


def test_what_is_counted_of_an_image() -> None:
    def found(*rows: tuple[float, float, float, int]) -> Detections:
        boxes = np.array([[0.0, left, 0.5, right] for _, left, right, _ in rows], np.float32).reshape(-1, 4)
        scores = np.array([score for score, *_ in rows], np.float32)
        return Detections(boxes, scores, np.array([label for *_, label in rows], np.int64))

    zeros = np.zeros((2, 4), np.float32)
    moved = zeros.copy()
    moved[1, 2] = -0.25
    assert head_differences({"one": zeros, "two": zeros}, {"two": zeros, "one": zeros}) == (0.0, 0.0)
    assert head_differences({"one": zeros, "two": zeros}, {"two": moved, "one": zeros}) == (0.25, 0.25 / 16)
    reference = found((0.9, 0.0, 0.5, 1), (0.8, 0.5, 1.0, 2), (0.2, 0.0, 1.0, 1))
    assert compare_detections(reference, reference) == (2, [1.0, 1.0], [0.0, 0.0])
    # One box at 0.8 of its place, the other one of another class.
    other = found((0.8, 0.0, 0.4, 1), (0.8, 0.5, 1.0, 1))
    references, overlaps, score_differences = compare_detections(reference, other)
    assert references == 2
    assert overlaps == pytest.approx([0.8])
    assert score_differences == pytest.approx([0.1])


def test_the_worst_image_is_named() -> None:
    worse = Answer("c.jpg", NOTHING, 0.01, 10, [0.6] * 4, [0.5] * 4, 0.3, 0.2)
    exact = judge("tflite_float32", [*_raw(0.1, 0.1), worse], _scores(0.9, 100), _scores(0.9, 100))
    found = judge("tflite_int8", [*_answers(8, 10, 0.7, 0.4), worse], _scores(0.5, 100), _scores(0.9, 100))
    assert [failure.image for failure in exact.failures] == ["c.jpg"] * 2
    assert [failure.limit for failure in found.failures] == ["matched", "mean_iou", "score_difference", "ap50_loss"]
    assert [failure.image for failure in found.failures] == ["c.jpg"] * 4


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["tflite_float32", "tflite_int8"])
def test_numbers_that_are_not_finite(number: float, kind: str) -> None:
    good, bad = np.zeros((2, 4), np.float32), np.full((2, 4), number, np.float32)
    assert head_differences({"one": good, "two": good}, {"two": bad, "one": good}) == (np.inf, np.inf)
    verdict = judge(kind, _raw(np.inf, np.inf), _scores(0.0, 20), _scores(0.0, 20))
    assert verdict.agrees is False
    assert verdict.failures == (Failure("answers", "numbers that are not finite", image="a.jpg"),)


def test_limits_on_what_a_file_takes() -> None:
    answers = _answers(100, 100)
    cost = Cost(bytes=12_000_000, peak_memory_bytes=150_000_000)
    limits = Limits(milliseconds=9.9, megabytes=11.9, peak_memory_megabytes=149)
    verdict = judge_by("tflite_float32", answers, _scores(0.9, 100), _scores(0.9, 100), limits, cost)
    assert verdict.failures == (
        Failure("milliseconds", "10", "at most 9.9"),
        Failure("megabytes", "12", "at most 11.9"),
        Failure("peak_memory_megabytes", "150", "at most 149"),
    )
    unknown = Cost(bytes=12_000_000, peak_memory_bytes=None)
    verdict = judge_by("tflite_float32", answers, _scores(0.9, 100), _scores(0.9, 100), limits, unknown)
    assert verdict.failures[-1] == Failure("peak_memory_megabytes", "this system does not report it", "at most 149")
    enough = Limits(milliseconds=10.1, megabytes=12, peak_memory_megabytes=150)
    assert judge_by("tflite_float32", answers, _scores(0.9, 100), _scores(0.9, 100), enough, cost).agrees is True


@pytest.mark.parametrize("ap50", [0.8799, 0.87999, 0.879999])
def test_a_number_is_told_from_its_limit(ap50: float) -> None:
    (failure,) = judge("tflite_int8", _answers(100, 100), _scores(ap50, 100), _scores(0.90, 100)).failures
    assert float(failure.found.split()[0]) > float(failure.allowed.split()[-1]) == 0.02


def test_other_limits() -> None:
    exact = _raw(0.01, 0.004)
    scores = _scores(0.9, 100)
    loose = Limits(raw_difference=0.1, mean_raw_difference=0.01)
    assert judge_by("tflite_float32", exact, scores, scores, loose, SMALL).agrees is True
    broken = judge("tflite_float32", exact, scores, scores).failures
    assert [failure.limit for failure in broken] == ["raw_difference", "mean_raw_difference"]
    assert judge_by(
        "tflite_int8", _answers(50, 100), _scores(0.8, 100), scores, Limits(matched=0.5, ap50_loss=0.11), SMALL
    ).agrees


def test_the_table_of_what_is_broken() -> None:
    table = failure_table(
        {
            "tflite/detector_int8.tflite": [
                Failure("matched", "0.6 (3 of 5)", "at least 0.9", "a b.jpg"),
                Failure("labels", "id 2"),
            ],
            "tfjs/float32": [],
        }
    )
    assert table == (
        "file                         limit    found         allowed       worst image",
        "tflite/detector_int8.tflite  matched  0.6 (3 of 5)  at least 0.9  a b.jpg",
        "tflite/detector_int8.tflite  labels   id 2",
    )
    assert failure_table({"tfjs/float32": []}) == ()
