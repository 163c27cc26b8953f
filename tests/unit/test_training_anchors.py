"""The anchors that a training gets: those that fit its boxes, its own if it was started, and what the log says about them."""

import json
from pathlib import Path
from typing import Any

import pytest
from labelled import pair

from boxcar.config.run_settings import make_configuration
from boxcar.data.box_shapes import narrowest_class
from boxcar.detectors.catalog import ARCHITECTURES, larger_input
from boxcar.inference.specification import SPECIFICATION, Anchors, Specification, specification_json
from boxcar.records.build import build_records
from boxcar.run.step import Step, read_commit
from boxcar.training.plan import MOST_DETECTIONS, TrainingPlan, _fit_detections, box_sentences, make_plan

SSD, SSD_640 = "ssd_mobilenet_v2_fpnlite_320x320", "ssd_mobilenet_v2_fpnlite_640x640"
SMALL = [("cell", 4, 4, 8, 7)]  # 20 pixels of 320: a sixteenth of the image's sides
SETTINGS = {"image_size": 320, "steps": 10, "batch_size": 2, "init": "none"}


def plan(run: Path, **changes: Any) -> TrainingPlan:
    return make_plan(str(run), make_configuration(None, SETTINGS | changes))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cells") / "run"
    for split in ("train", "val", "test"):
        pair(run.parent / "data" / split, split, SMALL)
    build_records(str(run.parent / "data"), str(run / "records"))
    return run / "records"


@pytest.fixture
def run(records: Path, tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "records").symlink_to(records)
    return tmp_path / "run"


def start(run: Path, **changes: Any) -> TrainingPlan:
    """Leaves what a training leaves before its first checkpoint."""
    started = plan(run, **changes)
    started.step.begin()
    (run / "train" / SPECIFICATION).write_text(specification_json(started.specification))
    return started


def test_the_anchors_fit_the_boxes_at_the_input_s_size(run: Path) -> None:
    found = plan(run)
    assert found.specification.anchors == Anchors(anchor_scale=3.1875)
    assert plan(run).specification == found.specification
    assert plan(run, image_size=128).specification.anchors == Anchors(anchor_scale=1.5625)
    assert plan(run, image_size=640).specification.anchors == Anchors()
    retinanet = "retinanet_resnet50_fpn_640x640"
    ours = ARCHITECTURES[retinanet].anchors
    fitted = plan(run, architecture=retinanet).specification.anchors
    assert fitted == ours.model_copy(update={"anchor_scale": fitted.anchor_scale})
    assert fitted.anchor_scale < ours.anchor_scale


def test_records_of_an_earlier_version_give_the_architecture_s(run: Path, records: Path) -> None:
    (run / "records").unlink()
    (run / "records").mkdir()
    for file in records.iterdir():
        if file.name not in ("box_shapes.json", "step.json"):
            (run / "records" / file.name).write_bytes(file.read_bytes())
    Step("records", run / "records", {}, {}).commit()
    found = plan(run)
    assert found.specification.anchors == Anchors()
    assert box_sentences(found.shapes, found.specification) == []


def test_a_training_that_was_started_keeps_its_anchors(run: Path) -> None:
    started = start(run)
    # As a version before this one would have started it.
    (run / "train" / SPECIFICATION).write_text(
        specification_json(started.specification.model_copy(update={"anchors": Anchors()}))
    )
    resumed = plan(run)
    resumed.step.check()
    assert resumed.specification.anchors == Anchors()
    # And when it is finished, it stays so.
    started.step.commit()
    assert plan(run).step.done() == read_commit(run / "train", "train") is not None


def test_another_input_size_is_refused_whatever_its_anchors(run: Path) -> None:
    from boxcar.errors import BoxcarError

    start(run)
    with pytest.raises(BoxcarError, match="image_size was 320 and is now 640") as error:
        plan(run, image_size=640).step.check()
    assert error.value.code == 64


def test_the_log_names_anchors_that_are_not_the_architecture_s(run: Path) -> None:
    found = plan(run)
    assert box_sentences(found.shapes, found.specification) == [
        "Anchors from 25.5 pixels up instead of 32, fitted to the data's boxes."
    ]
    others = found.specification.model_copy(update={"anchors": Anchors(anchor_scale=2.0)})
    assert box_sentences(found.shapes, others) == ["Anchors from 16 pixels up instead of 32, as before."]
    large = plan(run, image_size=640)
    assert box_sentences(large.shapes, large.specification) == []


