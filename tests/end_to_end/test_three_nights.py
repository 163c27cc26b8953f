"""A model over three nights, as its schedule would go: begun, nothing new, and trained anew with ten more pictures."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

SETTINGS = {
    "image_size": 128,
    "steps": 200,
    "init": "none",
    "optimizer": "adamw",
    "augmentations": ["horizontal_flip"],
    "formats": ["tflite_int8"],
    "limits": {"matched": 0, "mean_iou": 0, "ap50_loss": 1, "score_difference": 1},
}


def boxcar(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "boxcar", *arguments], capture_output=True, text=True, timeout=1800)


def test_three_nights(tmp_path: Path) -> None:
    every, data = tmp_path / "every", tmp_path / "data"
    made = boxcar("shapes", "--output", str(every), "--pictures", "170", "--image-size", "160")
    assert made.returncode == 0, made.stderr
    shutil.copytree(every, data)
    last = sorted(path.stem for path in every.glob("*.jpg"))[-10:]
    for name in last:
        for suffix in ("jpg", "xml"):
            (data / f"{name}.{suffix}").unlink()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    models = tmp_path / "models"
    command = ("retrain", "--models", str(models), "--model", "shapes", "--runs", str(tmp_path / "runs"))
    command += ("--data", str(data), "--config", str(tmp_path / "config.yaml"))

    first = boxcar(*command)
    assert first.returncode == 0, first.stderr
    assert "promoted: " in first.stdout, first.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "decision.json").read_text())["decision"] == "promoted"
    tested = json.loads((run / "records" / "dataset.json").read_text())["splits"]["test"]["images"]

    second = boxcar(*command)
    assert second.returncode == 0, second.stderr
    assert second.stdout == "unchanged: Nothing is new.\n" and len(list((tmp_path / "runs").iterdir())) == 1

    for name in last:
        for suffix in ("jpg", "xml"):
            shutil.copyfile(every / f"{name}.{suffix}", data / f"{name}.{suffix}")
    third = boxcar(*command)
    assert third.returncode == 0, third.stderr
    (other,) = set((tmp_path / "runs").iterdir()) - {run}
    decision = json.loads((other / "decision.json").read_text())
    assert f"{decision['decision']}: " in third.stdout and decision["champion"]["version"] == "1"
    assert decision["test"]["pictures"] == len(tested)
    records = json.loads((other / "records" / "dataset.json").read_text())["splits"]
    assert records["test"]["images"] == tested, "what came later is no test picture"
    assert sum(len(split["images"]) for split in records.values()) == 170
    begun = json.loads((other / "train" / "detector.json").read_text())["initial_checkpoint"]["source"]
    assert begun.endswith("shapes/1/export/saved_model/checkpoint") or "saved_model" in begun, begun
    listed = boxcar("models", "list", "--models", str(models), "--model", "shapes")
    assert listed.returncode == 0 and "champion" in listed.stdout, listed.stdout + listed.stderr
