"""Augmentations: the boxes go where the objects go. Found by drawing a rectangle and looking for its colour afterwards."""

import numpy as np
import pytest
import tensorflow as tf

from boxcar.detectors.augmentation import AUGMENTATIONS, MIN_VISIBLE, augment

SIZE = 96
ALL = tuple(AUGMENTATIONS)


def drawn(box: tuple[int, int, int, int]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A blue picture with a red rectangle in it (pixels: top, left, bottom, right), its box and its label."""
    pixels = np.zeros((SIZE, SIZE, 3), np.float32)
    pixels[..., 2] = 200
    pixels[box[0] : box[2], box[1] : box[3]] = [220, 20, 20]
    return tf.constant(pixels), tf.constant([box], tf.float32) / SIZE, tf.constant([7], tf.int64)


def seen(image: np.ndarray) -> np.ndarray | None:
    """Box of what is more red than blue, in pixels; None where nothing is. Padding is as red as it is blue."""
    rows, columns = np.nonzero(image[..., 0] - image[..., 2] > 15)
    if not len(rows):
        return None
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


def seeds(count: int) -> list[tf.Tensor]:
    return [tf.constant([3, position], tf.int64) for position in range(count)]


@pytest.mark.parametrize("names", [("horizontal_flip",), ("zoom",), ("colour",), ALL], ids="+".join)
def test_boxes_cover_what_they_covered(names: tuple[str, ...]) -> None:
    # An eccentric rectangle: no mirroring or turning by mistake gives it back.
    sample = drawn((10, 54, 40, 90))
    moved = 0
    for seed in seeds(40):
        image, boxes, labels = (tensor.numpy() for tensor in augment(*sample, seed, names))
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 255
        found = seen(image)
        if len(boxes) == 0:
            assert labels.shape == (0,)
            # Next to nothing of it is left: less than the share below which an object counts as gone, however enlarged.
            assert found is None or np.prod(found[2:] - found[:2]) < MIN_VISIBLE * 30 * 36 / 0.6**2 * 1.4
            continue
        assert labels.tolist() == [7]
        assert boxes.min() >= 0
        assert boxes.max() <= 1
        assert found is not None
        np.testing.assert_allclose(boxes[0] * SIZE, found, atol=2.1)
        moved += not np.allclose(boxes[0], sample[1][0], atol=1e-3)
    assert moved >= 12 or names == ("colour",)


def test_every_augmentation_changes_some_pictures_and_flips_about_half() -> None:
    sample = drawn((10, 54, 40, 90))
    for name in ALL:
        changed = [not np.array_equal(augment(*sample, seed, (name,))[0], sample[0]) for seed in seeds(40)]
        assert 10 <= sum(changed) <= 40, name
        if name == "horizontal_flip":
            assert sum(changed) < 30


def test_objects_that_leave_the_picture_are_left_out_with_their_labels() -> None:
    image, box, _ = drawn((0, 0, 12, 12))
    boxes = tf.concat([box, tf.constant([[0.4, 0.4, 0.6, 0.6]])], axis=0)
    gone = 0
    for seed in seeds(60):
        _, kept, labels = augment(image, boxes, tf.constant([7, 8], tf.int64), seed, ("zoom",))
        assert len(kept) == len(labels)
        assert labels.numpy().tolist() in ([7, 8], [8])
        gone += len(labels) == 1
    assert 3 <= gone <= 40


def test_the_same_seed_gives_the_same_picture_and_another_another() -> None:
    sample = drawn((10, 54, 40, 90))
    first, again, other = (augment(*sample, tf.constant(seed, tf.int64), ALL) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_pictures_without_boxes_stay_without() -> None:
    image, _, _ = drawn((10, 54, 40, 90))
    for seed in seeds(6):
        _, boxes, labels = augment(image, tf.zeros([0, 4]), tf.zeros([0], tf.int64), seed, ALL)
        assert boxes.shape == (0, 4)
        assert labels.shape == (0,)


def test_no_augmentation_leaves_all_as_it_is() -> None:
    sample = drawn((10, 54, 40, 90))
    for before, after in zip(sample, augment(*sample, tf.constant([0, 0], tf.int64), ()), strict=True):
        np.testing.assert_array_equal(before, after)
