"""MobileNetV2 from the TFLite file of an SSD whose batch norms are folded and whose weights are float16.

The file is one of several that Emscripten's file packager put into one, at offsets that a JavaScript file contains as JSON.
"""

import json
import re
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from boxcar.detectors.weights.folded_layers import Floats, mobilenet_v2_variables

_TYPES = {schema.TensorType.FLOAT16: "<f2", schema.TensorType.FLOAT32: "<f4"}
_CONVOLUTIONS = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
# What an SSD adds to the backbone: predictors, and further layers for larger objects.
_NOT_BACKBONE = re.compile(r"BoxPredictor|.*/layer_19_")


def convert(path: Path) -> dict[str, Floats]:
    """The variables of the backbone by their names in checkpoints.

    Args:
        path: of the packed files, without `.data` and `_loader.js`.

    Raises:
        KeyError, TypeError, ValueError: they contain something else.
    """
    return mobilenet_v2_variables(read_convolutions(unpack_model(path)))


def unpack_model(path: Path) -> bytes:
    """The only TFLite file in packed files."""
    loader = path.with_name(f"{path.name}_loader.js").read_text(encoding="utf-8")
    packed = re.search(r'loadPackage\((\{"files".*\})\)', loader)
    (file,) = (file for file in json.loads(packed[1])["files"] if file["filename"].endswith(".tflite"))  # type: ignore[index]
    return path.with_name(f"{path.name}.data").read_bytes()[file["start"] : file["end"]]


def read_convolutions(content: bytes) -> list[tuple[Floats, Floats]]:
    """Kernel ([H, W, I, O], depthwise [H, W, C, 1]) and bias of each convolution of the backbone, in the order of use."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    graph = model.subgraphs[0]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    stored = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.DEQUANTIZE
    }

    def read(index: int) -> Floats:
        tensor = graph.tensors[stored.get(index, index)]
        values = np.frombuffer(model.buffers[tensor.buffer].data.tobytes(), _TYPES[tensor.type])
        return values.astype(np.float32).reshape(tensor.shape)

    convolutions = []
    for operator in graph.operators:
        name = graph.tensors[operator.outputs[0]].name.decode()
        if codes[operator.opcodeIndex] in _CONVOLUTIONS and not _NOT_BACKBONE.match(name.partition(";")[0]):
            _, kernel, bias = operator.inputs
            # From [O, H, W, I], depthwise from [1, H, W, C].
            convolutions.append((np.ascontiguousarray(read(kernel).transpose(1, 2, 3, 0)), read(bias)))
    return convolutions
