"""INT8 that costs too much: its worst layers are found and kept in float32, and what was done is said."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import ARCHITECTURE, ExportedRun, write_harmed
from whole_run import WholeRun

from boxcar.config.conversion_settings import Conversion
from boxcar.export import convert, freeze, selective
from boxcar.export.children import Child, run_children
from boxcar.export.file_checks import CheckedFile, FileToCheck
from boxcar.export.sampling import sample_images
from boxcar.export.selective import choose, loses_too_much
from boxcar.export.selective_child import noise_by_layer
from boxcar.export.verdict import Cost, Failure, Verdict
from boxcar.inference.open_runner import open_runner
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.runner import HeadsRunner, Runner
from boxcar.scoring import Difference


def _examined(
    ap50: float,
    low: float,
    high: float,
    *failures: Failure,
    agrees: bool | None = True,
    layers: int = 0,
    kind: str = "tflite_int8",
) -> CheckedFile:
    difference = Difference(ap50 - 0.9, low, high)
    verdict = Verdict({"AP50": ap50}, 5.0, agrees and not failures, None, failures, {}, difference)
    file = FileToCheck(kind, Path("a.tflite"), "tflite/a.tflite")
    return CheckedFile(file, "", (), (), Cost(1, 1), verdict, ("layer",) * layers)


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
def test_when_int8_loses_too_much(found: CheckedFile, too_much: bool) -> None:
    assert loses_too_much(found, Conversion(int8_max_drop=0.01)) is too_much


def test_what_the_operator_costs_is_not_laid_to_int8() -> None:
    """A file that answers with detections loses something by its operator, which layers in float32 do not bring back."""
    assert not loses_too_much(_examined(0.86, -0.06, -0.02, kind="tflite_int8_nms"), Conversion())
    broken = Failure("nms_ap50_loss", "0.06", "0.05")
    assert loses_too_much(_examined(0.84, -0.08, -0.02, broken, kind="tflite_int8_nms"), Conversion())


def test_the_fewest_layers_that_will_do() -> None:
    whole, few, some, many = (
        [_examined(0.80, -0.1, -0.05, LOST)],
        [_examined(0.85, -0.1, -0.02, LOST, layers=4)],
        [_examined(0.895, -0.02, 0.01, layers=8)],
        [_examined(0.90, -0.01, 0.01, layers=16)],
    )
    assert choose([whole, few, some, many], Conversion()) is some
    assert choose([whole, few], Conversion()) is few
    worse = [_examined(0.79, -0.1, -0.02, LOST, layers=4)]
    assert choose([whole, worse], Conversion()) is whole


def test_what_would_be_refused_takes_no_sound_files_place() -> None:
    whole = [_examined(0.885, -0.03, -0.001)]  # it loses more than it should, and no more than it may
    larger = [_examined(0.90, -0.01, 0.01, Failure("megabytes", "5", "at most 4"), layers=9)]
    assert choose([whole, larger], Conversion()) is whole


def test_only_operators_with_weights_are_layers() -> None:
    """The debugger compares every operator, and INT8 harms this network's addition most; but its inputs stay in INT8."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    kernels = [tf.constant(random.normal(0, 0.3, (3, 3, 3, 3)), tf.float32) for _ in range(2)]

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], tf.float32)])
    def network(image: tf.Tensor) -> tf.Tensor:
        small, large = (tf.nn.conv2d(image, kernel, 1, "SAME") for kernel in (kernels[0], 100 * kernels[1]))
        return tf.nn.relu(tf.reshape(small + large, [1, 64, 3]))

    images = [random.uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32) for _ in range(10)]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=lambda: iter(()), debug_options=tf.lite.experimental.QuantizationDebugOptions()
    )
    noise = noise_by_layer(debugger.quant_model, images)
    assert len(noise) == 2
    assert all("Conv2D" in name for name in noise)


def _harmed(checkpoint: Path, records: Path, folder: Path) -> ExportedRun:
    """A SavedModel that finds what the checkpoint does, and less in INT8; with the records."""
    run = ExportedRun(folder)
    shutil.copytree(records, run.records)
    write_harmed(checkpoint, run.folder / "train")
    freeze(ARCHITECTURE, str(run.checkpoint), str(run.frozen))
    return run


