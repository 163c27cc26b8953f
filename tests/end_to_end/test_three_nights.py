"""A scheduled model over three nights: its first run, a night without changes, and a retraining with ten more images."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.registry.ledger import read_entries
from boxcar.storage import open_store
from pipelines.local import local_runner
from pipelines.retrain_if_changed import retrain_if_changed

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
    models, runs = tmp_path / "models", tmp_path / "runs"

    def night() -> str:
        """Runs the pipeline with Kubeflow's local runner, and returns the outcome."""
        folders = {"data": str(data), "models": str(models), "runs": str(runs), "config": str(tmp_path / "config.yaml")}
        with local_runner():
            retrain_if_changed(ClusterSettings())(model="shapes", gpus="0", **folders)
        return str(read_entries(open_store(str(models / "shapes")))[-1].outcome)

    assert night() == "promoted"
    (run,) = runs.iterdir()
    assert json.loads((run / "decision.json").read_text())["decision"] == "promoted"
    tested = json.loads((run / "records" / "dataset.json").read_text())["splits"]["test"]["images"]

    night()
    assert len(list(runs.iterdir())) == 1, "nothing was new"

    for name in last:
        for suffix in ("jpg", "xml"):
            shutil.copyfile(every / f"{name}.{suffix}", data / f"{name}.{suffix}")
    outcome = night()
    (other,) = set(runs.iterdir()) - {run}
    decision = json.loads((other / "decision.json").read_text())
    assert decision["decision"] == outcome and decision["champion"]["version"] == "1"
    assert decision["test"]["pictures"] == len(tested)
    records = json.loads((other / "records" / "dataset.json").read_text())["splits"]
    assert records["test"]["images"] == tested, "later images are not in the test split"
    assert sum(len(split["images"]) for split in records.values()) == 170
    initial = json.loads((other / "train" / "detector.json").read_text())["initial_checkpoint"]
    champion = json.loads((models / "shapes" / "1" / "version.json").read_text())
    assert initial["sha256"] == champion["weights_sha256"], "it started from the champion"

    command = ("retrain", "--models", str(models), "--model", "shapes", "--runs", str(runs), "--data", str(data))
    by_hand = boxcar(*command, "--config", str(tmp_path / "config.yaml"))
    assert (by_hand.returncode, by_hand.stdout) == (0, "unchanged: Nothing has changed.\n"), by_hand.stderr
    listed = boxcar("models", "list", "--models", str(models), "--model", "shapes")
    assert listed.returncode == 0 and "champion" in listed.stdout, listed.stdout + listed.stderr
