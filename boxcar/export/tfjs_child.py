"""Converts a SavedModel's signature `heads` to a TensorFlow.js graph model, in its own process because the converter can crash.

python -m boxcar.export.tfjs_child FORMAT FROZEN FOLDER
"""

import errno
import importlib
import json
import os
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boxcar.export.children import run_as_child
from boxcar.export.provenance import read_provenance
from boxcar.inference.decoders import find_decoder
from boxcar.inference.preprocessing import normalization
from boxcar.inference.specification import read_specification
from boxcar.storage.plain_path import plain_path


def convert(kind: str, frozen: Path, folder: Path) -> None:
    """Writes `model.json` and its shards.

    Args:
        kind: `tfjs_float32`, `tfjs_float16` or `tfjs_uint8`: how the weights are stored.
        frozen: the folder that `freeze` wrote.
        folder: for the model.

    Raises:
        OSError: if the disk is full.
    """
    stored = kind.removeprefix("tfjs_")
    specification = read_specification(frozen)
    mean, deviation = normalization(specification)
    converter = load_converter()
    try:
        converter.convert_tf_saved_model(
            str(frozen / "saved_model"),
            str(folder),
            signature_def="heads",
            # With the outputs' names in the model, `predict` in a browser returns the outputs by name.
            use_structured_outputs_names=True,
            quantization_dtype_map=None if stored == "float32" else {stored: "*"},
            metadata={
                "labels": specification.labels,
                **({"dense_slots": True} if specification.dense_slots else {}),
                "normalization": {"mean": mean, "std": deviation},
                "provenance": read_provenance(frozen).model_dump(mode="json"),
            },
        )
    except converter.tf.errors.ResourceExhaustedError as error:
        if "No space left" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
    path = folder / "model.json"
    model = json.loads(path.read_text(encoding="utf-8"))
    model["signature"]["outputs"] = name_outputs(
        model["signature"]["outputs"], list(find_decoder(specification).shapes(specification))
    )
    model["signature"]["inputs"] = {"image": next(iter(model["signature"]["inputs"].values()))}
    path.write_text(json.dumps(model), encoding="utf-8")


def name_outputs(outputs: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The signature's outputs under their own `names`.

    The converter recovers the names by type and shape. It leaves the graph's names (`Identity:0`, `Identity_1:0`) if two
    outputs are alike: with three classes, boxes and classes both have four numbers per anchor. The graph's names are numbered
    in the alphabetical order of the outputs' own names, because `tf.nest` flattens a dictionary in that order.
    """
    tensors = sorted(outputs.values(), key=lambda tensor: str(tensor["name"]))
    return dict(zip(sorted(names), tensors, strict=True))


def load_converter() -> Any:
    """The converter's module.

    For formats that Boxcar does not use, tensorflowjs imports two packages that Boxcar does not install. Empty modules replace
    them, but only after TensorFlow, Keras, and Hub are imported, because these check whether the real ones exist.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("tensorflow", "tf_keras", "tensorflow_hub"):
            importlib.import_module(name)
        for name in ("tensorflow_decision_forests", "jax", "jax.experimental", "jax.experimental.jax2tf"):
            sys.modules.setdefault(name, types.ModuleType(name))
        converter = importlib.import_module("tensorflowjs.converters.tf_saved_model_conversion_v2")
    return converter


def main() -> None:
    kind, frozen, folder = sys.argv[1:]
    with plain_path(Path(frozen)) as readable:
        convert(kind, readable, Path(folder))


if __name__ == "__main__":
    run_as_child(main)
