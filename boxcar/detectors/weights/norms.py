"""Gives batch norms the statistics of their inputs, without a change of what the network finds. Loads TensorFlow.

Weights whose norms were folded into the convolutions have no statistics. Training would change them by far in the first steps,
since a norm then uses those of the batch.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxcar.detectors.network import Network

Floats = npt.NDArray[np.float64]


def measure_norms(network: Network, batches: Iterable[tf.Tensor]) -> None:
    """Sets the moving statistics of every batch norm to those of its inputs, and its gamma and beta so that the network's
    inference stays the same within rounding.

    A channel that is the same in every image has a variance of 0, and keeps its effect too.

    Args:
        network: computes in float32; its variables are changed.
        batches: images [B, S, S, 3] in the specification's value range, of the same number each. They are read once.
    """
    moments, norms = _trace_moments(network)
    sums: list[Floats] = [np.zeros((2, norm[0].shape[0])) for norm in norms]
    count = 0
    for images in batches:
        for total, (mean, variance) in zip(sums, moments(images), strict=True):
            mean = mean.numpy().astype(np.float64)
            total += np.stack([mean, variance.numpy() + mean**2])
        count += 1
    for (gamma, beta, moving_mean, moving_variance, epsilon), (mean, square) in zip(norms, sums, strict=True):
        mean, square = mean / count, square / count
        variance = np.maximum(square - mean**2, 0.0)
        factor = gamma.numpy() / np.sqrt(moving_variance.numpy().astype(np.float64) + epsilon)
        gamma.assign(factor * np.sqrt(variance + epsilon))
        beta.assign(beta.numpy() + (mean - moving_mean.numpy()) * factor)
        moving_mean.assign(mean)
        moving_variance.assign(variance)


def _trace_moments(network: Network) -> tuple[tf.types.experimental.ConcreteFunction, list[tuple[tf.Variable, ...]]]:
    """A function from images to the mean and the variance [C] of each norm's input, and each norm's gamma, beta, moving mean,
    moving variance, and epsilon."""
    size = network.specification.image_size
    handles = {id(variable.handle): variable for variable in network.model.variables}
    norms = []

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32)])  # type: ignore[untyped-decorator]
    def moments(images: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        network.model(images, training=False)
        graph = tf.compat.v1.get_default_graph()
        captured = {inner.op.name: handles[id(outer)] for outer, inner in graph.captures}
        found = []
        for operation in graph.get_operations():
            if operation.type == "FusedBatchNormV3":
                variables = (_variable(value.op, captured) for value in operation.inputs[1:])
                norms.append((*variables, operation.get_attr("epsilon")))
                found.append(tf.nn.moments(operation.inputs[0], axes=[0, 1, 2]))
        return found

    return moments.get_concrete_function(), norms


def _variable(operation: tf.Operation, captured: dict[str, tf.Variable]) -> tf.Variable:
    """The variable that an operation of a graph reads."""
    while operation.type in ("Identity", "ReadVariableOp"):
        operation = operation.inputs[0].op
    return captured[operation.name]
