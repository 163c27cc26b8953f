"""The whole way on a small data set, as a person goes it: `boxcar run`, then what it left."""

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command import boxcar, done, last_words
from PIL import Image
from whole_run import IMAGE_SIZE, STEPS, WholeRun

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Whichever test comes first waits for the run.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def run(whole_run: WholeRun) -> Path:
    return whole_run.folder


def read(path: Path) -> dict:  # type: ignore[type-arg]
    return json.loads(path.read_text())


def test_it_learns(run: Path) -> None:
    scores = read(run / "run.json")["scores"]
    assert scores["AP50"] > 0.7
    assert set(scores["per_class"]) == {"circle", "square", "triangle"}


def test_the_folder_has_the_agreed_names(run: Path) -> None:
    for name in (
        "records/dataset.json",
        "records/label_map.pbtxt",
        "train/status.json",
        "eval/scores.jsonl",
        "eval/test.json",
        "export/saved_model/saved_model/saved_model.pb",
        "export/saved_model/checkpoint/ckpt-0.index",
        "export/saved_model/label_map.pbtxt",
        "export/saved_model/detector.json",
        "export/tflite/detector_float32.tflite",
        "export/tflite/detector_int8.tflite",
        "export/tflite/detector.json",
        "export/tfjs/float32/model.json",
        "export/tfjs/float32/detector.json",
        "export/manifest.json",
        "report/index.html",
        "run.json",
    ):
        assert (run / name).is_file(), name
    assert not (run / "failure.json").exists()
    for step in ("records", "train", "eval", "export/saved_model", "export", "report"):
        record = read(run / step / "step.json")
        for name, entry in record["files"].items():
            content = (run / step / name).read_bytes()
            assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}, f"{step}/{name}"
        assert not (run / step / ".unfinished").exists()


def test_every_checkpoint_was_scored_once_and_in_order(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "eval" / "scores.jsonl").read_text().splitlines()]
    interval = read(run / "train" / "step.json")["parameters"]["checkpoint_interval_steps"]
    assert [line["step"] for line in lines] == list(range(interval, STEPS + 1, interval))
    assert all({"AP", "AP50", "AP75", "per_class"} <= set(line) for line in lines)
    best = max(lines, key=lambda line: (line["AP"], line["step"]))
    assert read(run / "eval" / "test.json")["step"] == best["step"]
    assert (run / "train" / f"ckpt-{best['step']}.index").exists()


def test_every_exported_file_was_measured_and_agrees(run: Path) -> None:
    files = {entry["format"]: entry for entry in read(run / "export" / "manifest.json")["files"]}
    assert set(files) == {"saved_model", "tflite_float32", "tflite_int8", "tfjs_float32"}
    reference = files["saved_model"]
    assert reference["AP50"] > 0.7
    for entry in files.values():
        path = run / "export" / entry["path"]
        assert entry["agrees"]
        assert abs(entry["AP50"] - reference["AP50"]) <= 0.02
        assert entry["milliseconds"] > 0
        if path.is_dir():
            names = sorted(
                p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")
            )
            lines = sorted(f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}" for name in names)
            assert entry["sha256"] == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
            assert entry["bytes"] == sum((path / name).stat().st_size for name in names)
        else:
            assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert entry["bytes"] == path.stat().st_size
    assert files["tflite_int8"]["bytes"] < files["tflite_float32"]["bytes"] / 2.5


def test_what_a_person_sees(whole_run: WholeRun) -> None:
    out, err = whole_run.stdout, whole_run.stderr
    for word in ("Scores on the test images", "detector_int8.tflite", "report/index.html", "tensorboard --logdir"):
        assert word in out
    assert re.search(r"Training: \d+ of \d+ steps", err)
    # Neither TensorFlow's start-up noise nor a warning of a library is for a person.
    for noise in ("WARNING", "oneDNN", "cuda", "absl", "Traceback", "np.float32", "deprecat"):
        assert noise not in out + err, noise


