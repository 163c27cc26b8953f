"""Nearest up-sampling: the same values in training as in inference, and a gradient that XLA can compile."""

import numpy as np
import tensorflow as tf

from boxcar.detectors.upsampling import NearestUpSampling


def features() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(2, 3, 5, 4)), tf.float32)


def test_training_and_inference_give_the_same_values() -> None:
    layer = NearestUpSampling("upsample")
    wanted = np.repeat(np.repeat(features(), 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(layer(features(), training=True), wanted)
    np.testing.assert_array_equal(layer(features(), training=False), wanted)


def test_xla_compiles_the_gradient() -> None:
    layer = NearestUpSampling("upsample")
    weights = tf.constant(np.random.default_rng(1).normal(size=(2, 6, 10, 4)), tf.float32)

    @tf.function(jit_compile=True)
    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) * weights)
        return tape.gradient(loss, x)

    # Each value stands in four places.
    wanted = np.asarray(weights).reshape(2, 3, 2, 5, 2, 4).sum(axis=(2, 4))
    np.testing.assert_allclose(gradient(features()), wanted, rtol=0, atol=1e-5)


def test_inference_is_the_resize_that_converters_know() -> None:
    layer = NearestUpSampling("upsample")
    graph = tf.function(lambda x: layer(x, training=False)).get_concrete_function(tf.TensorSpec([1, 3, 5, 4])).graph
    assert [op.type for op in graph.get_operations() if "Resize" in op.type] == ["ResizeNearestNeighbor"]
