"""Compares the gradients of a network on two replicas with those on one, in float64 and in a process of its own.

    python two_replicas_gradients.py

In float32 both are off by a hundredth in places, since these small maps magnify rounding; in float64 an error of the
computation itself would still show. Prints the largest difference, relative to each variable's largest gradient.
"""

import numpy as np
import tensorflow as tf
import tf_keras

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
tf_keras.backend.set_floatx("float64")

from boxcar.detectors.catalog import build_network  # noqa: E402
from boxcar.detectors.network import Network  # noqa: E402
from boxcar.inference.specification import Specification  # noqa: E402

SPECIFICATION = Specification(architecture="ssd_mobilenet_v2_fpnlite_320x320", image_size=64, labels={1: "a", 2: "b"})
random = np.random.default_rng(1)
pictures = random.uniform(-1, 1, (4, 64, 64, 3))


def gradients(network: Network, images: tf.Tensor, wanted: tf.Tensor) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        heads = network.model(images, training=True)
        distance = tf.reduce_sum(tf.square(heads["box_encodings"] - wanted)) / 100
        loss = distance + tf.reduce_sum(tf.sigmoid(heads["class_logits"])) / 100
    found: list[tf.Tensor] = tape.gradient(loss, network.model.trainable_variables)
    return found


alone = build_network(SPECIFICATION)
targets = random.normal(size=(4, alone.model.output_shape["box_encodings"][1], 4)).astype(np.float32)
expected = tf.function(lambda: gradients(alone, tf.constant(pictures), tf.constant(targets)))()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    both = build_network(SPECIFICATION, synchronized=True)
    for name, variable in alone.variables_by_name().items():
        both.variables_by_name()[name].assign(variable.numpy())


def deal(array: np.ndarray) -> tf.distribute.DistributedValues:
    return strategy.experimental_distribute_values_from_function(
        lambda replica: tf.constant(array[2 * replica.replica_id_in_sync_group :][:2])
    )


def replica(images: tf.Tensor, wanted: tf.Tensor) -> list[tf.Tensor]:
    context = tf.distribute.get_replica_context()
    summed: list[tf.Tensor] = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients(both, images, wanted))
    return summed


answers = tf.function(lambda images, wanted: strategy.run(replica, args=(images, wanted)))(deal(pictures), deal(targets))
worst = 0.0
for one, answer in zip(expected, answers, strict=True):
    largest = float(np.abs(one.numpy()).max())
    if largest > 1e-6:  # biases in front of a batch norm have no gradient, only rounding
        two = strategy.experimental_local_results(answer)[0].numpy()
        worst = max(worst, float(np.abs(two - one.numpy()).max()) / largest)
print(worst)