def test_the_same_run_again_does_nothing(whole_run: WholeRun, run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    assert "nothing was done" in done(*whole_run.arguments)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


def test_another_run_in_the_same_folder_is_refused(whole_run: WholeRun, run: Path) -> None:
    other = boxcar(*whole_run.arguments, "--seed", "7")
    assert "seed was 0 and is now 7" in last_words(other, 64)
    assert not (run / "failure.json").exists(), "the run there did not fail"


@pytest.mark.parametrize("moved", [False, True])
def test_changed_images_are_another_run(whole_run: WholeRun, run: Path, tmp_path: Path, moved: bool) -> None:
    images = tmp_path / "images" if moved else whole_run.images
    if moved:
        shutil.copytree(whole_run.images, images)
    image = sorted(images.glob("*.jpg"))[0]
    content = image.read_bytes()
    try:
        image.write_bytes(content + b"\0")
        refused = boxcar(*(str(images) if word == str(whole_run.images) else word for word in whole_run.arguments))
    finally:
        image.write_bytes(content)
    assert "changed" in last_words(refused, 64)
    assert (run / "run.json").exists()
    assert read(run / "failure.json")["code"] == 64
    (run / "failure.json").unlink()


@pytest.mark.slow
def test_tensorboard_lists_train_and_eval_and_no_others(run: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "tensorboard"), "--logdir", str(run), "--port", str(port)]
    board = subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        runs: list[str] = []
        deadline = time.monotonic() + 60
        while sorted(runs) != ["eval", "train"] and time.monotonic() < deadline:
            time.sleep(1)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/runs", timeout=5) as answer:
                    runs = json.load(answer)
            except OSError:
                continue
        assert sorted(runs) == ["eval", "train"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", timeout=5) as answer:
            tags = json.load(answer)
        assert {"loss", "learning_rate", "images_per_second"} <= set(tags["train"])
        assert {"AP", "AP50", "AP_per_class/circle"} <= set(tags["eval"])
    finally:
        board.terminate()
        board.wait()


@pytest.mark.parametrize("backend", ["wasm", pytest.param("webgl", marks=pytest.mark.slow)])
def test_the_browser_page_finds_what_the_savedmodel_finds(run: Path, chromium: "Browser", tmp_path: Path, backend: str) -> None:
    from page_visit import check_same, serving, visiting

    from boxcar.data.example import read_examples
    from boxcar.inference.open_runner import open_runner

    wanted = {}
    with open_runner(run / "export" / "saved_model") as runner:
        for example in list(read_examples(sorted((run / "records").glob("test-*.tfrecord"))))[:4]:
            path = tmp_path / f"{len(wanted)}.jpg"
            path.write_bytes(example.encoded)
            wanted[path] = runner.detect(np.asarray(Image.open(path)))
    with (
        serving("boxcar", "demo-page", "--run", str(run), "--port", "0") as address,
        visiting(chromium, address) as visit,
    ):
        visit.wait_until("Ready")
        visit.compute_with(backend)
        # Measured: scores 6e-7 apart and edges 1e-5 pixels of the network's input.
        compared = [
            check_same(visit.look_at(path), one, least=0.3, score=1e-5, box=1e-3 / IMAGE_SIZE) for path, one in wanted.items()
        ]
        assert sum(compared) >= 4


@pytest.mark.slow
def test_steps_alone_go_the_same_way(run: Path, tmp_path: Path) -> None:
    best = read(run / "eval" / "test.json")["step"]
    architecture = "ssd_mobilenet_v2_fpnlite_320x320"
    checkpoint = str(run / "train" / f"ckpt-{best}")
    done("freeze", "--architecture", architecture, "--checkpoint", checkpoint, "--output", str(tmp_path / "m"))
    assert (tmp_path / "m" / "label_map.pbtxt").read_bytes() == (run / "records" / "label_map.pbtxt").read_bytes()
    for step in ("train", "evaluate", "report"):
        done(step, "--run", str(run))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
