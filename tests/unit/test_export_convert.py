"""Conversion: what is written and measured, and that nothing is believed which does not answer as the SavedModel does."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import ARCHITECTURE, FORMATS, ExportedRun, write_checkpoint
from whole_run import WholeRun

from boxcar.config.conversion_settings import Conversion
from boxcar.config.run_settings import make_configuration
from boxcar.data.label_map import write_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export import convert, converting, freeze
from boxcar.export.children import Child
from boxcar.export.sampling import ParityImages, count_images, sample_images
from boxcar.export.tfjs_child import name_outputs
from boxcar.export.tflite_child import calibration
from boxcar.inference.embedded import labels_text
from boxcar.inference.open_runner import open_runner
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.runner import HeadsRunner
from boxcar.inference.specification import read_specification
from boxcar.run.layout import COMMIT
from boxcar.run.step import Step, read_commit
from boxcar.storage import file_sha256, folder_sha256


def _convert(run: ExportedRun, output: Path, **settings: object) -> object:
    return convert(str(run.frozen), str(run.records), str(output), Conversion(**settings))  # type: ignore[arg-type]


def test_what_lies_in_the_folder(exported_run: ExportedRun) -> None:
    committed = read_commit(exported_run.export, "convert")
    assert committed is not None
    names = set(committed.files)
    assert {
        "manifest.json",
        "tflite/detector_float32.tflite",
        "tflite/detector_int8.tflite",
        "tflite/detector_float32_nms.tflite",
        "tflite/detector_int8_nms.tflite",
        "tflite/detector.json",
        "tflite/labels.txt",
        "tfjs/float32/model.json",
        "tfjs/float32/detector.json",
    } <= names
    assert all(name.startswith("tfjs/float32/group1-shard") for name in names if name.endswith(".bin"))
    # The SavedModel is freeze's, and an input here.
    assert not any(name.startswith("saved_model") for name in names)
    frozen = read_commit(exported_run.frozen, "freeze")
    records = read_commit(exported_run.records, "records")
    assert frozen is not None and records is not None
    assert committed.inputs == {"freeze": frozen.digest, "records": records.digest}
    assert not (exported_run.export / ".work").exists()
    assert (exported_run.export / "tflite" / "labels.txt").read_text() == "circle\nsquare\ntriangle\n"
    for folder in ("tflite", "tfjs/float32"):
        assert read_specification(exported_run.export / folder) == read_specification(exported_run.frozen)


def test_the_manifest(exported_run: ExportedRun) -> None:
    manifest = json.loads((exported_run.export / "manifest.json").read_text())
    assert [(entry["path"], entry["format"]) for entry in manifest["files"]] == [
        ("saved_model", "saved_model"),
        ("tflite/detector_float32.tflite", "tflite_float32"),
        ("tflite/detector_int8.tflite", "tflite_int8"),
        ("tflite/detector_float32_nms.tflite", "tflite_float32_nms"),
        ("tflite/detector_int8_nms.tflite", "tflite_int8_nms"),
        ("tfjs/float32", "tfjs_float32"),
    ]
    assert manifest["dataset_version"] == "of-the-test"
    assert manifest["labels"] == {"1": "circle", "2": "square", "3": "triangle"}
    for entry in manifest["files"]:
        place = exported_run.export / entry["path"]
        if place.is_dir():
            assert (entry["sha256"], entry["bytes"]) == folder_sha256(place)
        else:
            assert (entry["sha256"], entry["bytes"]) == (file_sha256(place), place.stat().st_size)
        assert entry["milliseconds"] > 0
        assert 0 <= entry["AP50"] < 0.1
        assert entry["compared"]["pictures"] == sum(manifest["pictures"].values())
    model, float32, int8, float32_nms, int8_nms, tfjs = manifest["files"]
    assert all(entry["peak_memory_bytes"] > entry["bytes"] for entry in manifest["files"])
    # Measured of a process of the file's own: only the SavedModel's has to load TensorFlow.
    assert model["peak_memory_bytes"] > float32["peak_memory_bytes"]
    assert model["agrees"] is True
    for entry in (float32, tfjs):
        assert entry["agrees"] is True and entry["judged"] is True
        assert 0 < entry["compared"]["raw_difference"] <= 1e-3
        assert entry["compared"]["references"] > 0
    # The model was never trained: whether INT8 is as good as it cannot be told, and that is said.
    for entry in (int8, int8_nms):
        assert entry["agrees"] is None and entry["judged"] is False
        assert entry["reason"]
    assert int8["bytes"] < float32["bytes"] / 3
    assert int8_nms["bytes"] < float32_nms["bytes"] / 3
    # Of the same weights it can be told: they find what the SavedModel finds, as sure of it.
    assert float32_nms["agrees"] is True
    assert float32_nms["compared"]["references"] > 0
    assert float32_nms["compared"]["score_difference"] < 1e-4
    assert float32_nms["compared"]["raw_difference"] is None
    assert float32_nms["use_regular_nms"] is int8_nms["use_regular_nms"] is True
    assert "use_regular_nms" not in float32


def test_tflite_files_take_and_give_float32_by_name(exported_run: ExportedRun) -> None:
    from ai_edge_litert.interpreter import Interpreter

    for name in ("float32", "int8"):
        interpreter = Interpreter(model_path=str(exported_run.export / "tflite" / f"detector_{name}.tflite"))
        assert interpreter.get_signature_list() == {
            "heads": {"inputs": ["image"], "outputs": ["box_encodings", "class_logits"]}
        }
        details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
        assert {detail["dtype"] for detail in details} == {np.float32}
        inner = {detail["dtype"] for detail in interpreter.get_tensor_details()}
        assert (np.int8 in inner) == (name == "int8")


def test_the_same_inputs_again_do_nothing(exported_run: ExportedRun) -> None:
    before = (exported_run.export / COMMIT).stat().st_mtime_ns
    _convert(exported_run, exported_run.export, formats=FORMATS)
    assert (exported_run.export / COMMIT).stat().st_mtime_ns == before


def test_outputs_keep_their_names_however_the_converter_calls_them() -> None:
    boxes, classes = {"name": "Identity:0"}, {"name": "Identity_1:0"}
    wanted = {"box_encodings": boxes, "class_logits": classes}
    names = ["class_logits", "box_encodings"]
    assert name_outputs({"Identity_1:0": classes, "Identity:0": boxes}, names) == wanted
    assert name_outputs({"class_logits": classes, "box_encodings": boxes}, names) == wanted


def test_labels_with_gaps() -> None:
    labels = {1: "ant", 4: "two\nlines"}
    assert labels_text(labels, dense=False) == "ant\n???\n???\ntwo lines\n"
    assert labels_text(labels, dense=True) == "ant\ntwo lines\n"


def test_inputs_that_are_not_finished_or_were_changed(exported_run: ExportedRun, tmp_path: Path) -> None:
    with pytest.raises(BoxcarError, match=str(tmp_path)) as caught:
        convert(str(tmp_path), str(exported_run.records), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.USAGE
    copy = Path(shutil.copytree(exported_run.frozen, tmp_path / "saved_model"))
    (copy / "detector.json").write_text("{}")
    with pytest.raises(BoxcarError, match=str(copy)) as caught:
        convert(str(copy), str(exported_run.records), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.DATA


def _records(folder: Path, source: ExportedRun, labels: dict[int, str], splits: tuple[str, ...]) -> Path:
    step = Step("records", folder, {}, {})
    with step.writing():
        write_label_map(folder / "label_map.pbtxt", labels)
        for split in splits:
            for shard in source.records.glob(f"{split}-*"):
                shutil.copy(shard, folder)
    return folder


def test_records_with_other_labels(exported_run: ExportedRun, tmp_path: Path) -> None:
    records = _records(tmp_path / "records", exported_run, {1: "circle", 2: "triangle", 3: "square"}, ("test",))
    with pytest.raises(BoxcarError, match="id 2 is triangle in the records but square in the model") as caught:
        convert(str(exported_run.frozen), str(records), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.USAGE
    assert len(caught.value.details) == 2
    assert not (tmp_path / "out").exists()


def test_calibration_images(exported_run: ExportedRun, tmp_path: Path) -> None:
    specification = read_specification(exported_run.frozen)
    images = list(calibration(exported_run.records, specification, 25))
    assert len(images) == 25
    assert {image.shape for image in images} == {(1, 64, 64, 3)}
    assert min(image.min() for image in images) < -0.5
    assert max(image.max() for image in images) > 0.5
    with pytest.raises(BoxcarError, match="no training images"):
        list(calibration(tmp_path, specification, 100))
    low, high = (0.0, 255.0)
    for pixels in calibration(exported_run.records, specification.model_copy(update={"value_range": (low, high)}), 2):
        assert low <= pixels.min() < 0.2 * high < 0.8 * high < pixels.max() <= high


def test_a_converter_that_is_given_another_range_stops(exported_run: ExportedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    import boxcar.export.tflite_child as child

    monkeypatch.setattr(child, "preprocess", lambda image, _: image[:64, :64].astype(np.float32))
    with pytest.raises(ValueError, match=r"must be in \[-1, 1\]"):
        list(child.calibration(exported_run.records, read_specification(exported_run.frozen), 100))


def _spoiled(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def children(kinds: list[str], frozen: Path, records: Path, work: Path, conversion: Conversion) -> list[Child]:
        return [Child(kind, "failing_converter", (how, str(work / kind)), 60.0) for kind in kinds]

    monkeypatch.setattr(converting, "_children", children)


@pytest.mark.parametrize(
    ("kind", "how", "words"),
    [
        pytest.param("tflite_float32", "write an empty file", "what it wrote cannot be run", marks=pytest.mark.slow),
        ("tfjs_float32", "write a broken model", "what it wrote cannot be run"),
        pytest.param("tflite_float32", "write nothing", "it wrote nothing", marks=pytest.mark.slow),
        ("tflite_float32", "crash", "it crashed"),
    ],
)
def test_a_converter_that_fails_leaves_nothing(
    exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, how: str, words: str
) -> None:
    _spoiled(monkeypatch, how)
    output = tmp_path / "export"
    output.mkdir()
    (output / "notes.txt").write_text("the user's own")
    with pytest.raises(BoxcarError, match=words) as caught:
        _convert(exported_run, output, formats=[kind])
    assert caught.value.code == ExitCode.DEFECT
    assert kind in caught.value.what
    assert [path.name for path in output.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_files_of_other_weights_are_refused_by_name(
    whole_run: WholeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ExportedRun(whole_run.folder)
    other = write_checkpoint(tmp_path / "other", read_specification(run.frozen).labels, seed=2, image_size=128)
    freeze(ARCHITECTURE, str(other), str(tmp_path / "frozen"))
    true_children = converting._children
    monkeypatch.setattr(converting, "_children", lambda kinds, _, *rest: true_children(kinds, tmp_path / "frozen", *rest))
    output = tmp_path / "export"
    with pytest.raises(BoxcarError) as caught:
        # Whatever AP50 it costs, INT8 is not made again: that would take the true SavedModel.
        _convert(run, output, formats=["tflite_float32", "tflite_int8"], limits={"ap50_loss": 1}, int8_max_drop=1)
    assert caught.value.code == ExitCode.DEFECT
    assert "tflite_float32" in caught.value.what and "detector.json" in caught.value.what
    assert not output.exists()


@pytest.mark.slow
def test_int8_that_takes_bytes(exported_run: ExportedRun, tmp_path: Path) -> None:
    """A byte is a grey level, as apps put it in: the input's scale says so, whatever the training images hold."""
    from ai_edge_litert.interpreter import Interpreter

    _convert(exported_run, tmp_path / "export", formats=("tflite_int8", "tflite_int8_nms"), int8_input="uint8")
    manifest = json.loads((tmp_path / "export" / "manifest.json").read_text())
    for entry in manifest["files"][1:]:
        assert entry["inputs"] == [{"name": "image", "shape": [1, 64, 64, 3], "dtype": "uint8"}]
        assert {tensor["dtype"] for tensor in entry["outputs"]} == {"float32"}
        (detail,) = Interpreter(model_path=str(tmp_path / "export" / entry["path"])).get_input_details()
        scale, zero_point = detail["quantization"]
        assert scale == pytest.approx(2 / 255, rel=1e-3)
        assert zero_point in (127, 128)
    with (
        open_runner(tmp_path / "export" / "tflite" / "detector_int8.tflite") as bytes_in,
        open_runner(exported_run.export / "tflite" / "detector_int8.tflite") as floats_in,
    ):
        assert isinstance(bytes_in, HeadsRunner) and isinstance(floats_in, HeadsRunner)
        for _, image in sample_images(exported_run.records, "test", 3):
            pixels = preprocess(image, floats_in.specification)
            found = bytes_in.heads(pixels)
            for name, wanted in floats_in.heads(pixels).items():
                # Each file rounds on its own, and the network is nearly random: another input scale would leave far less.
                assert np.corrcoef(wanted.ravel(), found[name].ravel())[0, 1] > 0.96


