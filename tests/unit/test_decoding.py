"""From heads to detections: the host's decoder against the graph's, and suppression against the plain definition."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from boxcar.data.label_map import LARGEST_ID
from boxcar.inference import decoding, graph
from boxcar.inference.anchors import feature_sizes, make_anchors
from boxcar.inference.boxes import iou_matrix
from boxcar.inference.decoding import decode, decode_boxes, suppress
from boxcar.inference.heads import Heads
from boxcar.inference.specification import Specification, Thresholds

LABELS = {1: "a", 2: "b", 4: "d"}  # with a gap, as a label map may have one


def specification(size: int = 64, **thresholds: float) -> Specification:
    return Specification(architecture="any", image_size=size, labels=LABELS, thresholds=Thresholds(**thresholds))


SMALL = specification()
COUNT = len(make_anchors(64, SMALL.anchors))


def test_anchors_are_those_of_the_api() -> None:
    """Cells in order, the first level's square of 4 strides and its next scale, wide before tall; centred where the stride
    divides the input."""
    assert feature_sizes(320, SMALL.anchors) == [40, 20, 10, 5, 3]
    anchors = make_anchors(320, SMALL.anchors) * 320
    assert anchors.shape == ((1600 + 400 + 100 + 25 + 9) * 6, 4)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    sizes = anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(centres[:6], 4, atol=1e-4)
    np.testing.assert_allclose(centres[6:12], [[4, 12]] * 6, atol=1e-4)
    np.testing.assert_allclose(centres[40 * 6], [12, 4], atol=1e-4)
    root, octave = np.sqrt(2), 2**0.5
    expected = [(h * s, w * s) for h, w in ((32, 32), (32 / root, 32 * root), (32 * root, 32 / root)) for s in (1, octave)]
    np.testing.assert_allclose(sizes[:6], expected, rtol=1e-5)
    # 128 does not divide 320: the last level's cells begin in the corner.
    np.testing.assert_allclose(centres[-54], [0, 0], atol=1e-4)
    np.testing.assert_allclose(sizes[-54], [512, 512], rtol=1e-5)


def random_heads(seed: int, spread: float = 1.0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    encodings = random.normal(0, spread, (COUNT, 4)).astype(np.float32)
    logits = random.normal(-3, 2, (COUNT, SMALL.class_slots)).astype(np.float32)
    if ties:
        logits = np.round(logits)
    return encodings, logits


def named(encodings: np.ndarray, logits: np.ndarray) -> Heads:
    return {"box_encodings": encodings, "class_logits": logits}


def both(encodings: np.ndarray, logits: np.ndarray, chosen: Specification) -> tuple[np.ndarray, np.ndarray]:
    """Rows of score, class and box, from the host and from the graph."""
    heads = named(encodings, logits)
    ours = decode(heads, chosen)
    theirs = graph.detect({name: tf.constant(values[None]) for name, values in heads.items()}, chosen)
    count = int(theirs["num_detections"][0])
    rows = np.column_stack([ours.scores, ours.classes, ours.boxes])
    names = ("detection_scores", "detection_classes")
    return rows, np.column_stack([*(theirs[name][0, :count].numpy() for name in names), theirs["detection_boxes"][0, :count]])


def test_dense_slots_have_no_gaps_and_give_the_ids() -> None:
    """A class with a high id costs no slots, and what is found has the ids of the label map."""
    encodings, logits = random_heads(0)
    labels = {11: "a", 578: "b", 2_000_000: "c", LARGEST_ID: "d"}
    dense = Specification(architecture="any", image_size=64, labels=labels, dense_slots=True)
    assert dense.class_slots == 5
    # The same as of a detector whose ids have no gaps.
    plain = Specification(architecture="any", image_size=64, labels=dict(enumerate(labels.values(), 1)))
    wanted, found = both(encodings, logits, plain)[0], both(encodings, logits, dense)
    wanted[:, 1] = [sorted(labels)[int(slot) - 1] for slot in wanted[:, 1]]
    assert set(wanted[:, 1]) == set(labels)
    for rows in found:
        np.testing.assert_allclose(rows, wanted, atol=2e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("thresholds", [{}, {"score": 0.3}, {"iou": 0.3, "max_detections_per_class": 5}, {"max_detections": 7}])
def test_host_and_graph_find_the_same(seed: int, thresholds: dict[str, float]) -> None:
    ours, theirs = both(*random_heads(seed), specification(**thresholds))
    assert len(ours) > 5
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_boxes_far_outside_and_without_area_are_found_by_neither() -> None:
    """With wild encodings many boxes lie outside the image or are larger than any."""
    for seed in range(4):
        encodings, logits = random_heads(seed, spread=40)
        ours, theirs = both(encodings, logits, SMALL)
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
        heights, widths = ours[:, 4] - ours[:, 2], ours[:, 5] - ours[:, 3]
        assert (heights > 0).all()
        assert (widths > 0).all()
        assert ours[:, 2:].min() >= 0
        assert ours[:, 2:].max() <= 1


def test_ties_give_the_same_scores_in_both() -> None:
    for seed in range(4):
        ours, theirs = both(*random_heads(seed, ties=True), SMALL)
        np.testing.assert_allclose(ours[:, 0], theirs[:, 0], atol=2e-6)
        assert len(np.unique(ours[:, 0])) < len(ours), "there are ties"


def test_where_nothing_is_found_there_is_nothing() -> None:
    encodings, _ = random_heads(0)
    ours, theirs = both(encodings, np.full((COUNT, SMALL.class_slots), -20, np.float32), SMALL)
    assert ours.shape == theirs.shape == (0, 6)
    # The background's slot is no class.
    logits = np.full((COUNT, SMALL.class_slots), -20, np.float32)
    logits[:, 0] = 20
    assert len(both(encodings, logits, SMALL)[0]) == 0


def test_one_anchor_can_be_two_things() -> None:
    logits = np.full((COUNT, SMALL.class_slots), -20, np.float32)
    middle = COUNT // 12 * 6
    logits[middle, [1, 4]] = [3, 2]
    ours, theirs = both(np.zeros((COUNT, 4), np.float32), logits, SMALL)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert ours[:, 1].tolist() == [1, 4]
    np.testing.assert_allclose(ours[:, 0], [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2))], rtol=1e-5)
    np.testing.assert_allclose(ours[0, 2:], np.clip(make_anchors(64, SMALL.anchors)[middle], 0, 1), atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    encodings, logits = random_heads(0)
    for wrong in ((encodings[:-1], logits), (encodings, logits[:, :-1]), (encodings[None], logits)):
        with pytest.raises(ValueError, match="do not fit"):
            decode(named(*wrong), SMALL)
    logits[5, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        decode(named(encodings, logits), SMALL)


def test_host_and_graph_decode_boxes_alike_however_wild() -> None:
    anchors = make_anchors(64, SMALL.anchors)
    encodings = np.random.default_rng(0).normal(0, 60, (COUNT, 4)).astype(np.float32)
    ours = decode_boxes(encodings, anchors, SMALL.box_coder)
    assert np.isfinite(ours).all()
    theirs = graph.decode_boxes(tf.constant(encodings[None]), SMALL)[0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [1, 20, 150])
@pytest.mark.parametrize("ties", [False, True])
def test_trying_the_best_candidates_first_changes_nothing(monkeypatch: pytest.MonkeyPatch, first: int, ties: bool) -> None:
    for thresholds in ({}, {"max_detections": 5}, {"max_detections_per_class": 2}, {"iou": 0.1}):
        chosen = specification(**thresholds)
        heads = named(*random_heads(0, ties=ties))
        whole = decode(heads, chosen)
        monkeypatch.setattr(decoding, "_FIRST", first)
        tried = decode(heads, chosen)
        monkeypatch.undo()
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_array_equal(getattr(tried, name), getattr(whole, name))


def naive(boxes: np.ndarray, classes: np.ndarray, threshold: float, most_per_class: int, most: int) -> list[int]:
    kept: list[int] = []
    for index in range(len(boxes)):
        rivals = [other for other in kept if classes[other] == classes[index]]
        apart = all(iou_matrix(boxes[[index]], boxes[[other]])[0, 0] <= threshold for other in rivals)
        if apart and len(kept) < most and len(rivals) < most_per_class:
            kept.append(index)
    return kept


@settings(deadline=None, max_examples=60)
@given(
    corners=arrays(np.float32, st.tuples(st.integers(0, 140), st.just(4)), elements=st.integers(0, 12).map(float)),
    classes=st.integers(1, 4),
    threshold=st.sampled_from([0.1, 0.3, 0.5, 0.6, 1.0]),
    most_per_class=st.sampled_from([1, 3, 63, 64, 65, 100]),
    most=st.sampled_from([1, 5, 64, 100, 1000]),
)
def test_suppression_is_the_plain_definition(
    corners: np.ndarray, classes: int, threshold: float, most_per_class: int, most: int
) -> None:
    boxes = np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], axis=1)
    labels = np.arange(len(boxes)) * 7 % 11 % classes
    kept = suppress(boxes, labels, threshold, most_per_class, most)
    assert kept.tolist() == naive(boxes, labels, threshold, most_per_class, most)


def test_suppression_reaches_across_blocks() -> None:
    """Boxes are compared 64 at once; the first of them silences the 129th and the 260th."""
    apart = np.arange(270, dtype=np.float32)[:, None] * 10 + np.array([[0, 0, 1, 1]], np.float32)
    apart[[128, 259]] = apart[0]
    kept = suppress(apart, np.zeros(270, np.intp), 0.5, 400, 400)
    assert kept.tolist() == [index for index in range(270) if index not in (128, 259)]
    assert suppress(apart, np.arange(270), 0.5, 400, 400).tolist() == list(range(270))


def test_huge_but_finite_heads_are_decoded() -> None:
    encodings, logits = random_heads(0)
    logits[:] = np.float32(-3e38)
    assert len(decode(named(encodings, logits), SMALL).scores) == 0
    logits[3, 2] = -np.inf
    with pytest.raises(ValueError, match="finite"):
        decode(named(encodings, logits), SMALL)
