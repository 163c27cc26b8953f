"""Loads initial weights into a network that may have other classes, or only a part in common with them. Loads TensorFlow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxcar.detectors.catalog import build_network
from boxcar.detectors.checkpoint_sources import InitialWeights
from boxcar.detectors.checkpoint_weights import list_misfits, read_trained, read_variables
from boxcar.detectors.network import Network
from boxcar.detectors.weights.class_rows import ClassRows, class_row_names, match_classes
from boxcar.detectors.weights.norms import measure_norms
from boxcar.detectors.weights.packaged import PACKAGED, read_packaged
from boxcar.errors import BoxcarError, ExitCode

_Values = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Loaded:
    """How much of initial weights was loaded.

    Attributes:
        sentence: says how much of what.
        complete: whether every variable was loaded, for every class. The network then finds what the initial one finds.
    """

    sentence: str
    complete: bool


def load_initial(
    network: Network, initial: InitialWeights, batches: Iterable[tf.Tensor], averages: Mapping[int, tf.Variable]
) -> Loaded:
    """Loads what fits by name and shape; of the class predictor, the rows of the classes that both have, by their names.

    Everything else stays unchanged. Averages get the weights that are scored, and the network those that were trained, if the
    checkpoint has both.

    Args:
        network: receives the weights.
        initial: a checkpoint or packaged weights.
        batches: training images [B, S, S, 3] in the specification's value range. They are read if the weights lack the
            statistics of their batch norms.
        averages: the average of a variable by the variable's `id`; empty if the weights themselves are scored.

    Raises:
        BoxcarError: 64 if there is no such checkpoint; 65 if it is broken, has values that are not finite or other classes
            than its specification, or if nothing of the backbone fits, with each variable that does not.
    """
    variables = network.variables_by_name()
    folded = initial.path.suffix == PACKAGED
    values = read_packaged(initial.path)[0] if folded else read_variables(initial.path, variables)
    rows = match_classes(network, values, initial.specification, initial.source)
    fitting = _fitting(network, values, rows, initial.source)
    backbone, predictor = _names(variables, network.backbone), _names(variables, network.class_predictor)
    if not fitting.keys() & backbone:
        misfits = list_misfits(variables, values)
        raise BoxcarError(
            ExitCode.DATA,
            f"Nothing in {initial.source} fits the backbone of {network.specification.architecture}.",
            "Give weights of the same architecture, or use --init none.",
            tuple(line for name, line in misfits.items() if name in backbone),
        )
    if folded:
        fitting = _with_measured_norms(network, fitting, batches)
    trained: _Values = {}
    if averages and not folded:
        stored = read_trained(initial.path, variables)
        same = {name: value for name, value in stored.items() if name in values and value.shape == values[name].shape}
        trained = _fitting(network, same, rows, initial.source)
    for name, value in fitting.items():
        average = averages.get(id(variables[name]))
        if average is not None:
            average.assign(value)
        variables[name].assign(trained.get(name, value))
    # Of classes that are new, there is nothing to load.
    loaded = fitting.keys() - (class_row_names(network) if rows.new else set())
    others = variables.keys() - backbone - predictor
    sentence = f"Loaded {len(loaded)} of {len(variables)} variables of {initial.source}"
    partly = not backbone | others <= loaded
    if partly:
        sentence += (
            f": {len(loaded & backbone)} of {len(backbone)} of the backbone, and {len(loaded & others)} of {len(others)} "
            "of the layers between it and the class predictor; the others start from random weights"
        )
    if rows.clause() and (rows.slots or rows.reason or not partly):
        sentence += f"; {rows.clause()}"
    return Loaded(f"{sentence}.", loaded == variables.keys())


def _fitting(network: Network, values: _Values, rows: ClassRows, source: str) -> _Values:
    """The values that the network's variables get, by name.

    Raises:
        BoxcarError: 65 if one is not finite.
    """
    variables = network.variables_by_name()
    rest, of_classes = _names(variables, network.class_predictor), class_row_names(network)
    # Classes that stay need all of the layer. Without them, all of it starts anew.
    skipped = of_classes if rows.slots else rest
    fits = variables.keys() - list_misfits(variables, values).keys() - skipped
    found = {name: values[name] for name in variables if name in fits}
    if rows.slots:
        per_cell = network.specification.anchors.per_cell
        found |= {name: rows.fill(variables[name].numpy(), values[name], per_cell) for name in of_classes if name in values}
    for name, value in found.items():
        if not np.isfinite(value).all():
            what = f"{source} contains values that are not finite, for example in {name}."
            raise BoxcarError(ExitCode.DATA, what, "Give other weights.")
    return found


def _with_measured_norms(network: Network, values: _Values, batches: Iterable[tf.Tensor]) -> _Values:
    """The values, with batch norms that have the statistics of their inputs.

    They are measured with a network of its own, in float32 and outside of any distribution strategy.
    """
    measured = build_network(network.specification)
    variables = measured.variables_by_name()
    for name, value in values.items():
        variables[name].assign(value)
    measure_norms(measured, batches)
    return {name: variables[name].numpy() for name in values}


def _names(variables: Mapping[str, tf.Variable], layers: Iterable[Any]) -> set[str]:
    """The names of the variables of some layers."""
    found = {id(variable) for layer in layers for variable in layer.variables}
    return {name for name, variable in variables.items() if id(variable) in found}
