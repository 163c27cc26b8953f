"""Weights by name: saved and loaded they are the same, and what does not fit is listed."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from boxcar.detectors.catalog import build_network, find_architecture
from boxcar.detectors.checkpoint_weights import count_class_slots, load_weights
from boxcar.detectors.network import Network
from boxcar.errors import BoxcarError
from boxcar.inference.specification import Specification

NAME = "ssd_mobilenet_v2_fpnlite_320x320"


def specify(labels: int) -> Specification:
    return Specification(architecture=NAME, image_size=64, labels={label: str(label) for label in range(1, labels + 1)})


@pytest.fixture(scope="module")
def three() -> Network:
    return build_network(specify(3))


@pytest.fixture(scope="module")
def five() -> Network:
    return build_network(specify(5))


@pytest.fixture
def prefix(three: Network, tmp_path: Path) -> Path:
    return Path(tf.train.Checkpoint(model=three.trackable()).write(str(tmp_path / "ckpt-3")))


def values(network: Network) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in network.variables_by_name().items()}


def test_every_variable_has_one_name_and_it_is_the_checkpoints(three: Network, prefix: Path) -> None:
    named = three.variables_by_name()
    assert {id(variable) for variable in named.values()} == {id(variable) for variable in three.model.variables}
    assert len(named) == len(three.model.variables) == 384  # as many as the zoo's checkpoint has
    stored = {name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name, _ in tf.train.list_variables(str(prefix))}
    assert set(named) == {name for name in stored if name.startswith("model/")}


def test_saved_and_loaded_it_answers_the_same(three: Network, prefix: Path) -> None:
    picture = tf.constant(np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)), tf.float32)
    before, answers = values(three), three.model(picture)
    for variable in three.model.variables:
        variable.assign(variable + 0.01)
    assert not np.allclose(three.model(picture)["class_logits"], answers["class_logits"])
    load_weights(three, prefix)
    for name, value in values(three).items():
        np.testing.assert_array_equal(value, before[name])
    for name, heads in three.model(picture).items():
        np.testing.assert_array_equal(heads, answers[name])


def test_each_variable_that_does_not_fit_is_listed_and_none_is_loaded(three: Network, five: Network, prefix: Path) -> None:
    before = values(five)
    with pytest.raises(BoxcarError) as error:
        load_weights(five, prefix)
    assert error.value.code == 65
    ours, theirs = values(five), values(three)
    misfits = [name for name in ours if ours[name].shape != theirs[name].shape]
    assert [line.split(":")[0] for line in error.value.details] == misfits
    assert error.value.what.startswith(f"{len(misfits)} of 384 ")
    assert all(str(list(theirs[name].shape)) in line for name, line in zip(misfits, error.value.details, strict=True))
    for name, value in values(five).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_checkpoint_of_something_else_is_refused(three: Network, tmp_path: Path) -> None:
    other = Path(tf.train.Checkpoint(model=tf.Variable([1.0])).write(str(tmp_path / "other")))
    with pytest.raises(BoxcarError, match="384 of 384") as error:
        load_weights(three, other)
    assert error.value.code == 65
    assert len(error.value.details) == 384


@pytest.mark.parametrize("ending", ["", ".index"])
def test_a_checkpoint_that_is_not_there_is_wrong_usage(three: Network, prefix: Path, ending: str) -> None:
    missing = prefix.with_name("ckpt-4") if not ending else Path(f"{prefix}.index")
    with pytest.raises(BoxcarError, match=missing.name) as error:
        load_weights(three, missing)
    assert error.value.code == 64


@pytest.mark.parametrize("broken", ["index cut", "index rubbish", "data missing", "data cut", "data changed"])
def test_a_broken_checkpoint_is_bad_data_and_changes_nothing(three: Network, prefix: Path, tmp_path: Path, broken: str) -> None:
    index, data = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")
    part, _, what = broken.partition(" ")
    path = index if part == "index" else data
    content = bytearray(path.read_bytes())
    if what == "missing":
        path.unlink()
    elif what == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif what == "rubbish":
        path.write_bytes(b"\xde\xad" * 500)
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    before = values(three)
    with pytest.raises(BoxcarError, match="ckpt-3") as error:
        load_weights(three, prefix)
    assert error.value.code == 65
    assert "\n" not in error.value.what
    for name, value in values(three).items():
        np.testing.assert_array_equal(value, before[name])


def test_class_slots_are_counted(prefix: Path, tmp_path: Path) -> None:
    row = find_architecture(NAME)
    assert count_class_slots(prefix, row.class_predictor_bias, row.anchors) == 4
    shutil.copy(f"{prefix}.index", tmp_path / "moved.index")
    assert count_class_slots(tmp_path / "moved", row.class_predictor_bias, row.anchors) == 4  # the index says it
    with pytest.raises(BoxcarError) as error:
        count_class_slots(tmp_path / "nothing", row.class_predictor_bias, row.anchors)
    assert error.value.code == 64


def test_synchronised_batch_norms_have_the_same_names(three: Network) -> None:
    network = build_network(specify(3), synchronized=True)
    assert {n: v.shape for n, v in network.variables_by_name().items()} == {
        n: v.shape for n, v in three.variables_by_name().items()
    }
    norms = [layer for layer in network.model.submodules if isinstance(layer, tf_keras.layers.BatchNormalization)]
    assert norms
    assert all(norm.synchronized for norm in norms)


@pytest.mark.slow
def test_synchronised_batch_norms_take_their_statistics_over_all_replicas() -> None:
    script = Path(__file__).with_name("two_replicas.py")
    done = subprocess.run([sys.executable, str(script), NAME], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 1e-4  # 7e-6; each replica by itself gives other numbers altogether


@pytest.mark.slow
def test_two_replicas_gradients_are_those_of_one() -> None:
    script = Path(__file__).with_name("two_replicas_gradients.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 1e-9
