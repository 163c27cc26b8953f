"""Preprocessing exists twice, on the host and in the graph: both say the same, in the range that all rely on."""

import numpy as np
import pytest
import tensorflow as tf

from boxcar.inference import graph
from boxcar.inference.preprocessing import check_value_range, preprocess


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(1, 1, 64), (1, 500, 64), (37, 53, 64), (64, 64, 64), (333, 500, 320), (1081, 719, 128), (640, 480, 320), (2, 3, 96)],
)
def test_host_and_graph_say_the_same(height: int, width: int, size: int) -> None:
    picture = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    ours = preprocess(picture, size)
    assert ours.shape == (size, size, 3)
    assert ours.dtype == np.float32
    resized = graph.resize(tf.constant(picture), size)
    assert resized.dtype == tf.float32
    np.testing.assert_allclose(ours, graph.normalise(resized).numpy(), atol=2e-6)
    batch = graph.normalise(graph.resize(tf.constant(np.stack([picture, 255 - picture])), size)).numpy()
    np.testing.assert_allclose(batch[0], ours, atol=2e-6)
    np.testing.assert_allclose(batch[1], -ours, atol=2e-6)


def test_the_range_is_minus_one_to_one() -> None:
    assert preprocess(np.zeros((5, 7, 3), np.uint8), 64).max() == -1
    assert preprocess(np.full((5, 7, 3), 255, np.uint8), 64).min() == pytest.approx(1, abs=1e-6)
    # Positions are those of upper left corners, as TensorFlow 1 resized, with which the zoo's weights were trained.
    ramp = np.repeat(np.array([[0, 255]], np.uint8)[..., None], 3, axis=2)
    np.testing.assert_allclose(preprocess(ramp, 4)[0, :, 0], [-1, 0, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    "picture",
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
def test_what_is_no_rgb_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        preprocess(picture, 64)


def test_the_usual_mistakes_are_out_of_range() -> None:
    check_value_range(np.array([-1, 0, 1], np.float32))
    for wrong in ([0, 255], [-1.1, 0], [0, 1.1], [np.nan, 0], [np.inf, 0], [-np.inf, 0]):
        with pytest.raises(ValueError, match=r"\[-1, 1\]"):
            check_value_range(np.array(wrong, np.float32))
