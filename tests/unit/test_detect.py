"""`boxcar detect`: images, folders and videos in, drawings, JSON and CSV out, with any exported file."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from exported import ExportedRun
from PIL import Image

from boxcar.data.example import read_examples
from boxcar.detect import detect
from boxcar.detect.sources import find_sources
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.open_runner import open_runner
from boxcar.run.layout import DRAWINGS

SCORE = 0.01


@pytest.fixture
def images(exported_run: ExportedRun, tmp_path: Path) -> Path:
    """Three drawn images."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    examples = list(read_examples(sorted(exported_run.records.glob("test-*.tfrecord"))))
    for number, example in enumerate(examples[:3]):
        Image.open(io.BytesIO(example.encoded)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def model(exported_run: ExportedRun) -> Path:
    return exported_run.export / "tflite" / "detector_float32.tflite"


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def drawings(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != DRAWINGS)


@pytest.mark.parametrize("kind", ["saved_model", "tflite/detector_int8.tflite", "tfjs/float32"])
def test_every_kind_of_file_is_run(exported_run: ExportedRun, images: Path, tmp_path: Path, kind: str) -> None:
    path = exported_run.export / kind
    found = detect(str(path), [str(images)], json=str(tmp_path / "found.json"), score=SCORE)
    told = read(tmp_path / "found.json")
    assert [one["path"] for one in told] == [str(path) for path in sorted(images.iterdir())]
    assert (found.images, found.objects) == (3, sum(len(one["detections"]) for one in told))
    assert found.objects > 10
    assert found.milliseconds > 0
    with open_runner(path) as runner:
        for one in told:
            wanted = runner.detect(np.asarray(Image.open(one["path"])))
            kept = wanted.scores >= SCORE
            assert [each["id"] for each in one["detections"]] == wanted.classes[kept].tolist()
            assert [each["class"] for each in one["detections"]] == [
                runner.specification.labels[label] for label in wanted.classes[kept].tolist()
            ]
            boxes = np.reshape([each["box"] for each in one["detections"]], (-1, 4))
            np.testing.assert_allclose(boxes, wanted.boxes[kept], rtol=0, atol=2e-6)
            np.testing.assert_allclose([each["score"] for each in one["detections"]], wanted.scores[kept], rtol=0, atol=2e-6)


def test_the_table_says_what_json_says(model: Path, images: Path, tmp_path: Path) -> None:
    found = detect(str(model), [str(images)], json=str(tmp_path / "found.json"), table=str(tmp_path / "found.csv"), score=SCORE)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "found.csv").read_text())))
    assert len(lines) == found.objects
    flat = [(image["path"], one) for image in read(tmp_path / "found.json") for one in image["detections"]]
    for line, (path, one) in zip(lines, flat, strict=True):
        assert line["path"] == path
        assert [float(line[side]) for side in ("ymin", "xmin", "ymax", "xmax")] == one["box"]
        assert (float(line["score"]), line["class"], int(line["id"])) == (one["score"], one["class"], one["id"])


