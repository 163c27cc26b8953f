"""Every architecture of the table keeps the contract, and the table says what is true of the networks."""

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from boxcar.detectors.architecture import Format
from boxcar.detectors.catalog import ARCHITECTURES, build_network
from boxcar.detectors.coco_labels import COCO_SLOTS
from boxcar.detectors.network import Network
from boxcar.detectors.tasks import find_task
from boxcar.inference.anchors import make_anchors
from boxcar.inference.decoders import find_decoder

SIZE = 64  # not a multiple of the coarsest level's stride

# One architecture of each network, the smallest.
NETWORKS = list({row.build: name for name, row in reversed(ARCHITECTURES.items())}.values())
SMALL = "ssd_mobilenet_v2_fpnlite_320x320"


each = pytest.mark.parametrize("name", NETWORKS)


def small_first(names: Iterable[str]) -> pytest.MarkDecorator:
    """Everyday tests try the smallest network only."""
    return pytest.mark.parametrize(
        "name", [SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in names if name != SMALL)]
    )


def build(name: str) -> Network:
    return build_network(ARCHITECTURES[name].specify(SIZE, {1: "a", 2: "b"}))


def picture() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).uniform(-1, 1, (2, SIZE, SIZE, 3)), tf.float32)


def test_the_table_is_read_without_tensorflow() -> None:
    program = "import sys, json, boxcar.detectors.catalog; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert not {name.partition(".")[0] for name in loaded} & {"tensorflow", "tf_keras", "official"}


def test_the_table_has_every_format_there_is() -> None:
    for row in ARCHITECTURES.values():
        assert set(row.exports) == set(get_args(Format))


@small_first(ARCHITECTURES)
def test_the_tables_figures_are_the_networks(name: str) -> None:
    """At the default size and with the 91 slots of the published weights."""
    row = ARCHITECTURES[name]
    network = build_network(row.specify(row.image_size, {number: str(number) for number in range(1, COCO_SLOTS)}))
    assert sum(variable.shape.num_elements() for variable in network.model.variables) == row.parameters
    traced = tf.function(network.model).get_concrete_function(tf.TensorSpec([1, row.image_size, row.image_size, 3]))
    multiply_adds = 0
    for operation in traced.graph.get_operations():
        if operation.type in ("Conv2D", "DepthwiseConv2dNative"):
            height, width, channels, _ = operation.inputs[1].shape
            each_output = height * width * (channels if operation.type == "Conv2D" else 1)
            multiply_adds += operation.outputs[0].shape.num_elements() * each_output
    assert multiply_adds == row.multiply_adds


@each
def test_the_contract(name: str) -> None:
    network = build(name)
    row = ARCHITECTURES[name]
    anchors = len(make_anchors(SIZE, row.anchors))
    heads = network.model(picture(), training=False)
    assert {key: (value.shape.as_list(), value.dtype) for key, value in heads.items()} == {
        "box_encodings": ([2, anchors, 4], tf.float32),
        "class_logits": ([2, anchors, 3], tf.float32),
    }
    decoder = find_decoder(network.specification)
    assert {key: [2, *shape] for key, shape in decoder.shapes(network.specification).items()} == {
        key: value.shape.as_list() for key, value in heads.items()
    }
    assert find_task(row.specify(SIZE, {1: "a"})).decoder is decoder
    named = network.variables_by_name()
    assert {id(variable) for variable in named.values()} == {id(variable) for variable in network.model.variables}
    assert row.class_predictor_bias in named
    assert network.regularized
    assert {id(v) for v in network.regularized} < {id(v) for v in network.model.trainable_variables}
    backbone = {id(variable) for layer in network.backbone for variable in layer.variables}
    assert 0 < len(backbone) < len(named)


@small_first(NETWORKS)
def test_mixed_precision_answers_in_float32(name: str) -> None:
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = build(name)
    finally:
        tf_keras.mixed_precision.set_global_policy(None)  # as it is where nobody sets one
    assert {variable.dtype for variable in network.model.variables} == {tf.float32}
    with tf.GradientTape() as tape:
        heads = network.model(picture(), training=True)
        loss = tf.add_n([tf.reduce_mean(value**2) for value in heads.values()])
    assert {value.dtype for value in heads.values()} == {tf.float32}
    assert any(layer.compute_dtype == "bfloat16" for layer in network.model.submodules if hasattr(layer, "compute_dtype"))
    gradients = tape.gradient(loss, network.model.trainable_variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    # The same weights in single precision say nearly the same.
    whole = build(name)
    for ours, theirs in zip(whole.model.variables, network.model.variables, strict=True):
        ours.assign(theirs)
    wanted = whole.model(picture(), training=True)["class_logits"]
    np.testing.assert_allclose(network.model(picture(), training=True)["class_logits"], wanted, rtol=0, atol=0.2)


@pytest.mark.slow
@each
def test_xla_compiles_a_training_step(name: str) -> None:
    network = build(name)

    @tf.function(jit_compile=True)
    def gradients(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            heads = network.model(x, training=True)
            loss = tf.add_n([tf.reduce_mean(value**2) for value in heads.values()])
        return tape.gradient(loss, network.model.trainable_variables)

    assert all(np.isfinite(gradient).all() for gradient in gradients(picture()))
