"""INT8 with the worst layers kept in float32: several files, each with more float32 layers than the one before.

python -m boxcar.export.selective_child FORMATS FROZEN RECORDS FOLDER INT8_PICTURES INT8_INPUT
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxcar.export.children import run_as_child
from boxcar.export.provenance import read_provenance
from boxcar.export.selective import LAYERS
from boxcar.export.tflite_child import calibration, int8_converter
from boxcar.export.tflite_file import complete
from boxcar.inference.specification import read_specification
from boxcar.storage import replace_json
from boxcar.storage.plain_path import plain_path

SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)  # of all layers, kept in float32
# The layers: operators with weights. Other operators gain nothing in float32, because INT8 rounds only their results.
LAYERS_BY_OPERATOR = ("CONV_2D", "DEPTHWISE_CONV_2D")
# These only move numbers. In INT8 they would force one scale on all their inputs, and undo what the layers before them gain.
JOINING = ("CONCATENATION", "RESHAPE")
DEBUG_IMAGES = 20  # for comparing layers: all tensors of the network are kept in memory


def convert(kinds: Sequence[str], frozen: Path, records: Path, folder: Path, int8_pictures: int, int8_input: str) -> None:
    """Writes the files, and `layers.json` last.

    Args:
        kinds: `tflite_int8`, `tflite_int8_nms`, or both, with the same layers for each share.
        frozen, records, int8_pictures, int8_input: as in `tflite_child.convert`.
        folder: for the files, `<format>-<layers>.tflite`; it is created.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    specification, provenance = read_specification(frozen), read_provenance(frozen)
    converter = int8_converter(frozen, records, int8_pictures)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=lambda: iter(()), debug_options=tf.lite.experimental.QuantizationDebugOptions()
    )
    images = list(calibration(records, specification, min(DEBUG_IMAGES, int8_pictures)))
    noise = noise_by_layer(debugger.quant_model, images)
    layers = sorted(noise, key=lambda name: -noise[name])
    folder.mkdir()
    kept = []
    for share in SHARES:
        worst = layers[: max(1, round(share * len(layers)))]
        content = mlir_quantize(
            debugger.calibrated_model,
            denylisted_ops=list(JOINING),
            denylisted_nodes=worst,
            input_data_type=tf.dtypes.as_dtype(int8_input),
        )
        for kind in kinds:
            (folder / f"{kind}-{len(worst)}.tflite").write_bytes(complete(content, kind, specification, provenance))
        kept.append(worst)
    replace_json(folder / LAYERS, kept)


def noise_by_layer(debug_model: bytes, images: Sequence[npt.NDArray[np.float32]]) -> dict[str, float]:
    """The noise that INT8 adds to the output of each layer, relative to the signal.

    Args:
        debug_model: from `QuantizationDebugger`: every operator twice, in INT8 and in float32, on the same input.
        images: float32 [1, S, S, 3].

    Returns:
        By the name of the layer's output, the mean over its channels of the difference's mean square divided by the channel's
        variance, at most 1 per channel. By channel, because a channel with large numbers would hide all others.
    """
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=debug_model, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    pixels = interpreter.get_input_details()[0]["index"]
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    layers = {output for op in operators if op["op_name"] in LAYERS_BY_OPERATOR for output in op["outputs"]}
    verified = [op for op in operators if op["op_name"] == "NumericVerify" and op["inputs"][1] in layers]
    rows: dict[str, list[npt.NDArray[Any]]] = {}
    for image in images:
        interpreter.set_tensor(pixels, image)
        interpreter.invoke()
        for op in verified:
            _, exact = op["inputs"]
            difference, values = interpreter.get_tensor(op["outputs"][0]), interpreter.get_tensor(exact)
            axes = tuple(range(values.ndim - 1))
            squares = np.square(difference.reshape(values.shape)).mean(axis=axes)
            moments = [squares, values.mean(axis=axes), np.square(values).mean(axis=axes)]
            rows.setdefault(names[exact], []).append(np.stack(moments).astype(np.float64))
    return {name: _noise(*np.mean(found, axis=0)) for name, found in rows.items()}


def _noise(noise: npt.NDArray[Any], mean: npt.NDArray[Any], square: npt.NDArray[Any]) -> float:
    variance = square - mean**2
    # A channel that never changes has no signal; a bias would undo its noise.
    share = np.divide(noise, variance, out=np.zeros_like(noise), where=variance > 1e-12 * square)
    return float(np.minimum(share, 1.0).mean())


def main() -> None:
    kinds, frozen, records, folder, int8_pictures, int8_input = sys.argv[1:]
    with plain_path(Path(frozen)) as readable:
        convert(kinds.split(","), readable, Path(records), Path(folder), int(int8_pictures), int8_input)


if __name__ == "__main__":
    run_as_child(main)