def test_what_goes_in_and_out_stands_in_the_manifest(exported_run: ExportedRun) -> None:
    model, float32, _, float32_nms, _, tfjs = json.loads((exported_run.export / "manifest.json").read_text())["files"]
    image = {"name": "image", "shape": [1, 64, 64, 3], "dtype": "float32"}
    assert model["inputs"] == [{"name": "input_tensor", "shape": [1, -1, -1, 3], "dtype": "uint8"}]
    assert {"detection_boxes", "detection_scores", "num_detections"} <= {tensor["name"] for tensor in model["outputs"]}
    for entry in (float32, tfjs):
        assert entry["inputs"] == [image]
        assert sorted(tensor["name"] for tensor in entry["outputs"]) == ["box_encodings", "class_logits"]
        assert {tensor["shape"][-1] for tensor in entry["outputs"]} == {4}  # three classes and the background
    assert float32_nms["inputs"] == [image]
    names = [tensor["name"] for tensor in float32_nms["outputs"]]
    assert names == ["detection_boxes", "detection_classes", "detection_scores", "num_detections"]


def test_few_test_images_are_joined_by_validation_images(exported_run: ExportedRun) -> None:
    there = {split: count_images(exported_run.records, split) for split in ("test", "validation")}
    assert 1 < there["test"] < 50
    few = ParityImages(exported_run.records, 200)
    assert few.splits == {"test": there["test"], "validation": min(there["validation"], 50 - there["test"])}
    found = [example.source_id for example, _ in few]
    assert len(found) == len(set(found)) == len(few)
    assert [example.source_id for example, _ in few] == found
    fewer = ParityImages(exported_run.records, there["test"] - 1)
    assert fewer.splits == {"test": there["test"] - 1}
    assert len(list(fewer)) == there["test"] - 1


@pytest.mark.slow
def test_a_limit_that_is_asked_for(exported_run: ExportedRun, tmp_path: Path) -> None:
    with pytest.raises(BoxcarError) as caught:
        _convert(exported_run, tmp_path / "out", formats=("tflite_float32",), limits={"megabytes": 1})
    assert caught.value.code == ExitCode.NO
    assert [line.split()[:2] for line in caught.value.details[1:]] == [["tflite/detector_float32.tflite", "megabytes"]]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asked", [{"image_size": 128}, {"architecture": "retinanet_resnet50_fpn_640x640"}])
def test_settings_of_another_detector_are_refused(exported_run: ExportedRun, tmp_path: Path, asked: dict[str, Any]) -> None:
    settings = make_configuration(None, {**asked, "formats": ["tflite_float32"]})
    with pytest.raises(BoxcarError, match=next(iter(asked))) as caught:
        convert(str(exported_run.frozen), str(exported_run.records), str(tmp_path / "out"), settings)
    assert caught.value.code == 64
    assert not (tmp_path / "out").exists()