def test_boxes_are_drawn_where_they_are(model: Path, images: Path, tmp_path: Path) -> None:
    told: list[str] = []
    detect(
        str(model), [str(images / "0.png")], drawn=str(tmp_path / "drawn"), json=str(tmp_path / "found.json"), say=told.append
    )
    (one,) = read(tmp_path / "found.json")
    assert drawings(tmp_path / "drawn") == ["0.jpg"]
    before = np.asarray(Image.open(images / "0.png"), int)
    after = np.asarray(Image.open(tmp_path / "drawn" / "0.jpg"), int)
    assert after.shape == before.shape
    changed = np.abs(after - before).sum(axis=2) > 100
    assert one["detections"]
    assert told == [f"{images / '0.png'}: " + ", ".join(f"{d['class']} {d['score']:.2f}" for d in one["detections"])]
    for detection in one["detections"]:
        top, left, bottom, _ = np.multiply(detection["box"], [*before.shape[:2]] * 2)
        row, column = int((top + bottom) / 2), min(int(left), before.shape[1] - 1)
        near = changed[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
        assert near.any(), detection


def test_videos_are_read_and_drawn_frame_by_frame(model: Path, images: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    frame = cv2.imread(str(images / "0.png"))
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (frame.shape[1], frame.shape[0]))
    for _ in range(5):
        writer.write(frame)
    writer.release()
    detect(str(model), [str(film)], drawn=str(tmp_path / "drawn"), json=str(tmp_path / "found.json"), score=SCORE)
    told = read(tmp_path / "found.json")
    assert [(one["path"], one["frame"]) for one in told] == [(str(film), number) for number in range(5)]
    assert all(one["detections"] for one in told)
    assert drawings(tmp_path / "drawn") == ["film.mp4"]
    drawn = cv2.VideoCapture(str(tmp_path / "drawn" / "film.mp4"))
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    count = 0
    while drawn.read()[0]:
        count += 1
    assert count == 5


def test_what_cannot_be_read_does_not_cost_the_others(model: Path, images: Path, tmp_path: Path) -> None:
    (images / "1.png").write_bytes((images / "1.png").read_bytes()[:200])
    (images / "film.mp4").write_bytes(b"no film")
    with pytest.raises(BoxcarError, match=r"2 of 4 files could not be read: .*1\.png cannot be read") as caught:
        detect(str(model), [str(images)], drawn=str(tmp_path / "drawn"), json=str(tmp_path / "found.json"))
    assert caught.value.code == ExitCode.DATA
    assert [line.partition(" cannot")[0] for line in caught.value.details] == [
        str(images / "1.png"),
        str(images / "film.mp4"),
    ]
    assert [Path(one["path"]).name for one in read(tmp_path / "found.json")] == ["0.png", "2.png"]
    assert drawings(tmp_path / "drawn") == ["0.jpg", "2.jpg"]


def test_images_of_one_name_do_not_overwrite_each_other(model: Path, images: Path, tmp_path: Path) -> None:
    names = [str(images / "0.png")] * 3
    assert detect(str(model), names, drawn=str(tmp_path / "drawn")).images == 3
    assert drawings(tmp_path / "drawn") == ["0-2.jpg", "0-3.jpg", "0.jpg"]


def test_a_turned_photograph_is_looked_at_upright(model: Path, images: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    turned = images / "turned.png"
    Image.open(images / "0.png").transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    detect(str(model), [str(images / "0.png"), str(turned)], json=str(tmp_path / "found.json"))
    straight, other = read(tmp_path / "found.json")
    assert straight["detections"] == other["detections"]


def test_wrong_names(model: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("none")
    for names, words in (
        ([], "No images were given."),
        ([str(tmp_path / "empty")], "contains no images"),
        ([str(tmp_path / "gone.jpg")], "There is no"),
        ([str(tmp_path / "notes.txt")], "neither an image nor a video"),
    ):
        with pytest.raises(BoxcarError, match=words) as caught:
            find_sources(names, None)
        assert caught.value.code == ExitCode.USAGE
    with pytest.raises(BoxcarError, match="not an exported detector") as caught:
        detect(str(tmp_path / "notes.txt"), [str(images)])
    assert caught.value.code == ExitCode.USAGE
    with pytest.raises(BoxcarError, match=r"score cannot be 1\.5") as caught:
        detect(str(model), [str(images)], score=1.5)
    assert caught.value.code == ExitCode.USAGE
    with pytest.raises(BoxcarError, match="Camera 99 returns no image") as caught:
        detect(str(model), [], camera=99)
    assert caught.value.code == ExitCode.ENVIRONMENT


def test_the_command_draws_where_nothing_else_is_asked_for(model: Path, images: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "boxcar", "detect", str(model), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("ms per image; see detections.")
    assert drawings(tmp_path / "detections") == ["0.jpg", "1.jpg", "2.jpg"]
