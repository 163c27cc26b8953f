"""Compares a network on two replicas with itself on one, in a process of its own: TensorFlow takes its devices once.

    python two_replicas.py ARCHITECTURE

Two pictures go through one replica's ordinary batch norms, then one each through two replicas' synchronised ones. Prints the
largest difference of the heads and of the moving means.
"""

import sys

import numpy as np
import tensorflow as tf
import tf_keras

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

from boxcar.detectors.catalog import build_network  # noqa: E402
from boxcar.detectors.network import Network  # noqa: E402
from boxcar.inference.specification import Specification  # noqa: E402


def build(synchronized: bool) -> Network:
    specification = Specification(architecture=sys.argv[1], image_size=128, labels={1: "a", 2: "b"})
    return build_network(specification, 0.5, synchronized=synchronized)


# Some draws of initial weights amplify float32's rounding to 1e-4.
tf_keras.utils.set_random_seed(1)
pictures = np.random.default_rng(1).uniform(-1, 1, (2, 128, 128, 3)).astype(np.float32)
alone = build(synchronized=False)
weights = {name: variable.numpy() for name, variable in alone.variables_by_name().items()}
expected = alone.model(pictures, training=True)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    both = build(synchronized=True)
    assert list(both.variables_by_name()) == list(alone.variables_by_name())
    for name, variable in both.variables_by_name().items():
        variable.assign(weights[name])
values = strategy.experimental_distribute_values_from_function(lambda replica: pictures[replica.replica_id_in_sync_group][None])
answers = strategy.run(tf.function(lambda picture: both.model(picture, training=True)), args=(values,))
worst = 0.0
for name, value in expected.items():
    found = np.concatenate([part.numpy() for part in strategy.experimental_local_results(answers[name])])
    worst = max(worst, float(np.abs(found - value.numpy()).max()))
for name, variable in alone.variables_by_name().items():
    if name.endswith("/moving_mean"):
        worst = max(worst, float(np.abs(both.variables_by_name()[name].numpy() - variable.numpy()).max()))
print(worst)
