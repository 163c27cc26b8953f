"""Initial weights of other classes, or with only a part in common with the network: what fits is loaded, and said."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from fresh_networks import FreshNetworks

from boxcar.detectors.catalog import build_network, find_architecture
from boxcar.detectors.checkpoint_sources import InitialWeights, find_checkpoint, find_packaged
from boxcar.detectors.network import Network
from boxcar.detectors.weights.initial_weights import Loaded, load_initial
from boxcar.detectors.weights.packaged import read_packaged
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Anchors, Specification

NAME = "ssd_mobilenet_v2_fpnlite_320x320"
CLASSES = "model/_box_predictor/_prediction_heads/"
BOXES = "model/_box_predictor/_box_prediction_head/"


def specify(labels: int, **update: Any) -> Specification:
    specification = find_architecture(NAME).specify(64, {label: str(label) for label in range(1, labels + 1)})
    return specification.model_copy(update=update)


@pytest.fixture(scope="module")
def three() -> Network:
    network = build_network(specify(3))
    for variable in network.model.variables:
        variable.assign_add(tf.random.stateless_uniform(variable.shape, [1, 2]))
    return network


@pytest.fixture(scope="module")
def started(three: Network, tmp_path_factory: pytest.TempPathFactory) -> InitialWeights:
    path = tmp_path_factory.mktemp("weights") / "ckpt-3"
    return find_checkpoint(tf.train.Checkpoint(model=three.trackable()).write(str(path)))


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)]


def values(network: Network) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in network.variables_by_name().items()}


def nothing() -> Iterator[Any]:
    raise AssertionError("images are read although the weights have statistics")
    yield


def check_loaded(network: Network, before: dict[str, np.ndarray], source: dict[str, np.ndarray], kept: tuple[str, ...]) -> None:
    """Everything comes from the source, except for what begins so."""
    for name, value in values(network).items():
        np.testing.assert_array_equal(value, (before if name.startswith(kept) else source)[name], err_msg=name)


def test_of_other_classes_all_but_the_class_predictor_is_loaded(
    three: Network, started: InitialWeights, fresh_network: FreshNetworks
) -> None:
    five = fresh_network(specify(5))
    before = values(five)
    loaded = load_initial(five, started, nothing(), {})
    sentence = f"Loaded 381 of 384 variables of {started.source}; the class predictor starts from random weights."
    assert loaded == Loaded(sentence, complete=False)
    check_loaded(five, before, values(three), (CLASSES,))


def test_as_many_classes_of_unknown_names_are_not_taken_for_the_same(
    three: Network, started: InitialWeights, fresh_network: FreshNetworks
) -> None:
    network = fresh_network(specify(3))
    before = values(network)
    load_initial(network, started, nothing(), {})
    check_loaded(network, before, values(three), (CLASSES,))


def test_another_image_size_has_the_same_weights(three: Network, started: InitialWeights, fresh_network: FreshNetworks) -> None:
    network = fresh_network(specify(3, image_size=96))
    before = values(network)
    assert load_initial(network, started, nothing(), {}).sentence.startswith("Loaded 381 of 384 variables")
    check_loaded(network, before, values(three), (CLASSES,))


def test_other_anchors_start_with_a_box_predictor_of_their_own(
    three: Network, started: InitialWeights, fresh_network: FreshNetworks
) -> None:
    network = fresh_network(specify(3, anchors=Anchors(scales_per_octave=3)))
    before = values(network)
    sentence = load_initial(network, started, nothing(), {}).sentence
    assert sentence.startswith(f"Loaded 379 of 384 variables of {started.source}: 260 of 260 of the backbone, and 119 of 121 ")
    kept = tuple(f"{BOXES}_box_encoder_layers/0/{name}" for name in ("pointwise_kernel", "bias"))
    check_loaded(network, before, values(three), (CLASSES, *kept))


def test_a_backbone_alone_is_loaded(three: Network, tmp_path: Path, fresh_network: FreshNetworks) -> None:
    part = tf.Module()
    part._feature_extractor = tf.Module()
    part._feature_extractor.classification_backbone = three.trackable()._feature_extractor.classification_backbone
    backbone = find_checkpoint(tf.train.Checkpoint(model=part).write(str(tmp_path / "ckpt-1")))
    network = fresh_network(specify(5))
    before = values(network)
    sentence = load_initial(network, backbone, nothing(), {}).sentence
    assert sentence.startswith(f"Loaded 260 of 384 variables of {backbone.source}: 260 of 260 of the backbone, and 0 of 121 ")
    check_loaded(network, before, values(three), ("model/_box", "model/_feature_extractor/_"))


@pytest.mark.parametrize("what", [pytest.param("another architecture", marks=pytest.mark.slow), "without a backbone"])
def test_where_nothing_of_the_backbone_fits_it_is_65_and_nothing_changes(
    what: str, three: Network, started: InitialWeights, tmp_path: Path, fresh_network: FreshNetworks
) -> None:
    network, other = fresh_network(specify(3)), started
    if what == "another architecture":
        network = fresh_network(find_architecture("retinanet_resnet50_fpn_640x640").specify(64, {1: "raccoon"}))
    else:
        part = tf.Module()
        part._box_predictor = three.trackable()._box_predictor
        other = find_checkpoint(tf.train.Checkpoint(model=part).write(str(tmp_path / "ckpt-1")))
    before = values(network)
    with pytest.raises(BoxcarError, match=r"fits the backbone of") as caught:
        load_initial(network, other, nothing(), {})
    assert caught.value.code is ExitCode.DATA
    assert len(caught.value.details) == sum(len(layer.variables) for layer in network.backbone)
    check_loaded(network, before, before, ())


def test_packaged_weights_get_the_statistics_of_the_images(images: list[np.ndarray], fresh_network: FreshNetworks) -> None:
    """The network finds what it finds with the file as it is, and its batch norms know what they see."""
    packaged = find_packaged(NAME)
    stored, _ = read_packaged(packaged.path)
    reference = fresh_network(specify(7))
    for name, variable in reference.variables_by_name().items():
        variable.assign(stored[name])
    wanted = reference.model(images[0], training=False)["box_encodings"]
    network = fresh_network(specify(2))
    before = values(network)
    sentence = load_initial(network, packaged, iter(images), {}).sentence
    assert sentence.startswith("Loaded 381 of 384 variables of pkg:npm/handtrackjs@0.1.5;")
    np.testing.assert_allclose(network.model(images[0], training=False)["box_encodings"], wanted, rtol=0, atol=1e-4)
    after = values(network)
    for name, value in after.items():
        if name.startswith(CLASSES):
            np.testing.assert_array_equal(value, before[name])
        elif name.endswith("kernel"):
            np.testing.assert_array_equal(value, stored[name])
    variances = np.concatenate([value for name, value in after.items() if name.endswith("moving_variance")])
    assert (variances != 1).mean() > 0.99


def test_a_packaged_file_that_is_cut_short_is_65_and_changes_nothing(
    tmp_path: Path, images: list[np.ndarray], fresh_network: FreshNetworks
) -> None:
    path = shutil.copy(find_packaged(NAME).path, tmp_path / "weights.npz")
    with path.open("rb+") as file:
        file.truncate(1_000_000)
    network = fresh_network(specify(2))
    before = values(network)
    with pytest.raises(BoxcarError, match=r"weights\.npz are damaged") as caught:
        load_initial(network, InitialWeights(path, "pkg", "0"), iter(images), {})
    assert caught.value.code is ExitCode.DATA
    check_loaded(network, before, before, ())
