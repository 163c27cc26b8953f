"""`boxcar detect` writes what it finds at once, says what it leaves out, and takes only numbers that make sense."""

import json
import os
import signal
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from labelled import picture, save
from PIL import Image

from boxcar.cli.main import app
from boxcar.detect import detect, drawings
from boxcar.detect.sources import Frame, Source, find_sources, read_frames
from boxcar.errors import BoxcarError
from boxcar.process import call_command
from boxcar.storage.local_files import read_whole_lines

PIXELS = np.zeros((4, 4, 3), np.uint8)
pytestmark = pytest.mark.usefixtures("fake_detector")


def film(path: Path, frames: int, code: str = "MJPG") -> Path:
    """A video of noise, so that every frame has about the same size."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10.0, (64, 48))
    for number in range(frames):
        writer.write(np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    return path


def camera_of(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that ends by itself after some frames."""

    def read(source: Source, *_: object) -> Iterator[Frame]:
        for number in range(frames):
            yield Frame(source, PIXELS, number, None)
        raise KeyboardInterrupt

    monkeypatch.setattr("boxcar.detect.detecting.read_frames", read)


def test_each_image_is_written_before_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[int, int]] = []

    def read(source: Source, *_: object) -> Iterator[Frame]:
        for number in range(3):
            lines.append(tuple(len(read_whole_lines(tmp_path / name)) for name in ("o.json", "o.csv")))  # type: ignore[arg-type]
            yield Frame(source, PIXELS, number, None)

    monkeypatch.setattr("boxcar.detect.detecting.read_frames", read)
    detect("model", [], camera=0, json=str(tmp_path / "o.json"), table=str(tmp_path / "o.csv"))
    assert lines == [(0, 1), (1, 2), (2, 3)]
    assert [json.loads(line)["frame"] for line in read_whole_lines(tmp_path / "o.json")] == [0, 1, 2]


@pytest.mark.parametrize("listed", [True, False])
def test_memory_does_not_grow_with_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool) -> None:
    def peak(frames: int) -> int:
        camera_of(frames, monkeypatch)
        tracemalloc.start()
        found = detect("model", [], camera=0, json=str(tmp_path / "o.json") if listed else None)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found.images == found.objects == frames
        return most

    peak(10)
    assert peak(2500) < peak(1200) + 50_000


def test_a_kill_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera_of(10**9, monkeypatch)
    child = os.fork()
    if child == 0:
        try:
            detect("model", [], camera=0, json=str(tmp_path / "o.json"), table=str(tmp_path / "o.csv"))
        finally:
            os._exit(1)  # whatever happens, this process goes on with no other test
    until = time.monotonic() + 30
    while not (tmp_path / "o.json").exists() or (tmp_path / "o.json").stat().st_size < 20_000:
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for name in ("o.json", "o.csv"):
        assert (tmp_path / name).read_bytes().endswith(b"\n")
    found = [json.loads(line) for line in (tmp_path / "o.json").read_text().splitlines()]
    assert [one["frame"] for one in found] == list(range(len(found)))


def test_a_camera_is_drawn_in_videos_of_limited_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "_CAMERA_FRAMES", 10)

    def read(source: Source, *_: object) -> Iterator[Frame]:
        for number in range(25):
            yield Frame(source, np.zeros((48, 64, 3), np.uint8), number, 10.0)
        raise BoxcarError(69, "The camera is gone.", "")  # type: ignore[arg-type]

    monkeypatch.setattr("boxcar.detect.detecting.read_frames", read)
    with pytest.raises(BoxcarError, match="gone"):
        detect("model", [], camera=0, drawn=str(tmp_path / "drawn"))
    names = sorted(path.name for path in (tmp_path / "drawn").glob("*.mp4"))
    assert names == ["camera 0-2.mp4", "camera 0-3.mp4", "camera 0.mp4"]
    counts = [cv2.VideoCapture(str(tmp_path / "drawn" / name)).get(cv2.CAP_PROP_FRAME_COUNT) for name in names]
    assert counts == [10, 5, 10]


