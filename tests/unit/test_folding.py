"""A folded network answers what the network does, before and after its weights change."""

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from boxcar.detectors.catalog import build_network
from boxcar.detectors.folding import FoldedNetwork
from boxcar.detectors.network import Network
from boxcar.inference.specification import Specification

SIZE = 64
NETWORKS = ["ssd_mobilenet_v2_fpnlite_320x320", pytest.param("retinanet_resnet50_fpn_640x640", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    yield build_network(Specification(architecture=request.param, image_size=SIZE, labels={1: "a", 2: "b"}))


def spoil(network: Network, seed: int) -> None:
    """Batch norms that change every channel, as after a training."""
    generator = np.random.default_rng(seed)
    for name, variable in network.variables_by_name().items():
        kind = name.rpartition("/")[2]
        if kind in ("gamma", "moving_variance"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
        elif kind in ("beta", "moving_mean"):
            variable.assign(generator.normal(0, 0.2, variable.shape))


def test_it_answers_the_same_and_follows_the_weights(network: Network) -> None:
    spoil(network, 0)
    folded = FoldedNetwork(network)
    run = tf.function(folded.__call__, input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)])
    pixels = tf.constant(np.random.default_rng(1).uniform(-1, 1, (3, SIZE, SIZE, 3)), tf.float32)

    def difference() -> float:
        wanted, found = network.model(pixels, training=False), run(pixels)
        assert set(found) == set(wanted)
        return max(float(tf.reduce_max(tf.abs(found[name] - wanted[name]))) for name in wanted)

    assert difference() < 2e-5
    spoil(network, 2)
    assert difference() > 1e-3
    folded.refold()
    assert difference() < 2e-5


def test_no_batch_norm_is_left_and_no_variable_is_held_twice(network: Network) -> None:
    folded = FoldedNetwork(network)
    traced = tf.function(folded.__call__).get_concrete_function(tf.TensorSpec([None, SIZE, SIZE, 3]))
    operations = {operation.type for operation in traced.graph.get_operations()}
    assert "BiasAdd" in operations
    assert not any("BatchNorm" in operation for operation in operations)
    assert len({id(variable) for variable in folded.weights}) == len(folded.weights)
    held = {id(variable.handle) for variable in folded.weights}
    assert {id(handle) for handle, _ in traced.graph.captures} == held
