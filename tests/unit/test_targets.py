"""What the network should answer: the matcher against a plain reference, and encodings that decode to the true boxes."""

import numpy as np
import pytest
import tensorflow as tf

from boxcar.detectors.targets import assign_targets
from boxcar.inference.anchors import make_anchors
from boxcar.inference.boxes import iou_matrix
from boxcar.inference.decoding import decode_boxes
from boxcar.inference.specification import Anchors, BoxCoder

ANCHORS = make_anchors(64, Anchors())


def reference(boxes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which true box each anchor is given (-1: none), and the anchors' classes: first by overlap, then each box its best."""
    owners = np.full(len(ANCHORS), -1)
    if len(boxes):
        overlaps = iou_matrix(boxes, ANCHORS)
        for anchor in range(len(ANCHORS)):
            best = int(overlaps[:, anchor].argmax())
            if overlaps[best, anchor] >= 0.5:
                owners[anchor] = best
        for box in reversed(range(len(boxes))):  # the first of two that claim one anchor has it
            owners[overlaps[box].argmax()] = box
    return owners, np.where(owners >= 0, labels[owners] if len(labels) else 0, 0)


def assign(boxes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = assign_targets(tf.constant(boxes, tf.float32), tf.constant(labels, tf.int64), ANCHORS, BoxCoder())
    return found[0].numpy(), found[1].numpy()


def check(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    box_targets, class_targets = assign(boxes, labels)
    assert box_targets.shape == (len(ANCHORS), 4)
    assert class_targets.dtype == np.int32
    owners, classes = reference(boxes, labels)
    np.testing.assert_array_equal(class_targets, classes)
    matched = owners >= 0
    np.testing.assert_array_equal(box_targets[~matched], 0)
    np.testing.assert_allclose(
        decode_boxes(box_targets[matched], ANCHORS[matched], BoxCoder()), boxes[owners[matched]], atol=1e-5
    )
    return owners


@pytest.mark.parametrize("seed", range(12))
def test_matches_are_those_of_the_reference_and_decode_to_the_true_boxes(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 12))
    corner = random.random((count, 2)) * 0.7
    boxes = np.concatenate([corner, corner + 0.02 + random.random((count, 2)) * (0.98 - corner)], axis=1).clip(0, 1)
    check(boxes.astype(np.float32), random.integers(1, 9, count))


def test_a_picture_without_boxes_is_all_background() -> None:
    box_targets, class_targets = assign(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert not box_targets.any()
    assert not class_targets.any()


def test_a_box_that_overlaps_no_anchor_by_half_is_given_its_best() -> None:
    tiny = np.array([[0.5, 0.5, 0.52, 0.52]], np.float32)
    assert iou_matrix(tiny, ANCHORS).max() < 0.5
    assert (check(tiny, np.array([3])) >= 0).sum() == 1


def test_of_two_boxes_that_claim_one_anchor_the_first_has_it() -> None:
    tiny = np.array([[0.5, 0.5, 0.52, 0.52], [0.505, 0.505, 0.525, 0.525]], np.float32)
    best = iou_matrix(tiny, ANCHORS).argmax(axis=1)
    assert best[0] == best[1]
    owners = check(tiny, np.array([3, 4]))
    assert owners[best[0]] == 0
    assert assign(tiny, np.array([3, 4]))[1].max() == 3


def test_a_box_like_an_anchor_has_an_encoding_of_zero() -> None:
    inside = np.nonzero((ANCHORS.min(axis=1) >= 0) & (ANCHORS.max(axis=1) <= 1))[0][5]
    box_targets, class_targets = assign(ANCHORS[[inside]], np.array([2]))
    np.testing.assert_allclose(box_targets[inside], 0, atol=1e-4)
    assert class_targets[inside] == 2
