"""Loads initial weights into a network that may have other classes, or only a part in common with them. Loads TensorFlow."""

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from boxcar.detectors.catalog import build_network
from boxcar.detectors.checkpoint_sources import InitialWeights
from boxcar.detectors.checkpoint_weights import list_misfits, read_variables
from boxcar.detectors.network import Network
from boxcar.detectors.weights.norms import measure_norms
from boxcar.detectors.weights.packaged import PACKAGED, read_packaged
from boxcar.errors import BoxcarError, ExitCode


def load_initial(network: Network, initial: InitialWeights, batches: Iterable[tf.Tensor]) -> str:
    """Loads what fits by name and shape, and leaves everything else and the class predictor unchanged.

    Args:
        network: receives the weights.
        initial: a checkpoint or packaged weights.
        batches: training images [B, S, S, 3] in the specification's value range. They are read if the weights lack the
            statistics of their batch norms.

    Returns:
        A sentence that says how much of what was loaded.

    Raises:
        BoxcarError: 64 if there is no such checkpoint; 65 if it is broken, or if nothing of the backbone fits, with each
            variable that does not.
    """
    variables = network.variables_by_name()
    folded = initial.path.suffix == PACKAGED
    values = read_packaged(initial.path)[0] if folded else read_variables(initial.path, variables)
    misfits = list_misfits(variables, values)
    predictor = _names(variables, network.class_predictor)
    backbone = _names(variables, network.backbone)
    loaded = variables.keys() - misfits.keys() - predictor
    if not loaded & backbone:
        raise BoxcarError(
            ExitCode.DATA,
            f"Nothing in {initial.source} fits the backbone of {network.specification.architecture}.",
            "Give weights of the same architecture, or use --init none.",
            tuple(line for name, line in misfits.items() if name in backbone),
        )
    fitting = {name: values[name] for name in variables if name in loaded}
    if folded:
        fitting = _with_measured_norms(network, fitting, batches)
    for name, value in fitting.items():
        variables[name].assign(value)
    sentence = f"Loaded {len(loaded)} of {len(variables)} variables of {initial.source}"
    others = variables.keys() - backbone - predictor
    if loaded == backbone | others:
        return f"{sentence}; the class predictor starts from random weights."
    return (
        f"{sentence}: {len(loaded & backbone)} of {len(backbone)} of the backbone, and {len(loaded & others)} of {len(others)} "
        "of the layers between it and the class predictor. The others start from random weights."
    )


def _with_measured_norms(
    network: Network, values: dict[str, npt.NDArray[Any]], batches: Iterable[tf.Tensor]
) -> dict[str, npt.NDArray[Any]]:
    """The values, with batch norms that have the statistics of their inputs.

    They are measured with a network of its own, in float32 and outside of any distribution strategy.
    """
    measured = build_network(network.specification)
    variables = measured.variables_by_name()
    for name, value in values.items():
        variables[name].assign(value)
    measure_norms(measured, batches)
    return {name: variables[name].numpy() for name in values}


def _names(variables: dict[str, tf.Variable], layers: Iterable[Any]) -> set[str]:
    """The names of the variables of some layers."""
    found = {id(variable) for layer in layers for variable in layer.variables}
    return {name for name, variable in variables.items() if id(variable) in found}