@pytest.fixture(scope="module")
def harmed(whole_run: WholeRun, tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """Of the whole run, whose model INT8 can be held against."""
    run = whole_run.folder
    best = json.loads((run / "eval" / "test.json").read_text())["step"]
    return _harmed(run / "train" / f"ckpt-{best}", run / "records", tmp_path_factory.mktemp("harmed") / "run")


@pytest.mark.slow
def test_layers_are_kept_in_float32(harmed: ExportedRun, exported_run: ExportedRun, tmp_path: Path) -> None:
    output = tmp_path / "export"
    kinds = ("tflite_int8", "tflite_int8_nms")
    convert(str(harmed.frozen), str(harmed.records), str(output), Conversion(formats=kinds, int8_input="uint8"))
    _, heads, nms = json.loads((output / "manifest.json").read_text())["files"]
    assert 1 <= len(heads["float_layers"]) == len(set(heads["float_layers"]))
    assert nms["float_layers"] == heads["float_layers"]
    assert not (output / ".work").exists()
    for entry in (heads, nms):
        assert entry["agrees"] is True
        assert entry["inputs"][0]["dtype"] == "uint8"
        file = output / entry["path"]
        assert file.stat().st_size == entry["bytes"]
        assert _float_layers(exported_run.export / entry["path"]) == 0
        assert _float_layers(file) == len(entry["float_layers"])


@pytest.mark.slow
def test_a_try_that_fails_costs_no_sound_file(harmed: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selective, "SELECTIVE_SECONDS", -400.0)  # so that it takes too long at once
    output = tmp_path / "export"
    # It loses more than `int8_max_drop`, and no more than it may.
    limits = {"ap50_loss": 1, "matched": 0, "mean_iou": 0, "score_difference": 1}
    convert(str(harmed.frozen), str(harmed.records), str(output), Conversion(formats=("tflite_int8",), limits=limits))
    entry = json.loads((output / "manifest.json").read_text())["files"][1]
    assert "float_layers" not in entry
    assert "float32" in entry["note"]
    assert (output / entry["path"]).stat().st_size == entry["bytes"]


@pytest.mark.slow
def test_the_layers_that_int8_harms_are_found(harmed: ExportedRun, tmp_path: Path) -> None:
    tried, whole = tmp_path / "tried", tmp_path / "whole"
    whole.mkdir()
    common = (str(harmed.frozen), str(harmed.records))
    run_children(
        [
            Child("tflite_int8", "boxcar.export.selective_child", ("tflite_int8", *common, str(tried), "50", "float32"), 600.0),
            Child(
                "tflite_int8",
                "boxcar.export.tflite_child",
                ("tflite_int8", *common, str(whole), "50", "float32"),
                600.0,
            ),
        ],
        lambda child: None,
    )
    (whole / "tflite_int8").rename(whole / "whole.tflite")
    tries = json.loads((tried / "layers.json").read_text())
    counts = [len(names) for names in tries]
    assert counts == sorted(set(counts))
    for fewer, more in itertools.pairwise(tries):
        assert more[: len(fewer)] == fewer
    assert any("class" in name for name in tries[1])
    for folder in (tried, whole):
        shutil.copy(harmed.frozen / "detector.json", folder)
    with open_runner(harmed.frozen) as model:
        before = _distance(harmed, model, whole / "whole.tflite")
        # With a quarter of the layers that it tries at most.
        after = _distance(harmed, model, tried / f"tflite_int8-{counts[2]}.tflite")
    assert after < 0.4 * before
    floats = [_float_layers(tried / f"tflite_int8-{count}.tflite") for count in counts]
    assert floats == counts


def _distance(run: ExportedRun, model: Runner, path: Path) -> float:
    """Mean difference of the class logits from the SavedModel's, the background's left out."""
    with open_runner(path) as other:
        assert isinstance(model, HeadsRunner) and isinstance(other, HeadsRunner)
        differences = []
        for _, image in sample_images(run.records, "test", 5):
            pixels = preprocess(image, model.specification)
            wanted = model.heads(pixels)
            differences.append(np.abs(wanted["class_logits"] - other.heads(pixels)["class_logits"])[:, 1:].mean())
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
