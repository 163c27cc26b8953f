"""Weights in checkpoints: loads them into a network by name, and derives the class slots from their shapes."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from boxcar.detectors.network import Network
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Anchors
from boxcar.storage.cache import uri_of
from boxcar.storage.plain_path import plain_path

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# The reader raises IndexError for a data file that ends too soon.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


def load_weights(network: Network, prefix: Path) -> None:
    """Loads a whole checkpoint by name: a published one, or one that Boxcar wrote, which has the same names and more.

    Args:
        network: receives the weights.
        prefix: the checkpoint's path without `.index`.

    Raises:
        BoxcarError: 64 if there is no such checkpoint, 65 if it is broken or does not fit, with each name that does not.
    """
    variables = network.variables_by_name()
    values = read_variables(prefix, variables)
    problems = list_misfits(variables, values)
    if problems:
        raise BoxcarError(
            ExitCode.DATA,
            f"{len(problems)} of {len(variables)} variables do not fit the checkpoint {uri_of(prefix)}.",
            "Give a checkpoint of the same architecture and classes.",
            tuple(problems.values()),
        )
    for name, value in values.items():
        variables[name].assign(value)


def read_variables(prefix: Path, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """The values of those variables that are in a checkpoint, by name.

    Args:
        prefix: the checkpoint's path without `.index`.
        names: of the variables, as `Network.variables_by_name` has them.

    Raises:
        BoxcarError: 64 if there is no such checkpoint, 65 if it is broken.
    """
    with _opened(prefix) as reader:
        shapes = reader.get_variable_to_shape_map()
        stored = {name: _stored_name(name, shapes) for name in names}
        return {name: reader.get_tensor(key) for name, key in stored.items() if key in shapes}


def read_trained(prefix: Path, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """As `read_variables`, of a training whose scored weights are averages: the weights that were trained."""
    stored = {f"trained/{name.removeprefix('model/')}": name for name in names}
    return {stored[name]: value for name, value in read_variables(prefix, stored).items()}


def list_misfits(variables: Mapping[str, tf.Variable], values: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """The variables of a network that have no value or one of another shape, each with a line that says so."""
    misfits = {}
    for name, variable in variables.items():
        if name not in values:
            misfits[name] = f"{name}: missing in the checkpoint"
        elif list(values[name].shape) != variable.shape.as_list():
            shapes = f"{list(values[name].shape)} in the checkpoint, {variable.shape.as_list()} in the network"
            misfits[name] = f"{name}: {shapes}"
    return misfits


def count_class_slots(prefix: Path, class_predictor_bias: str, anchors: Anchors) -> int:
    """The number of class slots, background included, of the class predictor in a checkpoint.

    Args:
        prefix: the checkpoint's path without `.index`.
        class_predictor_bias: the bias's name in the checkpoint, from the `Architecture`.
        anchors: of the detector; each of a cell's anchors has a bias for each slot.

    Raises:
        BoxcarError: 64 if there is no such checkpoint, 65 if it is broken or of another architecture.
    """
    name = class_predictor_bias
    with _opened(prefix) as reader:
        shapes = reader.get_variable_to_shape_map()
    shape = shapes.get(_stored_name(name, shapes))
    per_cell = anchors.per_cell
    if shape is None or len(shape) != 1 or shape[0] % per_cell or shape[0] < 2 * per_cell:
        found = "is missing" if shape is None else f"has the shape {list(shape)}"
        raise BoxcarError(
            ExitCode.DATA,
            f"The checkpoint {uri_of(prefix)} is of another architecture: {name} {found}.",
            "Give the --architecture that it was trained with.",
        )
    return int(shape[0]) // per_cell


def _stored_name(name: str, shapes: dict[str, Any]) -> str:
    """Under what a checkpoint has the variable that we call `name`.

    Model Garden's trainer saves a model's parts next to the model, and the shorter path gives the name: `backbone/...` for
    what is `model/_backbone/...` in a checkpoint of the model alone (official/core/base_trainer.py, `checkpoint_items`).
    """
    part = name.removeprefix("model/_") + _VALUE
    return part if part in shapes else name + _VALUE


@contextmanager
def _opened(prefix: Path) -> Iterator[Any]:
    """A reader of the checkpoint. Its errors become BoxcarErrors."""
    if not prefix.with_name(prefix.name + ".index").is_file():
        raise BoxcarError(
            ExitCode.USAGE,
            f"There is no checkpoint {uri_of(prefix)}.",
            "Give its path without extensions: .../ckpt-0 for ckpt-0.index.",
        )
    try:
        with plain_path(prefix) as readable:
            yield tf.train.load_checkpoint(str(readable))
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0].rstrip(".")
        what = f"The checkpoint {uri_of(prefix)} cannot be read: {reason}."
        raise BoxcarError(ExitCode.DATA, what, "Copy it again.") from error
