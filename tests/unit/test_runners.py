"""The runners: every exported file answers as its SavedModel does, and what is broken is told in a sentence."""

import json
import os
import shutil
import signal
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from exported import IMAGE_SIZE, ExportedRun

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference import tfjs
from boxcar.inference.open_runner import open_runner
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.runner import Runner
from boxcar.inference.specification import Specification, read_specification, specification_json
from boxcar.inference.tfjs import TFJSRunner

FILES = ("tflite/detector_float32.tflite", "tflite/detector_int8.tflite", "tfjs/float32")
NMS_FILES = ("tflite/detector_float32_nms.tflite", "tflite/detector_int8_nms.tflite")


@pytest.fixture(scope="module")
def model(exported_run: ExportedRun) -> Iterator[Runner]:
    with open_runner(exported_run.frozen) as runner:
        yield runner


@pytest.fixture
def image() -> np.ndarray:
    # Not square, and no multiple of anything; smooth, so that it has something of a photograph.
    rows, columns = np.mgrid[0:77, 0:131]
    return np.stack([rows * 3, columns, (rows * columns) // 50], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("file", [FILES[0], FILES[2]])
def test_float_files_answer_as_the_savedmodel_does(
    exported_run: ExportedRun, model: Runner, image: np.ndarray, file: str
) -> None:
    pixels = preprocess(image, model.specification)
    wanted = model.heads(pixels)
    one, other = wanted.values()
    assert one.shape == other.shape  # the case in which the shape does not tell which output it is
    assert np.abs(one - other).max() > 0.5
    with open_runner(exported_run.export / file) as runner:
        found = runner.heads(pixels)
        assert list(found) == list(wanted) == ["box_encodings", "class_logits"]
        for name in wanted:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-3)


def test_int8_answers_nearly_so(exported_run: ExportedRun, model: Runner, image: np.ndarray) -> None:
    pixels = preprocess(image, model.specification)
    with open_runner(exported_run.export / FILES[1]) as runner:
        found = runner.heads(pixels)
        for name, wanted in model.heads(pixels).items():
            assert found[name].dtype == np.float32
            assert np.corrcoef(wanted.ravel(), found[name].ravel())[0, 1] > 0.95


@pytest.mark.parametrize("file", [FILES[0], FILES[2]])
def test_the_host_decodes_as_the_graph_does(exported_run: ExportedRun, model: Runner, image: np.ndarray, file: str) -> None:
    in_graph = model.detect(image)
    assert len(in_graph.scores) > 10
    with open_runner(exported_run.export / file) as runner:
        on_host = runner.detect(image)
    # The graph drops boxes without an area after it has counted to 100, the host before.
    count = min(len(in_graph.scores), len(on_host.scores)) - 5
    np.testing.assert_allclose(on_host.scores[:count], in_graph.scores[:count], atol=1e-3)
    same = on_host.classes[:count] == in_graph.classes[:count]
    assert same.mean() > 0.9  # neighbours with equal scores may change places
    np.testing.assert_allclose(on_host.boxes[:count][same], in_graph.boxes[:count][same], atol=2e-2)


def test_pixels_of_another_range_are_refused(exported_run: ExportedRun, model: Runner) -> None:
    pixels = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 200.0, np.float32)
    with pytest.raises(ValueError, match=r"must be in \[-1, 1\]"):
        model.heads(pixels)
    for file in (*FILES, *NMS_FILES):
        with open_runner(exported_run.export / file) as runner, pytest.raises(ValueError, match=r"must be in \[-1, 1\]"):
            runner.find(pixels)


def test_the_savedmodel_itself_can_be_named(exported_run: ExportedRun, model: Runner, image: np.ndarray) -> None:
    with open_runner(exported_run.frozen / "saved_model") as runner:
        np.testing.assert_array_equal(runner.detect(image).boxes, model.detect(image).boxes)


def _copy(exported_run: ExportedRun, folder: Path, file: str) -> Path:
    """One exported file with what lies beside it."""
    source = exported_run.export / file
    if source.is_dir():
        return Path(shutil.copytree(source, folder / "copy"))
    shutil.copytree(source.parent, folder / "copy")
    return folder / "copy" / source.name


