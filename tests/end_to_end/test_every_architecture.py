"""Every other architecture goes the whole way with the same code: trained, scored, frozen, converted, shown."""

import json
from pathlib import Path

import pytest
from command import done

NAME = "retinanet_resnet50_fpn_640x640"
FORMATS = ("tflite_float32", "tflite_int8", "tfjs_float32")


@pytest.mark.slow
def test_retinanet_goes_the_whole_way(tmp_path: Path) -> None:
    pictures, run = tmp_path / "pictures", tmp_path / "run"
    done("shapes", "--output", str(pictures), "--pictures", "40", "--image-size", "96")
    settings = ["--architecture", NAME, "--image-size", "64", "--steps", "4", "--batch-size", "2", "--init", "none"]
    # Four steps at the rate for whole trainings leave outputs so large that rounding exceeds the limits.
    settings += ["--learning-rate", "0.0005"]
    done("run", "--data", str(pictures), "--output", str(run), "--formats", ",".join(FORMATS), *settings)
    detector = json.loads((run / "export" / "saved_model" / "detector.json").read_text())
    assert detector["architecture"] == NAME
    assert detector["anchors"]["scales_per_octave"] == 3
    assert detector["box_coder"]["height_scale"] == 10
    assert json.loads((run / "eval" / "scores.jsonl").read_text().splitlines()[-1])["step"] == 4
    files = {entry["format"]: entry for entry in json.loads((run / "export" / "manifest.json").read_text())["files"]}
    assert set(files) >= set(FORMATS)
    assert (run / "report" / "index.html").is_file()
