"""Augmentations: the boxes go where the objects go. Found by drawing rectangles and looking for their colours afterwards."""

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from boxcar.data.augmentation import MOVES, PAINTS, Sample, augment, cut, mosaic
from boxcar.inference import graph

HEIGHT, WIDTH = 120, 160
SIZE = 96
ALL = (*MOVES, *PAINTS)
SAMPLE = (tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int64))
SEED = tf.TensorSpec([2], tf.int64)
# Eccentric rectangles, one much wider than high: no mirroring or turning by mistake gives them back.
RED, GREEN = (10, 94, 46, 150), (84, 12, 110, 96)


def drawn(*boxes: tuple[int, int, int, int]) -> Sample:
    """A blue picture with a red rectangle in it, and a green one (pixels: top, left, bottom, right); labels 1 and 2."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 2] = 200
    for (top, left, bottom, right), channel in zip(boxes, (0, 1), strict=False):
        pixels[top:bottom, left:right] = 20
        pixels[top:bottom, left:right, channel] = 220
    sides = np.array([HEIGHT, WIDTH, HEIGHT, WIDTH], np.float32)
    labels = tf.range(1, len(boxes) + 1, dtype=tf.int64)
    return Sample(tf.constant(pixels), tf.constant(np.reshape(boxes, (-1, 4)) / sides, tf.float32), labels)


def seen(image: np.ndarray, channel: int) -> np.ndarray | None:
    """Box of what is redder (or greener) than all else, in pixels; None where nothing is. Padding is as red as it is blue."""
    others = np.delete(image, channel, axis=-1).max(axis=-1)
    rows, columns = np.nonzero(image[..., channel] - others > 15)
    if not len(rows):
        return None
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


@functools.cache
def varying(names: tuple[str, ...]) -> Any:
    """These augmentations of a sample, as a graph, which the input pipeline runs them as, too."""
    return tf.function(
        lambda image, boxes, labels, seed: cut(augment(Sample(image, boxes, labels), SIZE, seed, names), SIZE),
        input_signature=[*SAMPLE, SEED],
    )


@functools.cache
def laying() -> Any:
    """A mosaic as a graph."""
    return tf.function(
        lambda samples, seed: mosaic([Sample(*sample) for sample in samples], SIZE, seed), input_signature=[[SAMPLE] * 4, SEED]
    )


def laid(samples: list[Sample], seed: tf.Tensor) -> Sample:
    return laying()([sample[:3] for sample in samples], seed)


def varied(sample: Sample, seed: tf.Tensor, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, boxes, labels, window = varying(names)(*sample[:3], seed)
    assert window is None
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == tf.float32
    assert boxes.shape == (len(labels), 4)
    return image.numpy(), boxes.numpy(), labels.numpy()


def seeds(count: int) -> list[tf.Tensor]:
    return [tf.constant([3, position], tf.int64) for position in range(count)]


@pytest.mark.parametrize(
    "names", [*((name,) for name in ALL), ALL, ("colour", "scale_jitter", "horizontal_flip")], ids="+".join
)
def test_boxes_cover_what_they_covered(names: tuple[str, ...]) -> None:
    sample = drawn(RED, GREEN)
    as_it_was = cut(sample, SIZE)
    moved = painted = 0
    for seed in seeds(40):
        image, boxes, labels = varied(sample, seed, names)
        assert image.min() >= 0
        assert image.max() <= 255
        assert boxes.min(initial=0) >= 0
        assert boxes.max(initial=1) <= 1
        for box, label in zip(boxes, labels, strict=True):
            found = seen(image, label - 1)
            # Of a sliver only a shade may be seen.
            if found is None:
                assert (box[2:] - box[:2]).min() * SIZE < 2
            else:
                np.testing.assert_allclose(box * SIZE, found, atol=2)
        moved += not np.allclose(boxes, as_it_was.boxes, atol=1e-3) if len(boxes) == 2 else 1
        painted += not np.array_equal(image, as_it_was.image)
    if names == ("colour",):
        assert (moved, painted) == (0, 40)
    elif names == ("horizontal_flip",):
        assert 10 <= moved <= 30
    else:
        assert 20 <= moved <= 40


def test_an_object_that_is_gone_is_left_out_with_its_label() -> None:
    sample = drawn((0, 0, 15, 20), (48, 64, 72, 96))
    gone = 0
    for seed in seeds(60):
        image, _, labels = varied(sample, seed, ("scale_jitter",))
        assert labels.tolist() in ([1, 2], [2])
        if len(labels) == 1:
            gone += 1
            found = seen(image, 0)
            # Less than 30 % of it is left, however enlarged.
            assert found is None or np.prod(found[2:] - found[:2]) < 0.3 * 15 * 20 * (SIZE / 120) * (SIZE / 160) / 0.5**2
    assert 3 <= gone <= 40


def test_a_crop_keeps_every_object_of_which_anything_is_left() -> None:
    sample = drawn((0, 0, 12, 160), (108, 0, 120, 160))
    kept = []
    for seed in seeds(60):
        image, _, labels = varied(sample, seed, ("crop",))
        kept.append(labels.tolist())
        for label in (1, 2):
            assert label in labels or seen(image, label - 1) is None
    assert [1] in kept
    assert [2] in kept


@pytest.mark.parametrize(("height", "width"), [(120, 160), (60, 300), (300, 320)])
def test_crops_have_the_zoos_areas_and_aspects(height: int, width: int) -> None:
    sample = Sample(tf.zeros([height, width, 3], tf.uint8), tf.zeros([0, 4]), tf.zeros([0], tf.int64))
    crop = tf.function(lambda seed: augment(sample, SIZE, seed, ("crop",)).window)
    windows = np.array([crop(seed) for seed in seeds(200)])
    assert windows.min() >= 0
    assert windows.max() <= 1
    sides = windows[:, 2:] - windows[:, :2]
    area, aspect = sides.prod(axis=1), sides[:, 1] * width / (sides[:, 0] * height)
    assert area.min() > 0.74
    whole = area > 0.999
    assert aspect[~whole].max(initial=0.75) < 3.05
    assert aspect[~whole].min(initial=3.0) > 0.74
    if width == 300:  # nothing of it is as narrow as 3 to 1 and has 75 % of its area
        assert whole.all()
    else:
        assert area.max() - area.min() > 0.15


def test_scale_jitter_shows_a_third_as_it_is_and_grey_beyond_the_edges() -> None:
    sample = drawn(RED)
    as_it_was = cut(sample, SIZE).image.numpy()
    images = [varied(sample, seed, ("scale_jitter",))[0] for seed in seeds(90)]
    assert 15 <= sum(np.array_equal(image, as_it_was) for image in images) <= 45
    grey = [(image == 127.5).all(axis=-1).mean() for image in images]
    assert max(grey) > 0.3
    assert 20 <= np.count_nonzero(grey) <= 60


def test_a_flipped_picture_is_the_picture_mirrored() -> None:
    sample = drawn(RED, GREEN)
    straight = cut(sample._replace(window=tf.constant([0.0, 0, 1, 1])), SIZE).image.numpy()
    np.testing.assert_array_equal(straight, graph.resize(sample.image, SIZE))
    mirrored = sample._replace(image=tf.reverse(sample.image, [1]))
    np.testing.assert_array_equal(
        cut(sample._replace(window=tf.constant([0.0, 1, 1, 0])), SIZE).image, graph.resize(mirrored.image, SIZE)
    )


def test_a_window_of_the_picture_is_as_sharp_as_the_picture() -> None:
    # Lines a pixel wide survive where the picture is cut, not where it was made smaller first.
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, ::2] = 255
    sample = Sample(tf.constant(pixels), tf.zeros([0, 4]), tf.zeros([0], tf.int64), tf.constant([0.1, 0.2, 0.9, 0.8]))
    np.testing.assert_array_equal(cut(sample, SIZE).image, pixels[12:108, 32:128])


def test_colour_is_brightness_then_contrast_then_saturation() -> None:
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 8, 3)), tf.float32)
    for seed in seeds(8):
        brightness, contrast, saturation = tf.random.stateless_uniform([3], seed).numpy()
        expected = image + 255 * (0.24 * brightness - 0.12)
        expected = (expected - 127.5) * (0.7 + 0.6 * contrast) + 127.5
        grey = tf.reduce_mean(expected, axis=-1, keepdims=True)
        expected = tf.clip_by_value(grey + (expected - grey) * (0.7 + 0.6 * saturation), 0, 255)
        got = PAINTS["colour"](Sample(image, tf.zeros([0, 4]), tf.zeros([0], tf.int64)), seed).image
        np.testing.assert_allclose(got, expected, atol=1e-3)


def test_a_mosaics_boxes_cover_their_objects_in_all_four_places() -> None:
    four = [drawn(RED, GREEN) for _ in range(4)]
    count = 0
    for seed in seeds(12):
        # One after the other is the only one with objects in it: its colours are found once.
        for alone in range(4):
            empty = drawn()
            image, boxes, labels, window = laid([one if n == alone else empty for n, one in enumerate(four)], seed)
            assert window is None
            assert image.shape == (SIZE, SIZE, 3)
            assert not (image.numpy() == 127.5).all(axis=-1).any()
            for box, label in zip(boxes.numpy(), labels.numpy(), strict=True):
                found = seen(image.numpy(), label - 1)
                assert found is not None
                np.testing.assert_allclose(box * SIZE, found, atol=2)
                row, column = divmod(alone, 2)
                assert (box[0] > 0.29) if row else (box[2] < 0.71)
                assert (box[1] > 0.29) if column else (box[3] < 0.71)
                count += 1
        together = laid(four, seed)
        assert len(together.boxes) == len(together.labels)
    assert 40 < count < 96


def test_the_same_seed_gives_the_same_picture_and_another_another() -> None:
    sample = drawn(RED, GREEN)
    first, again, other = (varied(sample, tf.constant(seed, tf.int64), ALL) for seed in ([1, 2], [1, 2], [1, 3]))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])


def test_pictures_without_boxes_stay_without() -> None:
    for seed in seeds(6):
        _, boxes, labels = varied(drawn(), seed, ALL)
        assert boxes.shape == (0, 4)
        assert labels.shape == (0,)
        assert laid([drawn()] * 4, seed).boxes.shape == (0, 4)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 200), (3, 2)])
def test_the_smallest_pictures_are_taken_too(height: int, width: int) -> None:
    sample = Sample(
        tf.fill([height, width, 3], tf.constant(200, tf.uint8)), tf.constant([[0.0, 0, 1, 1]]), tf.constant([1], tf.int64)
    )
    for seed in seeds(12):
        image, _, _ = varied(sample, seed, tuple(MOVES))
        assert np.isin(image.round(), (200, 128)).all()
        np.testing.assert_array_equal(laid([sample] * 4, seed).image, np.full((SIZE, SIZE, 3), 200))


def test_no_augmentation_leaves_all_as_it_is() -> None:
    sample = drawn(RED, GREEN)
    image, boxes, labels = varied(sample, tf.constant([0, 0], tf.int64), ())
    np.testing.assert_array_equal(image, graph.resize(sample.image, SIZE))
    np.testing.assert_array_equal(boxes, sample.boxes)
    np.testing.assert_array_equal(labels, sample.labels)
