"""The losses against their definitions written out in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from boxcar.detectors.box_detection import BOXES
from boxcar.detectors.losses import count_matches, detection_losses, weight_decay

ANCHORS, SLOTS = 50, 4


def reference(
    encodings: np.ndarray, logits: np.ndarray, boxes: np.ndarray, classes: np.ndarray, weights: list[np.ndarray]
) -> tuple[float, float, float]:
    """Lin et al. 2017, equation 5, and smooth L1 of Girshick 2015, equation 3, one anchor at a time."""
    matches = max(int((classes > 0).sum()), 1)
    focal = localization = 0.0
    for picture, anchor in np.ndindex(classes.shape):
        label = classes[picture, anchor]
        for slot in range(logits.shape[-1]):
            p = 1 / (1 + np.exp(-float(logits[picture, anchor, slot])))
            is_it = label > 0 and slot == label
            p_t, alpha = (p, 0.25) if is_it else (1 - p, 0.75)
            focal += -alpha * (1 - p_t) ** 2 * np.log(p_t)
        if label > 0:
            for x in np.abs(encodings[picture, anchor] - boxes[picture, anchor]).astype(float):
                localization += 0.5 * x * x if x < 1 else x - 0.5
    decay = 4e-5 * sum(float((weight.astype(float) ** 2).sum()) / 2 for weight in weights)
    return focal / matches, localization / (4 * matches), decay


@pytest.mark.parametrize("matched", [0.0, 0.1, 1.0])
def test_losses_are_their_definitions(matched: float) -> None:
    random = np.random.default_rng(7)
    encodings = random.normal(0, 2, (2, ANCHORS, 4)).astype(np.float32)
    logits = random.normal(0, 3, (2, ANCHORS, SLOTS)).astype(np.float32)
    boxes = random.normal(0, 2, (2, ANCHORS, 4)).astype(np.float32)
    classes = np.where(random.random((2, ANCHORS)) < matched, random.integers(1, SLOTS, (2, ANCHORS)), 0).astype(np.int32)
    weights = [random.normal(size=(3, 3)).astype(np.float32), random.normal(size=5).astype(np.float32)]
    losses = detection_losses(*(tf.constant(value) for value in (encodings, logits, boxes, classes)))
    assert tuple(losses.parts) == BOXES.loss_names
    np.testing.assert_allclose(
        [*losses.parts.values(), weight_decay([tf.Variable(weight) for weight in weights])],
        reference(encodings, logits, boxes, classes, weights),
        rtol=1e-5,
    )


def test_a_part_of_a_batch_is_divided_by_the_whole_ones_matches() -> None:
    """Two replicas' losses add up to those of one that has all pictures."""
    random = np.random.default_rng(8)
    heads = random.normal(size=(4, ANCHORS, 4)), random.normal(size=(4, ANCHORS, SLOTS)), random.normal(size=(4, ANCHORS, 4))
    encodings, logits, boxes = (tf.constant(array, tf.float32) for array in heads)
    classes = tf.constant((random.random((4, ANCHORS)) < 0.1) * 2, tf.int32)
    matches = count_matches(classes)
    whole = detection_losses(encodings, logits, boxes, classes).parts
    shares = [
        detection_losses(encodings[part], logits[part], boxes[part], classes[part], matches).parts
        for part in (slice(0, 1), slice(1, 4))
    ]
    assert float(weight_decay(())) == 0
    for name in BOXES.loss_names:
        assert float(sum(share[name] for share in shares)) == pytest.approx(float(whole[name]), rel=1e-6)


def test_the_picture_whose_loss_is_not_finite_is_told() -> None:
    boxes = np.zeros((3, ANCHORS, 4), np.float32)
    boxes[1, 4, 2] = np.inf
    classes = np.zeros((3, ANCHORS), np.int32)
    classes[:, 4] = 1
    zeros = tf.zeros([3, ANCHORS, 4])
    assert detection_losses(zeros, zeros, boxes, classes).finite.numpy().tolist() == [True, False, True]


def test_wild_logits_give_finite_losses_and_gradients() -> None:
    logits = tf.Variable(np.array([[[200, -200, 0], [-200, 200, 200]]], np.float32))
    encodings = tf.Variable(np.full((1, 2, 4), 1e6, np.float32))
    with tf.GradientTape() as tape:
        total = sum(detection_losses(encodings, logits, tf.zeros([1, 2, 4]), tf.constant([[1, 0]])).parts.values())
    assert np.isfinite(float(total))
    for gradient in tape.gradient(total, [logits, encodings]):
        assert np.isfinite(gradient.numpy()).all()
