"""INT8 that costs too much: its worst layers are found and kept in float32, and what was done is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import ExportedRun

from boxcar.detectors.preprocessing import preprocess
from boxcar.detectors.runners import HeadsRunner, open_runner
from boxcar.export import convert
from boxcar.export.children import Child, run_children
from boxcar.export.examination import Examined, ExportedFile
from boxcar.export.pictures import sample_pictures
from boxcar.export.selective import choose, loses_too_much
from boxcar.export.verdict import Cost, Failure, Verdict
from boxcar.run.conversion import Conversion
from boxcar.scoring import Difference

convert_module = __import__("boxcar.export.convert", fromlist=["convert"])


def _examined(
    ap50: float, low: float, high: float, *failures: Failure, agrees: bool | None = True, layers: int = 0
) -> Examined:
    difference = Difference(ap50 - 0.9, low, high)
    verdict = Verdict({"AP50": ap50}, 5.0, agrees and not failures, None, failures, {}, difference)
    file = ExportedFile("tflite_int8", Path("a.tflite"), "tflite/a.tflite")
    return Examined(file, "", (), (), Cost(1, 1), verdict, ("layer",) * layers)


LOST = Failure("ap50_loss", "0.03", "0.02")


@pytest.mark.parametrize(
    ("found", "too_much"),
    [
        (_examined(0.892, -0.03, -0.001), False),  # no more than 0.01, however sure
        (_examined(0.885, -0.03, 0.001), False),  # it may be luck
        (_examined(0.885, -0.03, -0.001), True),
        (_examined(0.87, -0.06, 0.02, LOST), True),  # the limit is passed, luck or not
        (_examined(0.91, 0.001, 0.02), False),
        (_examined(0.5, -0.5, -0.3, agrees=None), False),  # the model cannot judge it
    ],
)
def test_when_int8_loses_too_much(found: Examined, too_much: bool) -> None:
    assert loses_too_much(found, Conversion(int8_max_drop=0.01)) is too_much


def test_the_fewest_layers_that_will_do() -> None:
    whole, few, some, many = (
        _examined(0.80, -0.1, -0.05, LOST),
        _examined(0.85, -0.1, -0.02, LOST, layers=4),
        _examined(0.895, -0.02, 0.01, layers=8),
        _examined(0.90, -0.01, 0.01, layers=16),
    )
    assert choose([whole, few, some, many], Conversion()) is some
    assert choose([whole, few], Conversion()) is few
    worse = _examined(0.79, -0.1, -0.02, LOST, layers=4)
    assert choose([whole, worse], Conversion()) is whole


@pytest.mark.parametrize("kind", ["tflite_int8", "tflite_int8_nms"])
def test_layers_are_kept_in_float32(
    exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The real converter, told that INT8 lost too much: of a model that was never trained nobody can tell."""
    asked = []

    def told(found: Examined, conversion: Conversion) -> bool:
        asked.append(found)
        return len(asked) == 1

    monkeypatch.setattr(convert_module, "loses_too_much", told)
    output = tmp_path / "export"
    convert(str(exported_run.frozen), str(exported_run.records), str(output), Conversion(formats=(kind,), int8_input="uint8"))
    entry = json.loads((output / "manifest.json").read_text())["files"][1]
    assert entry["path"] == asked[0].file.name
    assert 1 <= len(entry["float_layers"]) == len(set(entry["float_layers"]))
    assert entry["inputs"][0]["dtype"] == "uint8"
    assert not (output / ".work").exists()
    file = output / entry["path"]
    assert file.stat().st_size == entry["bytes"] > asked[0].cost.bytes
    assert _float_layers(file) >= len(entry["float_layers"]) > _float_layers(exported_run.export / entry["path"])


def test_more_layers_in_float32_come_nearer(exported_run: ExportedRun, tmp_path: Path) -> None:
    folder = tmp_path / "tried"
    arguments = ("tflite_int8", str(exported_run.frozen), str(exported_run.records), str(folder), "50", "float32")
    run_children([Child("tflite_int8", "boxcar.export.selective_child", arguments, 600.0)], lambda child: None)
    layers = json.loads((folder / "layers.json").read_text())
    counts = [len(names) for names in layers.values()]
    assert counts == sorted(counts) and len(counts) == 4
    for fewer, more in zip(list(layers.values()), list(layers.values())[1:], strict=False):
        assert more[: len(fewer)] == fewer
    (folder / "detector.json").write_text((exported_run.frozen / "detector.json").read_text())
    distances = [
        _distance(exported_run, path)
        for path in (exported_run.export / "tflite" / "detector_int8.tflite", *(folder / name for name in layers))
    ]
    assert distances[-1] < 0.8 * distances[0]
    floats = [_float_layers(folder / name) for name in layers]
    assert floats == sorted(set(floats))


def _distance(run: ExportedRun, path: Path) -> float:
    """Mean difference of the heads from the SavedModel's."""
    with open_runner(run.frozen) as model, open_runner(path) as other:
        assert isinstance(model, HeadsRunner) and isinstance(other, HeadsRunner)
        differences = []
        for _, picture in sample_pictures(run.records, "test", 5):
            pixels = preprocess(picture, model.specification.image_size)
            for one, two in zip(model.heads(pixels), other.heads(pixels), strict=True):
                differences.append(np.abs(one - two).mean())
    return float(np.mean(differences))


def _float_layers(path: Path) -> int:
    """Convolutions of a file that compute in float32."""
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(path.read_bytes()))
    graph = model.subgraphs[0]
    convolutions = {3, 4}  # BuiltinOperator CONV_2D and DEPTHWISE_CONV_2D in TFLite's schema
    kinds = [model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators]
    return sum(
        kind in convolutions and graph.tensors[op.inputs[0]].type == 0  # TensorType FLOAT32
        for kind, op in zip(kinds, graph.operators, strict=True)
    )