@pytest.mark.parametrize("file", [*FILES[1:], *NMS_FILES])
def test_a_folder_can_be_copied_away_alone(exported_run: ExportedRun, tmp_path: Path, image: np.ndarray, file: str) -> None:
    with open_runner(_copy(exported_run, tmp_path, file)) as runner:
        assert len(runner.detect(image).scores)
        assert runner.specification.labels == {1: "circle", 2: "square", 3: "triangle"}


def test_what_is_no_exported_detector(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "nothing.tflite"):
        with pytest.raises(BoxcarError, match="is not an exported detector") as caught:
            open_runner(path)
        assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("file", [*FILES[1:], *NMS_FILES])
def test_without_its_description(exported_run: ExportedRun, tmp_path: Path, file: str) -> None:
    path = _copy(exported_run, tmp_path, file)
    (tmp_path / "copy" / "detector.json").unlink()
    with pytest.raises(BoxcarError, match=r"holds no detector\.json") as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("file", ["saved_model", *FILES[1:], NMS_FILES[1]])
@pytest.mark.parametrize(
    "change",
    [{"image_size": 128}, {"labels": {1: "one", 2: "two"}}, {"labels": {1: "circle", 2: "triangle", 3: "square"}}],
)
def test_with_the_description_of_another(
    exported_run: ExportedRun, tmp_path: Path, file: str, change: dict[str, object]
) -> None:
    path = _copy(exported_run, tmp_path, file)
    beside = tmp_path / "copy" / "detector.json"
    specification = Specification.model_validate(json.loads(beside.read_text()) | change)
    beside.write_text(specification_json(specification))
    with pytest.raises(BoxcarError, match="cannot be used") as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.DATA


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x00" * 5000])
def test_a_tflite_file_that_is_none(exported_run: ExportedRun, tmp_path: Path, content: bytes) -> None:
    path = _copy(exported_run, tmp_path, FILES[1])
    path.write_bytes(content)
    with pytest.raises(BoxcarError, match=f"{path} cannot be used") as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.DATA


@pytest.mark.parametrize("file", [*FILES[:2], *NMS_FILES])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999, "a byte"])
def test_a_tflite_file_that_is_cut_short(exported_run: ExportedRun, tmp_path: Path, file: str, share: float | str) -> None:
    path = _copy(exported_run, tmp_path, file)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] if isinstance(share, str) else whole[: int(share * len(whole))])
    with pytest.raises(BoxcarError, match=f"{path} cannot be used: .*cut short") as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.DATA


def test_a_tflite_file_for_a_later_tensorflow_lite(exported_run: ExportedRun, tmp_path: Path) -> None:
    """Operators have versions, and a runtime knows those up to its own day."""
    from ai_edge_litert.tools import flatbuffer_utils

    path = _copy(exported_run, tmp_path, FILES[0])
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = min(entry.header_offset for entry in archive.infolist())
        files = {name: archive.read(name) for name in archive.namelist()}
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content[:start]))
    model.operatorCodes[0].version = 99
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with pytest.raises(BoxcarError, match=r"needs a newer TensorFlow Lite than ai-edge-litert [\d.]+: ") as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.DATA
    assert "Update ai-edge-litert" in caught.value.do


def test_a_savedmodel_that_is_cut_short(exported_run: ExportedRun, tmp_path: Path) -> None:
    path = _copy(exported_run, tmp_path, "saved_model")
    data = path / "saved_model" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(BoxcarError, match="cannot be used") as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.DATA


def test_a_savedmodel_without_its_labels(exported_run: ExportedRun, tmp_path: Path) -> None:
    path = _copy(exported_run, tmp_path, "saved_model")
    (path / "saved_model" / "assets" / "labels.txt").unlink()
    with pytest.raises(BoxcarError) as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.DATA


