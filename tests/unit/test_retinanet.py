"""RetinaNet against Model Garden's own: the same weights by name, the same answers, the same anchors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
import tf_keras
from official.vision.configs import retinanet as garden_configuration
from official.vision.modeling import factory
from official.vision.ops import anchor as garden_anchors
from official.vision.ops import box_ops, preprocess_ops

from boxcar.detectors.catalog import build_network, find_architecture
from boxcar.detectors.checkpoint_sources import find_checkpoint
from boxcar.detectors.checkpoint_weights import count_class_slots, load_weights, read_variables
from boxcar.detectors.network import Network
from boxcar.detectors.weights.initial_weights import load_initial
from boxcar.inference.anchors import make_anchors
from boxcar.inference.graph import decode_boxes
from boxcar.inference.specification import Specification

# Everyday tests hold the SSD to the zoo's.
pytestmark = pytest.mark.slow

ROW = find_architecture("retinanet_resnet50_fpn_640x640")
SIZE = 128
SLOTS = 4


def specify(labels: int = SLOTS - 1) -> Specification:
    return ROW.specify(SIZE, {label: str(label) for label in range(1, labels + 1)})


@pytest.fixture(scope="module")
def garden() -> tf_keras.Model:
    """Model Garden's RetinaNet with the settings of `retinanet_resnetfpn_coco`, and weights that say something."""
    settings = garden_configuration.retinanet_resnetfpn_coco().task.model
    settings.num_classes = SLOTS
    model = factory.build_retinanet(tf_keras.layers.InputSpec(shape=[None, SIZE, SIZE, 3]), settings)
    random = np.random.default_rng(0)
    for variable in model.variables:
        if "moving_variance" in variable.name or "gamma" in variable.name:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif "kernel" in variable.name and ("scores" in variable.name or "boxes" in variable.name):
            variable.assign(random.normal(0, 0.02, variable.shape))
        elif "kernel" not in variable.name:
            variable.assign(variable + random.normal(0, 0.1, variable.shape))
    return model


@pytest.fixture(scope="module")
def prefix(garden: tf_keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as Model Garden's trainer writes it (official/core/base_trainer.py)."""
    optimizer = tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9)
    checkpoint = tf.train.Checkpoint(
        global_step=tf.Variable(1, dtype=tf.int64), model=garden, optimizer=optimizer, **garden.checkpoint_items
    )
    return Path(checkpoint.write(str(tmp_path_factory.mktemp("garden") / "ckpt-1")))


@pytest.fixture(scope="module")
def network(prefix: Path) -> Network:
    network = build_network(specify())
    load_weights(network, prefix)
    return network


def in_our_order(levels: dict[str, tf.Tensor], numbers: int) -> npt.NDArray[np.float32]:
    """Model Garden's [B, H, W, scale x ratio x N] of all levels, in the order of our anchors."""
    parts = []
    for level in range(3, 8):
        x = np.asarray(levels[str(level)])
        cells = x.reshape(len(x), -1, ROW.anchors.scales_per_octave, len(ROW.anchors.aspect_ratios), numbers)
        parts.append(cells.swapaxes(2, 3).reshape(len(x), -1, numbers))
    return np.concatenate(parts, axis=1)


def test_it_answers_as_model_gardens_does(garden: tf_keras.Model, network: Network) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.float32)
    theirs = garden(tf.stack([preprocess_ops.normalize_image(picture / 255) for picture in pixels]), training=False)
    ours = network.model(pixels * (2 / 255) - 1, training=False)
    scores, offsets = in_our_order(theirs["cls_outputs"], SLOTS), in_our_order(theirs["box_outputs"], 4)
    assert np.abs(offsets).max() > 0.5
    np.testing.assert_allclose(ours["class_logits"], scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours["box_encodings"] / 10, offsets, rtol=0, atol=1e-4)
    # ... and the same boxes come of it.
    anchors = garden_anchors.Anchor(3, 7, 3, [0.5, 1.0, 2.0], 4.0, (SIZE, SIZE)).multilevel_boxes
    boxes = in_our_order({level: value[None] for level, value in anchors.items()}, 4)[0]
    np.testing.assert_allclose(make_anchors(SIZE, ROW.anchors) * SIZE, boxes, rtol=0, atol=1e-4)
    decoded = box_ops.decode_boxes(offsets, np.broadcast_to(boxes, offsets.shape)) / SIZE
    np.testing.assert_allclose(decode_boxes(ours["box_encodings"], specify()), decoded, rtol=1e-4, atol=1e-4)


