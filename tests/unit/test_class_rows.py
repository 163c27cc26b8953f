"""Classes that stay keep what they have learned when a training starts from a detector of other classes."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from fresh_networks import FreshNetworks

from boxcar.config.run_settings import make_configuration
from boxcar.detectors.architectures.ssd_mobilenet_v2_fpnlite import CLASS_PRIOR
from boxcar.detectors.catalog import build_network, find_architecture
from boxcar.detectors.checkpoint_sources import InitialWeights, find_checkpoint
from boxcar.detectors.coco_labels import COCO_LABELS
from boxcar.detectors.network import Network
from boxcar.detectors.weights.class_rows import class_row_names
from boxcar.detectors.weights.initial_weights import Loaded, load_initial
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import SPECIFICATION, Anchors, Specification, specification_json
from boxcar.training.checkpoint_store import CheckpointStore
from boxcar.training.optimizers import WarmUpCosine, averaged_variables, make_optimizer
from boxcar.training.settings import derive_settings

NAME = "ssd_mobilenet_v2_fpnlite_320x320"
OLD = {1: "raccoon", 2: "dog", 4: "cat"}
PRIOR = np.log(CLASS_PRIOR / (1 - CLASS_PRIOR))

Floats = npt.NDArray[np.float32]


def specify(labels: dict[int, str], **update: Any) -> Specification:
    return find_architecture(NAME).specify(64, labels).model_copy(update=update)


def stir(network: Network, seed: int) -> Network:
    """The network with weights that say something of every class."""
    random = np.random.default_rng(seed)
    for variable in network.model.variables:
        variable.assign(variable + random.uniform(0, 0.5, variable.shape))
    return network


def write(network: Network, train: Path) -> Path:
    """A checkpoint as training leaves it, without its optimizer; its prefix."""
    prefix = Path(tf.train.Checkpoint(model=network.trackable()).write(str(train / "ckpt-3")))
    (train / SPECIFICATION).write_text(specification_json(network.specification), encoding="utf-8")
    return prefix


@pytest.fixture(scope="module")
def old() -> Network:
    return stir(build_network(specify(OLD)), seed=1)


@pytest.fixture(scope="module")
def prefix(old: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(old, tmp_path_factory.mktemp("old") / "train")


@pytest.fixture(scope="module")
def image() -> Floats:
    return np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)


def values(network: Network) -> dict[str, Floats]:
    return {name: variable.numpy() for name, variable in network.variables_by_name().items()}


def load(network: Network, initial: InitialWeights) -> Loaded:
    return load_initial(network, initial, (), {})


def logits(network: Network, image: Floats) -> dict[str, Floats]:
    """Of every class, by its name."""
    found = network.model(image, training=False)["class_logits"].numpy()
    specification = network.specification
    return {name: found[..., specification.slots[label]] for label, name in specification.labels.items()}


def test_equal_classes_load_everything(old: Network, prefix: Path, fresh_network: FreshNetworks) -> None:
    network = fresh_network(specify(OLD))
    loaded = load(network, find_checkpoint(str(prefix)))
    assert loaded == Loaded(f"Loaded 384 of 384 variables of {prefix}.", complete=True)
    found = values(network)
    for name, value in values(old).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("labels", "number", "clause"),
    [
        pytest.param({1: "dog", 2: "cat", 3: "raccoon"}, 384, ".", id="ids shifted", marks=pytest.mark.slow),
        pytest.param(
            {1: "cat", 2: "dog"},
            384,
            "; the class predictor keeps cat, dog; raccoon is dropped.",
            id="dropped",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {1: "raccoon", 2: "dog", 3: "bird", 4: "cat"},
            382,
            "; the class predictor keeps raccoon, dog, cat; bird is new and starts from random weights.",
            id="added",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {1: "fox", 2: "badger", 3: "dog"},
            382,
            "; the class predictor keeps dog; fox, badger are new and start from random weights; raccoon, cat are dropped.",
            id="renamed",
        ),
        pytest.param(
            {1: "fox"},
            381,
            "; the class predictor starts from random weights, because it knows none of these classes.",
            id="all others",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_class_that_stays_scores_as_before(
    labels: dict[int, str], number: int, clause: str, old: Network, prefix: Path, image: Floats, fresh_network: FreshNetworks
) -> None:
    network = fresh_network(specify(labels))
    before = logits(network, image)
    loaded = load(network, find_checkpoint(str(prefix)))
    assert loaded == Loaded(f"Loaded {number} of 384 variables of {prefix}{clause}", complete=number == 384)
    wanted, found = logits(old, image), logits(network, image)
    bias = network.class_rows[1].numpy().reshape(6, -1)
    for label, name in labels.items():
        if name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_allclose(bias[:, label], PRIOR, rtol=1e-6, err_msg=name)
            assert not np.array_equal(found[name], before[name]), "the layers before it are loaded"
    boxes = [one.model(image, training=False)["box_encodings"] for one in (old, network)]
    np.testing.assert_allclose(boxes[0], boxes[1], rtol=1e-5, atol=1e-5)


def test_a_published_detector_keeps_its_classes_of_coco(image: Floats, tmp_path: Path, fresh_network: FreshNetworks) -> None:
    coco = stir(fresh_network(specify(COCO_LABELS, dense_slots=False)), seed=2)
    published = find_checkpoint(tf.train.Checkpoint(model=coco.trackable()).write(str(tmp_path / "ckpt-0")))
    network = fresh_network(specify(OLD))
    sentence = load(network, published).sentence
    words = "the class predictor keeps dog, cat; raccoon is"
    assert sentence.startswith(f"Loaded 382 of 384 variables of {published.source}; {words}")
    assert sentence.endswith("; person, bicycle, car, motorcycle, airplane, bus, train, truck, and 70 more are dropped.")
    wanted, found = logits(coco, image), logits(network, image)
    for name in ("dog", "cat"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5)
    # Its own classes are all loaded, into slots without the gaps of their ids.
    network = fresh_network(specify(COCO_LABELS))
    assert network.specification.class_slots == 81
    assert load(network, published).complete
    found = logits(network, image)
    for name in COCO_LABELS.values():
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5)


def test_other_shapes_of_anchors_keep_no_class(prefix: Path, fresh_network: FreshNetworks) -> None:
    network = fresh_network(specify(OLD, anchors=Anchors(aspect_ratios=(1.0, 0.5, 2.0))))
    before = values(network)
    loaded = load(network, find_checkpoint(str(prefix)))
    assert not loaded.complete
    assert loaded.sentence.endswith("starts from random weights, because the checkpoint's anchors have other shapes.")
    after = values(network)
    for name in class_row_names(network):
        np.testing.assert_array_equal(after[name], before[name])
    # Their size alone changes no row, and nothing of the network.
    larger = replace(fresh_network(specify(OLD)), specification=specify(OLD, anchors=Anchors(anchor_scale=2.5)))
    assert load(larger, find_checkpoint(str(prefix))).complete


@pytest.mark.slow
def test_averages_and_trained_weights_go_where_they_came_from(tmp_path: Path) -> None:
    """The averages of the old training are scored, and its weights are trained on."""
    old, store, averages = averaging(tmp_path / "old", OLD)
    stir(old, seed=3)
    for index, average in enumerate(averages.values()):
        average.assign(tf.fill(average.shape, float(index)))
    store.save(5)
    (tmp_path / "old" / SPECIFICATION).write_text(specification_json(old.specification), encoding="utf-8")
    initial = find_checkpoint(str(tmp_path / "old" / "ckpt-5"))
    network, _, found = averaging(tmp_path / "new", OLD)
    assert load_initial(network, initial, (), found).complete
    assert len(found) == len(averages) > 150
    loaded = values(network)
    for name, value in values(old).items():
        np.testing.assert_array_equal(loaded[name], value, err_msg=name)
    for average, wanted in zip(found.values(), averages.values(), strict=True):
        np.testing.assert_array_equal(average, wanted)
    # Where no averages are kept, what was scored is trained on.
    plain = build_network(specify({1: "cat", 2: "fox"}))
    load(plain, initial)
    trained = plain.variables_by_name()
    for name, variable in old.variables_by_name().items():
        if id(variable) in averages and name not in class_row_names(plain):
            np.testing.assert_array_equal(trained[name], averages[id(variable)], err_msg=name)
    # A class that stays and one that is new, in the averages, too.
    other, _, found = averaging(tmp_path / "other", {1: "cat", 2: "fox"})
    load_initial(other, initial, (), found)
    bias, slot = other.class_rows[1], old.specification.slots[4]
    wanted = averages[id(old.class_rows[1])].numpy().reshape(6, -1)[:, slot]
    np.testing.assert_array_equal(found[id(bias)].numpy().reshape(6, -1)[:, 1], wanted)
    np.testing.assert_array_equal(bias.numpy().reshape(6, -1)[:, 1], old.class_rows[1].numpy().reshape(6, -1)[:, slot])
    np.testing.assert_allclose(found[id(bias)].numpy().reshape(6, -1)[:, 2], PRIOR, rtol=1e-6)


def averaging(folder: Path, labels: dict[int, str]) -> tuple[Network, CheckpointStore, dict[int, tf.Variable]]:
    """A network whose weights are averaged, its store, and the averages."""
    folder.mkdir()
    network = build_network(specify(labels))
    settings = derive_settings(make_configuration(None, {"ema_decay": 0.9}), 40)
    trained = network.model.trainable_variables
    optimizer = make_optimizer(settings, WarmUpCosine(settings), trained)
    averages = averaged_variables(optimizer, trained)
    return network, CheckpointStore(folder, network, optimizer, averages, "version"), averages


def test_a_description_of_other_classes_is_65(prefix: Path, tmp_path: Path, fresh_network: FreshNetworks) -> None:
    train = shutil.copytree(prefix.parent, tmp_path / "train")
    (train / SPECIFICATION).write_text(specification_json(specify({1: "raccoon"})), encoding="utf-8")
    with pytest.raises(BoxcarError, match=r"does not have the 1 classes of its detector\.json") as caught:
        load(fresh_network(specify(OLD)), find_checkpoint(str(train / "ckpt-3")))
    assert caught.value.code is ExitCode.DATA


def test_weights_that_are_not_finite_are_65_and_change_nothing(
    old: Network, tmp_path: Path, fresh_network: FreshNetworks
) -> None:
    broken = fresh_network(specify(OLD))
    broken.class_rows[1].assign(broken.class_rows[1] * np.nan)
    prefix = write(broken, tmp_path)
    network = fresh_network(specify(OLD))
    before = values(network)
    with pytest.raises(BoxcarError, match=r"not finite, for example in .*bias") as caught:
        load(network, find_checkpoint(str(prefix)))
    assert caught.value.code is ExitCode.DATA
    for name, value in values(network).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