@pytest.mark.parametrize(
    ("name", "code", "kept", "frames"),
    [("film.avi", "MJPG", 0.5, 12), ("film.avi", "MJPG", 0.9, 40), ("film.mkv", "MJPG", 0.5, 40)],
)
def test_a_cut_video_is_named(tmp_path: Path, name: str, code: str, kept: float, frames: int) -> None:
    path = film(tmp_path / name, frames, code)
    said: list[str] = []
    assert len(list(read_frames(Source(str(path)), said.append))) == frames
    assert said == []
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    read = len(list(read_frames(Source(str(path)), said.append)))
    assert 0 < read < frames
    (sentence,) = said
    assert str(path) in sentence
    assert f"{read} of the {frames} " in sentence


def test_the_command_says_that_a_video_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = film(tmp_path / "film.avi", 12)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert call_command(app, ["detect", "model", str(path), "--json", str(tmp_path / "o.json")]) == 0
    assert "of the 12 frames" in capsys.readouterr().out


def test_folders_are_descended_into_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    for name in ("a.jpg", "deep/er/b.png", "deep/c.tiff", "deep/._c.tiff", ".trash/d.jpg"):
        save(tmp_path / "in" / name, picture(name), format="PNG")
    for name in ("notes.txt", "deep/raw.cr2", "deep/README"):
        (tmp_path / "in" / name).write_text("x")
    (tmp_path / "in" / "deep" / "loop").symlink_to(tmp_path / "in")
    said: list[str] = []
    found = find_sources([str(tmp_path / "in")], None, said.append)
    assert [str(Path(one.path).relative_to(tmp_path / "in")) for one in found] == ["a.jpg", "deep/c.tiff", "deep/er/b.png"]
    (sentence,) = said
    assert "3 files" in sentence
    for kind in (".txt", ".cr2", "no suffix"):
        assert kind in sentence


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".tiff", "TIFF"), (".gif", "GIF"), (".heic", "HEIF"), (".HEIC", "HEIF"), (".jpg", "HEIF")]
)
def test_more_kinds_of_images_are_read(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"a{suffix}"
    image = Image.new("RGB", (64, 48), (255, 0, 0))
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(path)  # the product's own library only reads it
    else:
        image.save(path, kind)
    (source,) = find_sources([str(tmp_path)], None)
    (frame,) = read_frames(source)
    assert frame.pixels.shape == (48, 64, 3)
    np.testing.assert_allclose(frame.pixels[24, 32], (255, 0, 0), atol=6)


def test_a_file_of_several_images_says_so(tmp_path: Path) -> None:
    images = [picture(number) for number in range(3)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    said: list[str] = []
    assert len(list(read_frames(Source(str(tmp_path / "a.gif")), said.append))) == 1
    assert "3 images" in said[0]


@pytest.mark.parametrize(
    "words",
    [
        ["--camera", "-1"],
        ["--camera", "100"],
        ["--camera", "99999999999999999999"],
        ["--threads", "0"],
        ["--threads", "100000"],
        ["--score", "nan"],
        ["--score", "-0.1"],
        ["--score", "inf"],
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a.jpg", picture("a"))
    assert call_command(app, ["detect", "model", str(tmp_path / "a.jpg"), *words]) == 64
    assert words[0] in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize(
    "words",
    [
        ["follow", "--runs", "s3://bucket/runs", "--into", "x", "--seconds", "nan"],
        ["follow", "--runs", "s3://bucket/runs", "--into", "x", "--seconds", "inf"],
        ["upload", "--run", "s3://bucket/run", "--from", "x", "--orphan-minutes", "nan"],
        ["run", "--data", ".", "--output", "x", "--learning-rate", "nan"],
        ["run", "--data", ".", "--output", "x", "--steps", "1" + "0" * 30],
        ["models", "compare", "--models", "x", "--model", "m", "--version", "1", "--min-gain", "nan"],
    ],
)
def test_every_command_refuses_numbers_that_are_none(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call_command(app, words) == 64
    assert words[-2].strip("-") in capsys.readouterr().err.replace("_", "-")
    assert list(tmp_path.iterdir()) == []


def test_the_same_holds_without_the_command(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", picture("a"))
    for options in ({"camera": -1}, {"camera": 100}, {"threads": 0}, {"threads": 65}, {"score": float("nan")}):
        with pytest.raises(BoxcarError) as caught:
            detect("model", [str(tmp_path / "a.jpg")], **options)  # type: ignore[arg-type]
        assert caught.value.code == 64
