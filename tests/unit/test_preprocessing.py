"""Preprocessing exists twice, on the host and in the graph: both give the same, in the range that the description names."""

import numpy as np
import pytest
import tensorflow as tf

from boxcar.inference import graph
from boxcar.inference.preprocessing import check_value_range, normalization, preprocess, to_bytes
from boxcar.inference.specification import Specification

RANGES = [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-2.1, 2.6)]


def specification(size: int = 64, value_range: tuple[float, float] = (-1.0, 1.0)) -> Specification:
    return Specification(architecture="any", image_size=size, value_range=value_range, labels={1: "a"})


@pytest.mark.parametrize("value_range", RANGES)
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(1, 1, 64), (1, 500, 64), (37, 53, 64), (64, 64, 64), (333, 500, 320), (1081, 719, 128), (640, 480, 320), (2, 3, 96)],
)
def test_host_and_graph_give_the_same(height: int, width: int, size: int, value_range: tuple[float, float]) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    chosen = specification(size, value_range)
    ours = preprocess(image, chosen)
    assert ours.shape == (size, size, 3)
    assert ours.dtype == np.float32
    resized = graph.resize(tf.constant(image), size)
    assert resized.dtype == tf.float32
    low, high = value_range
    atol = 1e-6 * (high - low)
    np.testing.assert_allclose(ours, graph.normalize(resized, chosen).numpy(), atol=atol)
    batch = graph.normalize(graph.resize(tf.constant(np.stack([image, 255 - image])), size), chosen).numpy()
    np.testing.assert_allclose(batch[0], ours, atol=atol)
    np.testing.assert_allclose(batch[1], low + high - ours, atol=2 * atol)


@pytest.mark.parametrize("value_range", RANGES)
def test_black_and_white_are_the_ends_of_the_range(value_range: tuple[float, float]) -> None:
    low, high = value_range
    chosen, tolerance = specification(64, value_range), (high - low) * 1e-6
    assert preprocess(np.zeros((5, 7, 3), np.uint8), chosen).max() == np.float32(low)
    assert preprocess(np.full((5, 7, 3), 255, np.uint8), chosen).min() == pytest.approx(high, abs=tolerance)
    # Positions are those of upper left corners, as TensorFlow 1 resized, with which the zoo's weights were trained.
    ramp = np.repeat(np.array([[0, 255]], np.uint8)[..., None], 3, axis=2)
    middle = (low + high) / 2
    four = chosen.model_copy(update={"image_size": 4})
    np.testing.assert_allclose(preprocess(ramp, four)[0, :, 0], [low, middle, high, high], atol=tolerance)


@pytest.mark.parametrize("value_range", RANGES)
def test_bytes_come_back(value_range: tuple[float, float]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    chosen = specification(64, value_range)
    pixels = preprocess(image, chosen)
    np.testing.assert_array_equal(to_bytes(pixels, chosen), image)
    mean, deviation = normalization(chosen)
    np.testing.assert_allclose((image - mean) / deviation, pixels, rtol=0, atol=(value_range[1] - value_range[0]) * 1e-6)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}",
)
def test_what_is_not_an_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        preprocess(image, specification())


def test_the_usual_mistakes_are_out_of_range() -> None:
    check_value_range(np.array([-1, 0, 1], np.float32), specification())
    for wrong in ([0, 255], [-1.1, 0], [0, 1.1], [np.nan, 0], [np.inf, 0], [-np.inf, 0]):
        with pytest.raises(ValueError, match=r"\[-1, 1\]"):
            check_value_range(np.array(wrong, np.float32), specification())
    check_value_range(np.array([0, 1], np.float32), specification(value_range=(0.0, 1.0)))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        check_value_range(np.array([-1, 1], np.float32), specification(value_range=(0.0, 1.0)))
