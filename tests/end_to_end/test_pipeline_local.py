"""The pipeline of Kubeflow under its own local runner: the same files as `boxcar run`, and the same words where it fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from boxcar.errors import BoxcarError
from boxcar.storage import list_files
from pipelines.local import run_locally

SETTINGS = (
    "batch_size: 4\ncheckpoint_interval_steps: 10\nformats: [tflite_float32]\nlimits: {ap50_loss: 1, raw_difference: 10}\n"
)


def boxcar(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "boxcar", *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    boxcar("shapes", "--output", str(folder / "pictures"), "--pictures", "60", "--image-size", "128")
    (folder / "config.yaml").write_text(SETTINGS)
    return folder / "pictures"


def named(run: Path) -> set[str]:
    """The names of a run's files; TensorBoard's hold the time and the machine."""
    return {name for name in list_files(run) if "events.out" not in name and not Path(name).name.startswith(".")}


@pytest.mark.slow
def test_the_pipeline_leaves_the_files_that_the_command_does(pictures: Path, tmp_path: Path) -> None:
    config = str(pictures.parent / "config.yaml")
    run = run_locally(str(pictures), str(tmp_path / "runs"), config=config, image_size=128, steps=20, initial_checkpoint="none")
    given = ("--config", config, "--image-size", "128", "--steps", "20", "--init", "none", "--gpus", "0")
    boxcar("run", "--data", str(pictures), "--output", str(tmp_path / "command"), *given)
    assert named(run) == named(tmp_path / "command")
    assert not (run / "failure.json").exists()
    assert (run / "config.yaml").read_text() == (tmp_path / "command" / "config.yaml").read_text()
    for name in ("records/step.json", "train/step.json"):
        ours, theirs = (json.loads((folder / name).read_text()) for folder in (run, tmp_path / "command"))
        assert ours["parameters"] == theirs["parameters"]
    provenance = json.loads((run / "export" / "manifest.json").read_text())["provenance"]
    assert provenance["pipeline_version"].startswith("train-detector ")
    assert provenance["image"] is None, "nothing ran in an image"


def test_a_step_that_fails_says_so(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(BoxcarError) as caught:
        run_locally(str(tmp_path / "nowhere"), str(tmp_path / "runs"))
    assert caught.value.code == 64
    assert caught.value.what == f"data: There is nothing at {tmp_path / 'nowhere'}."
