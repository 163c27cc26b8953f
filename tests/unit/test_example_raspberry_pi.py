"""The Raspberry Pi's script, which knows nothing of Boxcar, finds what Boxcar's own runner finds."""

import ast
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import ExportedRun
from PIL import Image

from boxcar.config.conversion_settings import Conversion
from boxcar.data.example import read_examples
from boxcar.export import convert
from boxcar.inference.open_runner import open_runner

SCRIPT = Path(__file__).parents[2] / "examples" / "raspberry_pi" / "detect.py"


def detect(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments, "--threads", "1"]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@pytest.fixture
def pictures(exported_run: ExportedRun, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, example in enumerate(read_examples(sorted(exported_run.records.glob("test-*.tfrecord")))):
        Image.open(io.BytesIO(example.encoded)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_it_is_short_and_needs_three_packages() -> None:
    source = SCRIPT.read_text()
    assert len(source.splitlines()) < 190
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"numpy", "PIL", "ai_edge_litert"}


@pytest.mark.parametrize(
    "kind", ["int8", "float32_nms", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("float32", "int8 from bytes"))]
)
def test_it_finds_what_our_runner_finds(exported_run: ExportedRun, pictures: Path, tmp_path: Path, kind: str) -> None:
    model = exported_run.export / "tflite" / f"detector_{kind}.tflite"
    if kind == "int8 from bytes":
        conversion = Conversion(formats=("tflite_int8",), int8_input="uint8")
        convert(str(exported_run.frozen), str(exported_run.records), str(tmp_path / "export"), conversion)
        model = tmp_path / "export" / "tflite" / "detector_int8.tflite"
    done = detect(model, pictures, "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    assert "frames per second" in done.stdout.splitlines()[-1]
    found = json.loads((tmp_path / "found.json").read_text())
    assert [Path(one["path"]) for one in found] == sorted(pictures.glob("*.png"))
    labels = json.loads((model.parent / "detector.json").read_text())["labels"]
    every = 0
    with open_runner(model, threads=1) as runner:
        for one in found:
            wanted = runner.detect(np.asarray(Image.open(one["path"])))
            mine = one["detections"]
            assert [each["id"] for each in mine] == wanted.classes.tolist()
            assert all(each["class"] == labels[str(each["id"])] for each in mine)
            np.testing.assert_allclose([each["score"] for each in mine], wanted.scores, rtol=0, atol=1e-6)
            np.testing.assert_allclose(np.reshape([each["box"] for each in mine], (-1, 4)), wanted.boxes, rtol=0, atol=1e-5)
            every += len(mine)
    assert every > 10


def test_a_turned_photograph_is_looked_at_upright(exported_run: ExportedRun, pictures: Path, tmp_path: Path) -> None:
    upright = Image.open(pictures / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    model = exported_run.export / "tflite" / "detector_float32.tflite"
    assert detect(model, pictures / "0.png", tmp_path / "turned.png", "--json", tmp_path / "found.json").returncode == 0
    straight, turned = json.loads((tmp_path / "found.json").read_text())
    assert straight["detections"]
    assert straight["detections"] == turned["detections"]


def test_it_outlives_the_reader_of_its_output(exported_run: ExportedRun, pictures: Path, tmp_path: Path) -> None:
    model = exported_run.export / "tflite" / "detector_float32.tflite"
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, SCRIPT, model, pictures, "--threads", "1", "--json", tmp_path / "found.json"]
    done = subprocess.run([str(part) for part in command], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr
    assert len(json.loads((tmp_path / "found.json").read_text())) == len(list(pictures.glob("*.png")))


def test_what_cannot_be_used_is_said_in_a_sentence(exported_run: ExportedRun, pictures: Path, tmp_path: Path) -> None:
    model = exported_run.export / "tflite" / "detector_float32.tflite"
    alone = shutil.copy(model, tmp_path / "alone.tflite")
    short = tmp_path / "cut" / "short.tflite"
    short.parent.mkdir()
    shutil.copy(model.parent / "detector.json", short.parent)
    short.write_bytes(model.read_bytes()[:5000])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    for arguments, words in (
        ((alone, pictures), "detector.json"),
        ((short, pictures), "detect.py: "),
        ((model, broken), "broken.png"),
        ((model, tmp_path / "none.png"), "none.png"),
        ((model, tmp_path / "cut"), "There are no images in these paths."),
    ):
        done = detect(*arguments)
        assert done.returncode == 1
        assert words in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    # Before it detects anything.
    done = detect(model, pictures, "--json", tmp_path / "missing" / "found.json")
    assert done.returncode == 2 and "there is no folder" in done.stderr
    assert not done.stdout
