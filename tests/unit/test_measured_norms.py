"""Batch norms get the statistics of their inputs, and the network finds what it found before."""

import numpy as np
import pytest
import tensorflow as tf
from fresh_networks import FreshNetworks

from boxcar.detectors.catalog import build_network, find_architecture
from boxcar.detectors.network import Network
from boxcar.detectors.weights.norms import measure_norms

NETWORKS = ["ssd_mobilenet_v2_fpnlite_320x320", pytest.param("retinanet_resnet50_fpn_640x640", marks=pytest.mark.slow)]
STEM = "model/_feature_extractor/classification_backbone/layer_with_weights-{}/{}"


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32) for _ in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", NETWORKS)
def test_inference_stays_the_same(architecture: str, images: list[np.ndarray]) -> None:
    network = build_network(find_architecture(architecture).specify(64, {1: "raccoon"}))
    batch = np.concatenate(images)
    before = found(network, batch)
    norms = [variable for name, variable in network.variables_by_name().items() if name.endswith("moving_variance")]
    statistics = [variable.numpy() for variable in norms]
    measure_norms(network, images)
    after = found(network, batch)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=0, atol=1e-4 * np.abs(value).max())
    assert all((norm.numpy() != old).any() for norm, old in zip(norms, statistics, strict=True))


def test_the_statistics_are_those_of_all_images_and_a_dead_channel_stays_dead(
    images: list[np.ndarray], fresh_network: FreshNetworks
) -> None:
    network = fresh_network(find_architecture("ssd_mobilenet_v2_fpnlite_320x320").specify(64, {1: "raccoon"}))
    variables = network.variables_by_name()
    kernel = variables[STEM.format(0, "kernel")]
    values = kernel.numpy()
    values[..., 5] = 0
    kernel.assign(values)
    measure_norms(network, images)
    mean, variance = (variables[STEM.format(1, f"moving_{name}")].numpy() for name in ("mean", "variance"))
    output = tf.nn.conv2d(np.concatenate(images), kernel, 2, "SAME").numpy().reshape(-1, 32)
    np.testing.assert_allclose(mean, output.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(variance, output.var(axis=0), rtol=1e-3, atol=1e-6)
    assert (mean[5], variance[5]) == (0, 0)
    assert all(np.isfinite(variable.numpy()).all() for variable in variables.values())


def found(network: Network, images: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in network.model(images, training=False).items()}
