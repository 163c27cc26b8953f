"""Ids with gaps cost nothing: class slots have none, and every answer has the label map's ids."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported import ARCHITECTURE, ExportedRun
from PIL import Image
from tiny_detector import TINY

from boxcar.data.label_map import write_label_map
from boxcar.detectors.box_detection import BOXES
from boxcar.detectors.catalog import find_architecture
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export import freeze
from boxcar.export.pipeline_config import pipeline_config
from boxcar.export.sampling import find_shards
from boxcar.inference.detections import Detections
from boxcar.inference.open_runner import open_runner
from boxcar.inference.specification import Specification, read_specification, specification_json
from boxcar.run.memory import memory_errors

IDS = {1: 11, 2: 578, 3: 2_000_000}  # of the exported detector's classes
SCRIPT = Path(__file__).parents[2] / "examples" / "raspberry_pi" / "detect.py"


def with_gaps(specification: Specification) -> Specification:
    """The same network, with classes that have other ids."""
    labels = {IDS[number]: name for number, name in specification.labels.items()}
    return specification.model_copy(update={"labels": labels, "dense_slots": True})


@pytest.fixture(scope="module")
def files(exported_run: ExportedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported files, as they are of a detector of the other ids."""
    folder = tmp_path_factory.mktemp("gaps")
    for name in ("tflite", "tfjs"):
        shutil.copytree(exported_run.export / name, folder / name)
    for path in folder.rglob("detector.json"):
        path.write_text(specification_json(with_gaps(read_specification(path.parent))))
    path = folder / "tfjs" / "float32" / "model.json"
    model = json.loads(path.read_text())
    labels = {str(IDS[int(number)]): name for number, name in model["userDefinedMetadata"]["labels"].items()}
    model["userDefinedMetadata"] |= {"labels": labels, "dense_slots": True}
    path.write_text(json.dumps(model))
    return folder


@pytest.fixture(scope="module")
def image(exported_run: ExportedRun) -> np.ndarray:
    from boxcar.data.example import read_examples
    from boxcar.data.pixels import decode_picture

    return decode_picture(next(iter(read_examples(find_shards(exported_run.records, "test")))))


def found_in(path: Path, image: np.ndarray) -> Detections:
    with open_runner(path, threads=1) as runner:
        return runner.detect(image)


@pytest.mark.parametrize("file", ["tflite/detector_float32.tflite", "tflite/detector_float32_nms.tflite", "tfjs/float32"])
def test_exported_files_answer_with_the_ids(exported_run: ExportedRun, files: Path, image: np.ndarray, file: str) -> None:
    wanted, found = found_in(exported_run.export / file, image), found_in(files / file, image)
    assert len(wanted.scores) > 10
    assert found.classes.tolist() == [IDS[number] for number in wanted.classes.tolist()]
    np.testing.assert_array_equal(found.boxes, wanted.boxes)


@pytest.mark.parametrize("kind", ["float32", "float32_nms"])
def test_the_raspberry_pi_s_script_answers_with_the_ids(files: Path, image: np.ndarray, tmp_path: Path, kind: str) -> None:
    Image.fromarray(image).save(tmp_path / "image.png")
    model = files / "tflite" / f"detector_{kind}.tflite"
    command = [sys.executable, SCRIPT, model, tmp_path / "image.png", "--threads", "1", "--json", tmp_path / "found.json"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    (one,) = json.loads((tmp_path / "found.json").read_text())
    assert [each["id"] for each in one["detections"]] == found_in(model, image).classes.tolist()


def test_a_savedmodel_answers_with_the_ids(tiny: str, image: np.ndarray, tmp_path: Path) -> None:
    """Of a checkpoint without `detector.json`, its label map says that its slots have no gaps."""
    import tensorflow as tf

    train = tmp_path / "train"
    network = TINY.build(TINY.specify(64, {1: "circle", 2: "square", 3: "triangle"}), 0.9, False)
    tf.train.Checkpoint(model=network.trackable()).write(str(train / "ckpt-7"))
    write_label_map(train / "label_map.pbtxt", {IDS[1]: "circle", IDS[2]: "square", IDS[3]: "triangle"})
    freeze(tiny, str(train / "ckpt-7"), str(tmp_path / "frozen"))
    assert read_specification(tmp_path / "frozen").dense_slots
    assert (tmp_path / "frozen" / "saved_model" / "assets" / "labels.txt").read_text() == "circle\nsquare\ntriangle\n"
    found = set(found_in(tmp_path / "frozen", image).classes.tolist())
    assert 2_000_000 in found <= set(IDS.values())


def test_targets_are_slots() -> None:
    import tensorflow as tf

    row = find_architecture(ARCHITECTURE)
    box = tf.constant([[0.2, 0.2, 0.6, 0.6]])
    for labels, number, slot in (({1: "a", 2: "b"}, 2, 2), ({11: "a", 578: "b"}, 578, 2), ({2_000_000: "a"}, 2_000_000, 1)):
        specification = row.specify(64, labels)
        assert specification.class_slots == len(labels) + 1
        targets = BOXES.targets({"boxes": box, "labels": tf.constant([number], tf.int64)}, specification)["class_targets"]
        assert set(targets.numpy().tolist()) == {0, slot}


def test_detectors_of_earlier_versions_have_slots_by_id() -> None:
    """`detector.json` did not say how slots are numbered, and does not where ids have no gaps."""
    specification = find_architecture(ARCHITECTURE).specify(64, {1: "a", 2: "b"})
    assert "dense_slots" not in specification_json(specification)
    earlier = Specification(architecture=ARCHITECTURE, image_size=64, labels={1: "a", 4: "b"})
    assert list(earlier.slot_ids) == [0, 1, 2, 3, 4]
    assert earlier.slots == {1: 1, 4: 4}


def test_the_api_is_told_how_classes_are_numbered() -> None:
    text = pipeline_config(find_architecture(ARCHITECTURE).specify(320, {11: "a", 578: "b"}), "extractor")
    assert "num_classes: 2  #" in text
    assert "num_classes: 2\n" in pipeline_config(find_architecture(ARCHITECTURE).specify(320, {1: "a", 2: "b"}), "extractor")


def test_memory_that_runs_out_is_no_defect() -> None:
    import tensorflow as tf

    gpu = tf.errors.InternalError(None, None, "Dst tensor is not initialized.\nmore")
    for error in (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), gpu, MemoryError()):
        with pytest.raises(BoxcarError, match=r"ran out of memory.*--batch-size") as caught, memory_errors("Training"):
            raise error
        assert caught.value.code == ExitCode.ENVIRONMENT
    in_graph = tf.errors.ResourceExhaustedError(
        None,
        None,
        "Graph execution error:\n\nDetected at node a/b defined at (most recent call last):\n<stack traces unavailable>\n"
        "OOM when allocating tensor with shape[9,9] and type float on /job:localhost/replica:0\n\t [[{{node a/b}}]]\nHint: ...",
    )
    with pytest.raises(BoxcarError) as caught, memory_errors("Training"):
        raise in_graph
    assert caught.value.what.endswith("memory: OOM when allocating tensor with shape[9,9] and type float.")
    full = tf.errors.ResourceExhaustedError(None, None, "/tmp/x; No space left on device")
    for other in (full, ValueError("out of memory"), tf.errors.InternalError(None, None, "another")):
        with pytest.raises(type(other)), memory_errors("Training"):
            raise other
