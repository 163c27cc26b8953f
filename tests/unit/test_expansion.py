"""What an expansion computes is what the convolution and the batch norm in it compute, forward and backward."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from boxcar.detectors import expansion
from boxcar.detectors.architectures.ssd_mobilenet_v2_fpnlite import ARCHITECTURES
from boxcar.detectors.catalog import build_network
from boxcar.detectors.expansion import Expansion
from boxcar.detectors.network import Network

CHANNELS, FILTERS = 8, 48


@pytest.fixture
def layers() -> tuple[Any, Any]:
    """A convolution and a norm whose numbers are none of the defaults."""
    convolution = tf_keras.layers.Conv2D(FILTERS, 1, use_bias=False)
    norm = tf_keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    norm(convolution(tf.zeros([1, 2, 2, CHANNELS])))
    generator = np.random.default_rng(0)
    for variable in (*convolution.variables, *norm.variables):
        variable.assign(generator.uniform(0.5, 1.5, variable.shape) * np.sign(generator.normal(size=variable.shape)) ** 2)
    convolution.kernel.assign(generator.normal(size=convolution.kernel.shape))
    return convolution, norm


def pictures(shift: float) -> tf.Tensor:
    generator = np.random.default_rng(1)
    scales = np.geomspace(0.05, 3, CHANNELS)
    return tf.constant(generator.normal(shift, 1, [4, 6, 5, CHANNELS]) * scales, tf.float32)


def trained(layer: Any, x: tf.Tensor, variables: list[tf.Variable], moving: list[tf.Variable]) -> list[Any]:
    """The answer in training, what a loss of it makes of input and variables, and where the statistics went from here."""
    before = [variable.numpy() for variable in moving]
    with tf.GradientTape() as tape:
        tape.watch(x)
        answer = layer(x)
        loss = tf.reduce_sum(
            tf.nn.relu6(answer) * tf.cos(tf.range(tf.size(answer), dtype=tf.float32)).numpy().reshape(answer.shape)
        )
    found = [answer.numpy(), *(gradient.numpy() for gradient in tape.gradient(loss, [x, *variables]))]
    found += [variable.numpy() for variable in moving]
    for variable, value in zip(moving, before, strict=True):
        variable.assign(value)
    return found


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_training_is_that_of_the_convolution_and_the_norm(layers: tuple[Any, Any], shift: float) -> None:
    convolution, norm = layers
    x, variables = pictures(shift), [convolution.kernel, norm.gamma, norm.beta]
    moving = [norm.moving_mean, norm.moving_variance]
    wanted = trained(lambda x: norm(convolution(x), training=True), x, variables, moving)
    found = trained(lambda x: Expansion(convolution, norm)(x, training=True), x, variables, moving)
    names = ["answer", "input", "kernel", "gamma", "beta", "moving mean", "moving variance"]
    for name, one, other in zip(names, wanted, found, strict=True):
        # Of numbers around 30 float32 keeps a sixth of the digits that it keeps of those around 0.
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=2e-5 * np.abs(one).max() * (1 + shift), err_msg=name)


def test_otherwise_and_frozen_it_runs_the_two(layers: tuple[Any, Any]) -> None:
    convolution, norm = layers
    x = pictures(1.0)
    inferred = norm(convolution(x), training=False)
    layer = Expansion(convolution, norm)
    np.testing.assert_array_equal(layer(x, training=False), inferred)
    layer.trainable = False
    mean = norm.moving_mean.numpy()
    np.testing.assert_array_equal(layer(x, training=True), inferred)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), mean)


def test_a_network_with_expansions_is_the_network_without(monkeypatch: pytest.MonkeyPatch) -> None:
    specification = ARCHITECTURES[0].specify(128, {1: "a", 2: "b"})
    light = build_network(specification)
    monkeypatch.setattr(expansion, "MOST_CHANNELS", 0)
    plain = build_network(specification)
    assert count_expansions(light) == 6
    assert count_expansions(plain) == 0
    variables = light.variables_by_name()
    assert list(variables) == list(plain.variables_by_name())
    assert {id(variable) for variable in variables.values()} == {id(variable) for variable in light.model.variables}
    for name, variable in plain.variables_by_name().items():
        variable.assign(variables[name])
    assert [variable.shape for variable in light.model.variables] == [variable.shape for variable in plain.model.variables]
    x = tf.random.stateless_uniform([8, 128, 128, 3], [1, 2], -1, 1)
    for training in (False, True):
        ours, theirs = (network.model(x, training=training) for network in (light, plain))
        for name, head in theirs.items():
            np.testing.assert_allclose(ours[name], head, atol=2e-4, err_msg=f"{name}, training {training}")
    for name, variable in plain.variables_by_name().items():
        np.testing.assert_allclose(variables[name].numpy(), variable.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)


def count_expansions(network: Network) -> int:
    return sum(isinstance(layer, Expansion) for layer in network.model._flatten_layers())
