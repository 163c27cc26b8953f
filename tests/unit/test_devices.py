"""Which devices a training gets, and what is said where they are not there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from boxcar.errors import BoxcarError
from boxcar.training.devices import Workers, make_strategy, read_workers, require_gpus


def test_without_tf_config_there_is_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_workers() == Workers(1, 0)
    monkeypatch.setenv("TF_CONFIG", " ")
    assert read_workers().is_chief


def test_workers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"worker": ["a:1", "b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 2}}))
    assert read_workers() == Workers(3, 2)
    assert not read_workers().is_chief


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        "3",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "x"}}',
        '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_what_is_no_cluster_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(BoxcarError, match="TF_CONFIG cannot be understood") as error:
        read_workers()
    assert error.value.code == 64


def test_gpus_that_were_asked_for_must_be_seen() -> None:
    require_gpus(None, 0)
    require_gpus(0, 0)
    require_gpus(2, 2)
    with pytest.raises(BoxcarError, match="needs 2 GPUs, but TensorFlow sees 1") as error:
        require_gpus(2, 1)
    assert error.value.code == 69
    with pytest.raises(BoxcarError, match="needs 1 GPU, but TensorFlow sees none"):
        make_strategy(1, Workers())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "train"])
def test_the_command_ends_at_once_without_its_gpu(tmp_path: Path, shapes_records: Path, command: str) -> None:
    run = tmp_path / "run"
    if command == "train":
        run.mkdir()
        (run / "records").symlink_to(shapes_records)
        arguments = ["train", "--run", str(run), "--init", "none"]
    else:
        arguments = ["run", "--data", str(shapes_records.parent / "pictures"), "--output", str(run), "--init", "none"]
    ended = subprocess.run(
        [sys.executable, "-m", "boxcar", *arguments, "--gpus", "1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 69, ended.stderr
    assert "Training needs 1 GPU, but TensorFlow sees none." in ended.stderr.splitlines()[-1]
    assert not list(run.rglob("ckpt-*"))
