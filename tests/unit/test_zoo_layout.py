"""The folder that `freeze` writes is one of the zoo's: the Object Detection API reads it and finds the same in a picture."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from exported import ExportedRun
from external import OBJECT_DETECTION_API

from boxcar.detectors.catalog import ARCHITECTURES
from boxcar.export.pipeline_config import pipeline_config
from boxcar.export.sampling import sample_images
from boxcar.inference.detections import Detections
from boxcar.inference.open_runner import open_runner
from boxcar.scoring import match


@pytest.mark.slow
@OBJECT_DETECTION_API.needed
def test_the_object_detection_api_restores_it_and_finds_the_same(exported_run: ExportedRun, tmp_path: Path) -> None:
    _, picture = next(iter(sample_images(exported_run.records, "test", 1)))
    np.save(tmp_path / "picture.npy", picture)
    script = Path(__file__).with_name("object_detection_api.py")
    command = [OBJECT_DETECTION_API.path, script, exported_run.frozen, tmp_path / "picture.npy", tmp_path / "answer.npz"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = np.load(tmp_path / "answer.npz")
    assert answer["names"].tolist() == ["circle", "square", "triangle"]
    assert str(answer["fine_tune"]) == "detection"
    with open_runner(exported_run.frozen) as runner:
        found = runner.detect(picture)
    count = int(answer["count"])
    api = Detections(answer["boxes"][:count], answer["scores"][:count], answer["classes"][:count].astype(np.int64) + 1)
    matches = match(found, api, min_score=0.2)
    assert len(matches.iou) > 10
    assert (matches.iou > 0.999).mean() > 0.97
    assert np.abs(matches.score_difference[matches.iou > 0.999]).max() < 1e-3


def test_what_a_detector_may_have_otherwise_is_its_own() -> None:
    row = ARCHITECTURES["ssd_mobilenet_v2_fpnlite_640x640"]
    specification = row.specify(640, {1: "a", 2: "b"})
    assert row.api_feature_extractor is not None
    lines = [line.strip() for line in pipeline_config(specification, row.api_feature_extractor).splitlines()]
    assert "num_classes: 2" in lines
    assert "image_resizer { fixed_shape_resizer { height: 640 width: 640 } }" in lines
    assert "aspect_ratios: [1.0, 2.0, 0.5]" in lines
    assert "score_threshold: 0.01" in lines
    assert not any("$" in line for line in lines)
    assert sum(line.count("{") - line.count("}") for line in lines) == 0


def test_only_the_architectures_that_the_api_has_say_so() -> None:
    named = {name for name, row in ARCHITECTURES.items() if row.api_feature_extractor}
    assert named == {"ssd_mobilenet_v2_fpnlite_320x320", "ssd_mobilenet_v2_fpnlite_640x640"}