def test_a_savedmodel_that_is_none(exported_run: ExportedRun, tmp_path: Path) -> None:
    path = _copy(exported_run, tmp_path, "saved_model")
    pb = path / "saved_model" / "saved_model.pb"
    pb.write_bytes(pb.read_bytes()[:1000])
    with pytest.raises(BoxcarError, match="cannot be used") as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.DATA


@pytest.mark.parametrize("damage", ["not json", "no weights", "other outputs", "cut off shard"])
def test_a_tfjs_model_that_is_broken(exported_run: ExportedRun, tmp_path: Path, damage: str) -> None:
    path = _copy(exported_run, tmp_path, FILES[2])
    model = json.loads((path / "model.json").read_text())
    shard = path / model["weightsManifest"][0]["paths"][-1]
    if damage == "not json":
        (path / "model.json").write_text("{")
    elif damage == "no weights":
        shard.unlink()
    elif damage == "other outputs":
        model["signature"]["outputs"] = {"boxes": model["signature"]["outputs"]["box_encodings"]}
        (path / "model.json").write_text(json.dumps(model))
    else:
        shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(BoxcarError, match="cannot be used") as caught:
        open_runner(path)
    assert caught.value.code == ExitCode.DATA
    if damage == "other outputs":
        assert "no output box_encodings, only boxes" in caught.value.what


def test_the_wasm_backend_and_the_outputs_names(exported_run: ExportedRun) -> None:
    path = exported_run.export / FILES[2]
    with TFJSRunner(path, read_specification(path)) as runner:
        assert runner.started["backend"] == "wasm"
        assert runner.started["version"] == "4.22.0"
    model = json.loads((path / "model.json").read_text())
    assert list(model["signature"]["outputs"]) == ["box_encodings", "class_logits"]
    assert list(model["signature"]["inputs"]) == ["image"]
    metadata = model["userDefinedMetadata"]
    assert metadata["structuredOutputKeys"] == ["box_encodings", "class_logits"]
    assert metadata["labels"] == {"1": "circle", "2": "square", "3": "triangle"}
    assert metadata["normalization"] == {"mean": 127.5, "std": 127.5}


def test_node_is_killed(exported_run: ExportedRun, image: np.ndarray) -> None:
    path = exported_run.export / FILES[2]
    with TFJSRunner(path, read_specification(path)) as runner:
        runner.detect(image)
        os.kill(runner._node.pid, signal.SIGKILL)
        with pytest.raises(BoxcarError, match="Node ended by signal 9") as caught:
            runner.detect(image)
        assert caught.value.code == ExitCode.ENVIRONMENT


def test_node_hangs(exported_run: ExportedRun, image: np.ndarray) -> None:
    path = exported_run.export / FILES[2]
    with TFJSRunner(path, read_specification(path), answer_seconds=1.0) as runner:
        os.kill(runner._node.pid, signal.SIGSTOP)
        with pytest.raises(BoxcarError, match="did not respond within 1 s") as caught:
            runner.detect(image)
        assert caught.value.code == ExitCode.ENVIRONMENT
        assert runner._node.poll() is not None


def test_node_speaks_up(exported_run: ExportedRun) -> None:
    path = exported_run.export / FILES[2]
    with TFJSRunner(path, read_specification(path)) as runner:
        assert runner._node.stdin is not None
        runner._node.stdin.write(struct.pack("<I", 8) + bytes(8))  # two numbers are no image
        runner._node.stdin.flush()
        with pytest.raises(BoxcarError, match=r"cannot be used: .*shape") as caught:
            runner.heads(np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32))
        assert caught.value.code == ExitCode.DATA


def test_node_ends_with_the_runner(exported_run: ExportedRun) -> None:
    path = exported_run.export / FILES[2]
    with TFJSRunner(path, read_specification(path)) as runner:
        assert runner._node.poll() is None
    assert runner._node.poll() is not None


def test_without_the_npm_packages(exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfjs, "PROGRAM", tmp_path / "runner.mjs")
    with pytest.raises(BoxcarError, match="make setup") as caught:
        open_runner(exported_run.export / FILES[2])
    assert caught.value.code == ExitCode.ENVIRONMENT