def test_the_log_says_before_the_training_that_boxes_are_too_small_for_the_input(run: Path) -> None:
    found = plan(run, image_size=96)
    assert box_sentences(found.shapes, found.specification)[1:] == [
        "100% of the boxes of cell have a side of less than 8 pixels at the input of 96 × 96. "
        f"They are easier to find with a larger one: start another run with --architecture {SSD} --image-size 192."
    ]


def test_a_class_is_narrow_if_a_quarter_of_its_boxes_is() -> None:
    def shape(height: float, width: float, count: int) -> tuple[float, float, int]:
        return height / 320, width / 320, count

    cells = {"white": [shape(60, 90, 9)], "platelet": [shape(20, 7, 1), shape(12, 12, 3)]}
    assert narrowest_class(cells, 320) == ("platelet", 0.25)
    assert narrowest_class(cells, 640) is None
    assert narrowest_class(cells | {"platelet": [shape(20, 7, 1), shape(12, 12, 4)]}, 320) is None
    assert narrowest_class(cells | {"line": [shape(1, 300, 1)]}, 320) == ("line", 1.0)
    assert narrowest_class({}, 320) is None
    assert narrowest_class({"a": []}, 320) is None


def test_a_larger_input_is_another_row_of_the_table_if_there_is_one() -> None:
    def options(architecture: str, size: int) -> str | None:
        return larger_input(Specification(architecture=architecture, image_size=size, labels={1: "a"}))

    assert options(SSD, 320) == f"--architecture {SSD_640}"
    assert options(SSD, 128) == f"--architecture {SSD} --image-size 256"
    assert options(SSD, 160) == f"--architecture {SSD}"
    assert options(SSD, 352) == f"--architecture {SSD_640}"
    assert options(SSD_640, 320) == f"--architecture {SSD_640}"
    assert options(SSD_640, 640) is options(SSD_640, 1024) is options("retinanet_resnet50_fpn_640x640", 640) is None
    assert options("unknown", 320) is None


def test_detector_json_says_them(run: Path) -> None:
    text = specification_json(plan(run).specification)
    assert json.loads(text)["anchors"] == {
        "min_level": 3,
        "max_level": 7,
        "anchor_scale": 3.1875,
        "aspect_ratios": [1.0, 2.0, 0.5],
        "scales_per_octave": 2,
    }


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose records have an image with 230 objects, and a label map with gaps."""
    run = tmp_path_factory.mktemp("crowded") / "run"
    data = run.parent / "data"
    boxes = [("cell", 2 * column, 2 * row, 2 * column + 2, 2 * row + 1) for row in range(10) for column in range(23)]
    for split in ("train", "val", "test"):
        pair(data / split, split, boxes if split == "val" else SMALL)  # type: ignore[arg-type]
    (data / "label_map.pbtxt").write_text("item { id: 11 name: 'cell' } item { id: 2000000 name: 'pear' }")
    build_records(str(data), str(run / "records"))
    return run


def test_there_is_room_for_all_objects_of_an_image(crowded: Path, run: Path) -> None:
    found = plan(crowded).specification
    assert (found.thresholds.max_detections, found.thresholds.max_detections_per_class) == (300, 300)
    assert any("300 detections" in sentence for sentence in box_sentences({}, found))
    usual = plan(run).specification
    assert usual.thresholds.max_detections == 100
    assert not any("detections" in sentence for sentence in box_sentences({}, usual))


def test_there_is_a_limit(crowded: Path) -> None:
    dataset = crowded / "records" / "dataset.json"
    content = json.loads(dataset.read_text())
    assert content["most_boxes"] == 230
    for most in (1_000_000, 999):
        assert _fit_detections(most, plan(crowded).specification).max_detections == MOST_DETECTIONS


def test_gaps_between_ids_cost_no_class_slot(crowded: Path) -> None:
    found = plan(crowded).specification
    assert found.class_slots == 3
    assert found.labels == {11: "cell", 2_000_000: "pear"}
