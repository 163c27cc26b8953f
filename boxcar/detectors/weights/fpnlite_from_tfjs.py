"""SSD MobileNet V2 FPNLite from a TensorFlow.js graph model that the Object Detection API and its converter wrote.

The converter folds each batch norm into the convolution before it: `*_weights` is the kernel times gamma / sigma, and
`*_bn_offset` is the offset.

The convolutions of the tower are shared by all levels, but their norms are not: the model holds a folded kernel for each
level. The levels' kernels are multiples of each other, output channel by output channel.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from boxcar.detectors.weights.folded_layers import Floats, mobilenet_v2_variables, norm_variables

LEVELS, TOWER_DEPTH = 5, 4
PROPORTIONAL = 1e-4  # by which the levels' kernels may differ from multiples of each other, in parts of their lengths

_ROOT = "StatefulPartitionedCall"
_EXTRACTOR = f"{_ROOT}/ssd_mobile_net_v2fpn_keras_feature_extractor"
_PREDICTOR = f"{_ROOT}/WeightSharedConvolutionalBoxPredictor"
_BLOCKS = ("expanded_conv", *(f"block_{number}" for number in range(1, 17)))
# The backbone's convolutions in the order of use. The first block has no expansion.
_BACKBONE = (
    "Conv1/Conv2D",
    *(
        f"{block}_{part}"
        for block in _BLOCKS
        for part in ("expand/Conv2D", "depthwise/depthwise", "project/Conv2D")
        if (block, part) != (_BLOCKS[0], "expand/Conv2D")
    ),
    "Conv_1/Conv2D",
)


def convert(path: Path) -> dict[str, Floats]:
    """Every variable of the network by its name in checkpoints.

    Args:
        path: the model's folder.

    Raises:
        KeyError, ValueError: it contains something else.
    """
    return unfold(read_graph_model(path))


def read_graph_model(folder: Path) -> dict[str, Floats]:
    """The float32 weights of a TensorFlow.js graph model by name.

    Args:
        folder: contains `model.json` and the files that its `weightsManifest` names.

    Raises:
        ValueError: the files are shorter than the manifest says, or the weights are quantized.
    """
    manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))["weightsManifest"]
    weights = {}
    for group in manifest:
        content = b"".join((folder / Path(name).name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            if "quantization" in entry or entry["dtype"] not in ("float32", "int32"):
                raise ValueError(f"{entry['name']} is not stored as float32")
            count = math.prod(entry["shape"])
            values = np.frombuffer(content, "<f4", count, offset)
            offset += 4 * count
            if entry["dtype"] == "float32":
                weights[entry["name"]] = values.reshape(entry["shape"])
    return weights


def unfold(weights: Mapping[str, Floats]) -> dict[str, Floats]:
    """Every variable of the network by its name in checkpoints.

    Args:
        weights: of the graph model, as `read_graph_model` returns them.

    Raises:
        KeyError: the model is not an FPNLite of the Object Detection API.
        ValueError: the kernels of the tower's levels are not multiples of each other.
    """
    model = f"{_EXTRACTOR}/model"
    variables = mobilenet_v2_variables(
        (weights[f"{model}/{folded}_weights"], weights[f"{model}/{folded}_bn_offset"]) for folded in _BACKBONE
    )

    def add_separable(name: str, norm: str, folded: str) -> None:
        variables[f"{name}/depthwise_kernel"] = weights[f"{folded}/ReadVariableOp"]
        variables[f"{name}/pointwise_kernel"] = weights[f"{folded}_weights"]
        variables.update(norm_variables(norm, weights[f"{folded}_bn_offset"]))

    def add_head(name: str, head: str) -> None:
        variables[f"{name}/depthwise_kernel"] = weights[f"{head}/separable_conv2d/ReadVariableOp"]
        variables[f"{name}/pointwise_kernel"] = weights[f"{head}/separable_conv2d/ReadVariableOp_1"]
        variables[f"{name}/bias"] = weights[f"{head}/BiasAdd/ReadVariableOp"]

    extractor, predictor = "model/_feature_extractor", "model/_box_predictor"
    pyramid, top_down = f"{extractor}/_fpn_features_generator", f"{_EXTRACTOR}/FeatureMaps/top_down"
    for name, number in (("top_layers/0", 3), ("residual_blocks/0/0", 2), ("residual_blocks/1/0", 1)):
        variables[f"{pyramid}/{name}/kernel"] = weights[f"{top_down}/projection_{number}/Conv2D/ReadVariableOp"]
        variables[f"{pyramid}/{name}/bias"] = weights[f"{top_down}/projection_{number}/BiasAdd/ReadVariableOp"]
    for index, number in enumerate((2, 1)):
        name = f"{pyramid}/conv_layers/{index}"
        add_separable(f"{name}/0", f"{name}/1", f"{top_down}/smoothing_{number}_depthwise_conv/separable_conv2d")
    for index, number in enumerate((20, 21)):
        name = f"{extractor}/_coarse_feature_layers/{index}"
        add_separable(f"{name}/0", f"{name}/1", f"{_EXTRACTOR}/bottom_up_Conv2d_{number}_depthwise_conv/separable_conv2d")

    for depth in range(TOWER_DEPTH):
        folded = f"{_PREDICTOR}/PredictionTower/conv2d_{depth}/separable_conv2d"
        levels = [folded, *(f"{folded}_{level}" for level in range(1, LEVELS))]  # the finest first
        kernel, factors = shared_kernel(np.stack([weights[f"{level}_weights"] for level in levels]))
        name = f"{predictor}/_head_scope_conv_layers/PredictionTower/{depth}"
        variables[f"{name}/depthwise_kernel"] = weights[f"{folded}/ReadVariableOp"]
        variables[f"{name}/pointwise_kernel"] = kernel
        for level, (prefix, factor) in enumerate(zip(levels, factors, strict=True)):
            norm = f"{predictor}/_base_tower_layers_for_heads/box_encodings/{level}/{3 * depth + 1}"
            variables |= norm_variables(norm, weights[f"{prefix}_bn_offset"], factor)
    add_head(
        f"{predictor}/_box_prediction_head/_box_encoder_layers/0",
        f"{_PREDICTOR}/WeightSharedConvolutionalBoxHead/BoxPredictor",
    )
    add_head(
        f"{predictor}/_prediction_heads/class_predictions_with_background/_class_predictor_layers/0",
        f"{_PREDICTOR}/WeightSharedConvolutionalClassHead/ClassPredictor",
    )
    return variables


def shared_kernel(folded: Floats) -> tuple[Floats, npt.NDArray[np.float64]]:
    """The kernel [1, 1, I, O] that levels share, and each level's factors [L, O], from kernels [L, 1, 1, I, O].

    Each output channel of the kernel is a vector of length 1. The level with the largest one gives its direction. A channel
    that is zero on every level stays zero.
    """
    columns = folded.astype(np.float64)[:, 0, 0]
    lengths = np.linalg.norm(columns, axis=1)
    channels = np.arange(columns.shape[-1])
    largest = lengths.argmax(axis=0)
    longest = lengths[largest, channels]
    unit = columns[largest, :, channels].T / np.where(longest > 0, longest, 1.0)
    factors = np.einsum("lio,io->lo", columns, unit)
    rest = np.linalg.norm(columns - factors[:, None] * unit, axis=1)
    if (rest > PROPORTIONAL * longest).any():
        raise ValueError("the kernels of the tower's levels are not multiples of each other")
    return unit.astype(np.float32)[None, None], factors
