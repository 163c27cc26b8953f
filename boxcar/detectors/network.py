"""A detector's network with the names under which its weights are saved and loaded. Loads TensorFlow on first use."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from boxcar.inference.specification import Specification

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras


@dataclass(frozen=True)
class Network:
    """A built network.

    Attributes:
        specification: the specification it was built from.
        model: float32 [B, S, S, 3] in the specification's value range to a dictionary with an entry for each output of its
            task, [B, ...].
        tree: nested dictionaries and lists with layers as leaves; its paths are the names in checkpoints.
        class_predictor: the layers whose shapes depend on the number of classes.
        class_rows: their variables whose last axis is [anchors of a cell x class slots], slot by slot within an anchor.
        backbone: the layers that can be pretrained for classification.
        regularized: the variables under weight decay: the regularization loss sums their squares.
    """

    specification: Specification
    model: "tf_keras.Model"
    tree: dict[str, Any]
    class_predictor: tuple["tf_keras.layers.Layer", ...]
    class_rows: tuple["tf.Variable", ...]
    backbone: tuple["tf_keras.layers.Layer", ...]
    regularized: tuple["tf.Variable", ...]

    def trackable(self) -> "tf.Module":
        """The object whose checkpoint has the tree's names: `tf.train.Checkpoint(model=network.trackable())`."""
        return _trackable(self.tree)

    def variables_by_name(self) -> "dict[str, tf.Variable]":
        """Every variable under its name in checkpoints, `model/...` without TensorFlow's suffix."""
        return dict(_named(self.tree, "model"))


def _trackable(tree: Any) -> Any:
    import tensorflow as tf

    if isinstance(tree, dict | list):
        node = tf.Module()
        for name, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
            setattr(node, str(name), _trackable(child))
        return node
    return tree


def _named(tree: Any, path: str) -> "list[tuple[str, tf.Variable]]":
    if isinstance(tree, dict | list):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [found for name, child in pairs for found in _named(child, f"{path}/{name}")]
    # Keras keeps each of a layer's variables in the attribute that its checkpoint name comes from.
    return [(f"{path}/{_attribute(tree, variable)}", variable) for variable in tree.variables]


def _attribute(layer: "tf_keras.layers.Layer", variable: "tf.Variable") -> str:
    return next(str(name) for name, value in vars(layer).items() if value is variable)
