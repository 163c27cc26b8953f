"""A detector's network with the names under which its weights are saved and loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Anchors

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# IndexError is what the reader makes of a data file that ends too soon.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


@dataclass(frozen=True)
class Network:
    """A built network.

    Attributes:
        model: float32 [B, S, S, 3] in [-1, 1] to {"box_encodings": [B, A, 4], "class_logits": [B, A, C]}.
        tree: nested dictionaries and lists with layers as leaves; its paths are the names in checkpoints.
        class_predictor: the layers whose shapes depend on the number of classes; fine-tuning leaves them out.
        backbone: the layers that were, or could be, trained for classification.
        regularized: the variables whose squares the regularisation loss adds up.
    """

    model: tf_keras.Model
    tree: dict[str, Any]
    class_predictor: tuple[tf_keras.layers.Layer, ...]
    backbone: tuple[tf_keras.layers.Layer, ...]
    regularized: tuple[tf.Variable, ...]

    def trackable(self) -> tf.Module:
        """The object whose checkpoint has the tree's names: `tf.train.Checkpoint(model=network.trackable())`."""
        return _trackable(self.tree)

    def variables_by_name(self) -> dict[str, tf.Variable]:
        """Every variable under its name in checkpoints, `model/...` without TensorFlow's suffix."""
        return dict(_named(self.tree, "model"))


def load_weights(network: Network, prefix: Path, *, class_predictor: bool) -> list[str]:
    """Loads a checkpoint by name: a published one, or one of ours, which has the same names and more.

    Args:
        network: receives the weights.
        prefix: the checkpoint's path without `.index`.
        class_predictor: False leaves the class predictor as it is, for fine-tuning on other classes.

    Returns:
        The names of the network's variables that were not loaded; empty but for the class predictor.

    Raises:
        BoxcarError: 64 where there is no such checkpoint, 65 where it is broken or does not fit, with each name that does not.
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
            f"{len(problems)} of {len(variables)} variables do not fit the checkpoint {prefix}.",
            "Name a checkpoint of the same architecture and classes."
            if class_predictor
            else "Name a checkpoint of the same architecture, or use --init none.",
            tuple(problems),
        )
    for name, value in values.items():
        variables[name].assign(value)
    return sorted(skipped)


def count_class_slots(prefix: Path, class_predictor_bias: str, anchors: Anchors) -> int:
    """How many class slots, background included, the class predictor in a checkpoint has.

    Args:
        prefix: the checkpoint's path without `.index`.
        class_predictor_bias: the bias's name in the checkpoint, as the `Architecture` has it.
        anchors: of the detector; each of a cell's anchors has a bias for each slot.

    Raises:
        BoxcarError: 64 where there is no such checkpoint, 65 where it is broken or of another architecture.
    """
    name = class_predictor_bias
    shapes = _open(prefix).get_variable_to_shape_map()
    shape = shapes.get(_stored_name(name, shapes))
    per_cell = anchors.per_cell
    if shape is None or len(shape) != 1 or shape[0] % per_cell or shape[0] < 2 * per_cell:
        found = "is missing" if shape is None else f"has the shape {list(shape)}"
        raise BoxcarError(
            ExitCode.DATA,
            f"The checkpoint {prefix} is of another architecture: {name} {found}.",
            "Name the --architecture that it was trained with.",
        )
    return int(shape[0]) // per_cell


def _stored_name(name: str, shapes: dict[str, Any]) -> str:
    """Under what a checkpoint has the variable that we call `name`.

    Model Garden's trainer hands a model's parts over beside the model, and the shorter way gives the name: `backbone/...` for
    what is `model/_backbone/...` in a checkpoint of the model alone (official/core/base_trainer.py, `checkpoint_items`).
    """
    part = name.removeprefix("model/_") + _VALUE
    return part if part in shapes else name + _VALUE


def _open(prefix: Path) -> Any:
    """A reader of the checkpoint."""
    if not prefix.with_name(prefix.name + ".index").is_file():
        raise BoxcarError(
            ExitCode.USAGE,
            f"There is no checkpoint {prefix}.",
            "Name it without its endings: .../ckpt-0 where ckpt-0.index lies.",
        )
    try:
        return tf.train.load_checkpoint(str(prefix))
    except _UNREADABLE as error:
        raise _unreadable(prefix, error) from error


def _unreadable(prefix: Path, error: Exception) -> BoxcarError:
    reason = str(error).splitlines()[0].rstrip(".")
    return BoxcarError(ExitCode.DATA, f"The checkpoint {prefix} cannot be read: {reason}.", "Copy it again.")


def _trackable(tree: Any) -> Any:
    if isinstance(tree, dict | list):
        node = tf.Module()
        for name, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
            setattr(node, str(name), _trackable(child))
        return node
    return tree


def _named(tree: Any, path: str) -> list[tuple[str, tf.Variable]]:
    if isinstance(tree, dict | list):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [found for name, child in pairs for found in _named(child, f"{path}/{name}")]
    # Keras keeps each of a layer's variables in the attribute that its checkpoint name comes from.
    return [(f"{path}/{_attribute(tree, variable)}", variable) for variable in tree.variables]


def _attribute(layer: tf_keras.layers.Layer, variable: tf.Variable) -> str:
    return next(str(name) for name, value in vars(layer).items() if value is variable)
