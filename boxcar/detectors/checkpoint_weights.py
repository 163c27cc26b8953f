"""Weights in checkpoints: loads them into a network by name, and derives the class slots from their shapes."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from boxcar.detectors.network import Network
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Anchors
from boxcar.storage.cache import uri_of

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# The reader raises IndexError for a data file that ends too soon.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


def load_weights(network: Network, prefix: Path, *, class_predictor: bool) -> list[str]:
    """Loads a checkpoint by name: a published one, or one that Boxcar wrote, which has the same names and more.

    Args:
        network: receives the weights.
        prefix: the checkpoint's path without `.index`.
        class_predictor: False leaves the class predictor unchanged, for fine-tuning on other classes.

    Returns:
        The names of the network's variables that were not loaded; empty, except for the class predictor.

    Raises:
        BoxcarError: 64 if there is no such checkpoint, 65 if it is broken or does not fit, with each name that does not.
    """
    reader = _open(prefix)
    variables = network.variables_by_name()
    skipped: set[str] = set()
    if not class_predictor:
        mine = {id(variable) for layer in network.class_predictor for variable in layer.variables}
        skipped = {name for name, variable in variables.items() if id(variable) in mine}
    try:
        shapes = reader.get_variable_to_shape_map()
        problems, values = [], {}
        for name, variable in variables.items():
            if name in skipped:
                continue
            stored = _stored_name(name, shapes)
            shape = shapes.get(stored)
            if shape is None:
                problems.append(f"{name}: missing in the checkpoint")
            elif list(shape) != variable.shape.as_list():
                problems.append(f"{name}: {list(shape)} in the checkpoint, {variable.shape.as_list()} in the network")
            else:
                values[name] = reader.get_tensor(stored)
    except _UNREADABLE as error:
        raise _unreadable(prefix, error) from error
    if problems:
        raise BoxcarError(
            ExitCode.DATA,
            f"{len(problems)} of {len(variables)} variables do not fit the checkpoint {uri_of(prefix)}.",
            "Give a checkpoint of the same architecture and classes."
            if class_predictor
            else "Give a checkpoint of the same architecture, or use --init none.",
            tuple(problems),
        )
    for name, value in values.items():
        variables[name].assign(value)
    return sorted(skipped)


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
    shapes = _open(prefix).get_variable_to_shape_map()
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


def _open(prefix: Path) -> Any:
    """A reader of the checkpoint."""
    if not prefix.with_name(prefix.name + ".index").is_file():
        raise BoxcarError(
            ExitCode.USAGE,
            f"There is no checkpoint {uri_of(prefix)}.",
            "Give its path without extensions: .../ckpt-0 for ckpt-0.index.",
        )
    try:
        return tf.train.load_checkpoint(str(prefix))
    except _UNREADABLE as error:
        raise _unreadable(prefix, error) from error


def _unreadable(prefix: Path, error: Exception) -> BoxcarError:
    reason = str(error).splitlines()[0].rstrip(".")
    return BoxcarError(ExitCode.DATA, f"The checkpoint {uri_of(prefix)} cannot be read: {reason}.", "Copy it again.")