def test_the_anchors_are_model_gardens_at_the_default_size() -> None:
    anchors = garden_anchors.Anchor(3, 7, 3, [0.5, 1.0, 2.0], 4.0, (640, 640)).multilevel_boxes
    theirs = in_our_order({level: value[None] for level, value in anchors.items()}, 4)[0]
    ours = make_anchors(640, ROW.anchors)
    assert ours.shape == (76725, 4)
    np.testing.assert_allclose(ours * 640, theirs, rtol=0, atol=1e-3)


def test_both_ways_in_which_model_garden_names_variables_are_read(garden: tf_keras.Model, prefix: Path, tmp_path: Path) -> None:
    alone = Path(tf.train.Checkpoint(model=garden).write(str(tmp_path / "ckpt-2")))
    shapes = {name for name, _ in tf.train.list_variables(str(prefix))}
    assert "backbone/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE" in shapes
    network = build_network(specify())
    load_weights(network, alone)
    assert (
        count_class_slots(alone, ROW.class_predictor_bias, ROW.anchors)
        == count_class_slots(prefix, ROW.class_predictor_bias, ROW.anchors)
        == SLOTS
    )


def test_our_own_checkpoints_have_the_names_of_its_model(garden: tf_keras.Model, network: Network, tmp_path: Path) -> None:
    ours = tf.train.Checkpoint(model=network.trackable()).write(str(tmp_path / "ours"))
    theirs = tf.train.Checkpoint(model=garden).write(str(tmp_path / "theirs"))
    named = {name: shape for name, shape in tf.train.list_variables(ours) if name.startswith("model/")}
    assert named == {name: shape for name, shape in tf.train.list_variables(theirs) if name.startswith("model/")}
    assert len(named) == len(network.model.variables) == 481


def test_fine_tuning_takes_all_but_the_class_predictor(prefix: Path) -> None:
    network = build_network(specify(labels=7))
    before = {name: variable.numpy() for name, variable in network.variables_by_name().items()}
    sentence = load_initial(network, find_checkpoint(str(prefix)), [], {}).sentence
    assert sentence.startswith("Loaded 479 of 481 variables of "), sentence
    stored = read_variables(prefix, before)
    for name, variable in network.variables_by_name().items():
        kept = name in ("model/_head/_classifier/bias", "model/_head/_classifier/kernel")
        np.testing.assert_array_equal(variable, (before if kept else stored)[name])


def test_a_class_that_stays_scores_as_before(prefix: Path, network: Network) -> None:
    initial = replace(find_checkpoint(str(prefix)), specification=network.specification)
    other = build_network(ROW.specify(SIZE, {1: "new", 2: "3", 3: "1"}))
    sentence = load_initial(other, initial, [], {}).sentence
    assert sentence.endswith("the class predictor keeps 3, 1; new is new and starts from random weights; 2 is dropped.")
    pixels = np.random.default_rng(2).uniform(-1, 1, (1, SIZE, SIZE, 3)).astype(np.float32)
    ours, theirs = (one.model(pixels, training=False)["class_logits"].numpy() for one in (other, network))
    assert np.ptp(theirs[..., 3]) > 0.1
    np.testing.assert_allclose(ours[..., [0, 2, 3]], theirs[..., [0, 3, 1]], rtol=0, atol=1e-5)


def test_weight_decay_is_on_what_model_garden_has_it_on(network: Network, tmp_path: Path) -> None:
    settings = garden_configuration.retinanet_resnetfpn_coco().task.model
    settings.num_classes = SLOTS
    model = factory.build_retinanet(
        tf_keras.layers.InputSpec(shape=[None, SIZE, SIZE, 3]), settings, tf_keras.regularizers.l2(0.5)
    )
    assert len(network.regularized) == len(model.losses)
    loss = sum(float(tf.nn.l2_loss(variable)) for variable in network.regularized)
    written = tf.train.Checkpoint(model=network.trackable()).write(str(tmp_path / "ours"))
    tf.train.Checkpoint(model=model).read(written).assert_consumed()
    assert float(tf.add_n(model.losses)) == pytest.approx(loss, rel=1e-4)
