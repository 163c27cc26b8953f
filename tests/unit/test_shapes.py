"""The demo's data set: true boxes, labelImg's files, the same bytes for a seed, and nothing of others touched."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from defusedxml import ElementTree
from PIL import Image, ImageDraw

import boxcar.shapes
from boxcar.errors import BoxcarError
from boxcar.run.step import Step
from boxcar.shapes import CLASSES, draw_scenes, make_shapes
from boxcar.shapes.scene import LARGEST, SMALLEST
from boxcar.storage import list_files

SIZE = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(str(tmp_path_factory.mktemp("data") / "shapes"), pictures=12, image_size=SIZE, seed=3)


def test_boxes_are_tight_and_of_the_promised_size() -> None:
    for scene in draw_scenes(60, SIZE, seed=1):
        assert scene.pixels.shape == (SIZE, SIZE, 3)
        assert 1 <= len(scene.shapes) <= 4
        for shape in scene.shapes:
            rows, columns = np.nonzero(shape.mask)
            assert shape.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            longer = max(shape.box[2] - shape.box[0], shape.box[3] - shape.box[1])
            assert SMALLEST * SIZE - 2 <= longer <= LARGEST * SIZE + 2
            assert min(shape.box) >= 1
            assert max(shape.box) < SIZE


def test_at_least_60_percent_of_every_box_and_every_shape_is_visible() -> None:
    covered_boxes = 0
    for scene in draw_scenes(150, SIZE, seed=2):
        for index, shape in enumerate(scene.shapes):
            own, others = np.zeros((SIZE, SIZE), bool), np.zeros((SIZE, SIZE), bool)
            own[shape.box[1] : shape.box[3], shape.box[0] : shape.box[2]] = True
            for other in scene.shapes[:index] + scene.shapes[index + 1 :]:
                others[other.box[1] : other.box[3], other.box[0] : other.box[2]] = True
            hidden = (own & others).sum() / own.sum()
            covered_boxes += hidden > 0.05
            assert hidden <= 0.4 + 1e-9
            in_front = np.zeros((SIZE, SIZE), bool)
            for other in scene.shapes[index + 1 :]:
                in_front |= other.mask
            assert (shape.mask & ~in_front).sum() >= 0.6 * shape.mask.sum()
    assert covered_boxes > 10, "some overlap belongs to the task"


def test_a_shape_differs_from_its_surroundings() -> None:
    for scene in draw_scenes(30, SIZE, seed=5):
        top = scene.shapes[-1]
        ring = np.zeros_like(top.mask)
        ring[max(0, top.box[1] - 6) : top.box[3] + 6, max(0, top.box[0] - 6) : top.box[2] + 6] = True
        for shape in scene.shapes:
            ring &= ~shape.mask
        inside, outside = scene.pixels[top.mask].mean(axis=0), scene.pixels[ring].mean(axis=0)
        assert np.abs(inside - outside).sum() > 30


def test_backgrounds_are_not_flat() -> None:
    for scene in draw_scenes(30, SIZE, seed=6):
        free = ~np.logical_or.reduce([shape.mask for shape in scene.shapes])
        assert scene.pixels[free].std(axis=0).max() > 6


def test_classes_are_balanced() -> None:
    counts = Counter(shape.label for scene in draw_scenes(40, 64, seed=0) for shape in scene.shapes)
    assert set(counts) == set(CLASSES)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_files_are_those_of_labelimg(folder: Path) -> None:
    names = list_files(folder)
    assert len(names) == 12 * 2 + 1
    scenes = list(draw_scenes(12, SIZE, seed=3))
    for number, scene in enumerate(scenes, 1):
        picture = folder / f"shapes-{number:04d}.jpg"
        with Image.open(picture) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIZE, SIZE))
            assert np.abs(np.asarray(image, int) - scene.pixels).mean() < 6
        root = ElementTree.parse(picture.with_suffix(".xml")).getroot()
        assert [child.tag for child in root][:6] == ["folder", "filename", "path", "source", "size", "segmented"]
        assert root.findtext("folder") == "shapes"
        assert root.findtext("filename") == picture.name
        assert root.findtext("path") == str(picture)
        assert root.findtext("source/database") == "Unknown"
        assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["128", "128", "3"]
        assert root.findtext("segmented") == "0"
        found = [
            (item.findtext("name"), *(int(item.findtext(f"bndbox/{e}")) for e in ("xmin", "ymin", "xmax", "ymax")))
            for item in root.findall("object")
        ]
        assert found == [(shape.label, *shape.box) for shape in scene.shapes]
        assert root.findtext("object/pose") == "Unspecified"
        assert root.findtext("object/truncated") == "0"
        assert root.findtext("object/difficult") == "0"


def test_outlines_are_those_of_the_shapes(folder: Path, tmp_path: Path) -> None:
    made = make_shapes(str(tmp_path / "shapes"), pictures=12, image_size=SIZE, seed=3, masks=True)
    assert (made / "shapes-0001.jpg").read_bytes() == (folder / "shapes-0001.jpg").read_bytes()
    for number, scene in enumerate(draw_scenes(12, SIZE, seed=3), 1):
        objects = ElementTree.parse(made / f"shapes-{number:04d}.xml").getroot().findall("object")
        for item, shape in zip(objects, scene.shapes, strict=True):
            points = [(float(pt.findtext("x")), float(pt.findtext("y"))) for pt in item.findall("polygon/pt")]
            drawn = Image.new("1", (SIZE * 4, SIZE * 4))
            ImageDraw.Draw(drawn).polygon([(x * 4, y * 4) for x, y in points], fill=1)
            inside = np.asarray(drawn.resize((SIZE, SIZE), Image.Resampling.NEAREST))
            assert (inside & shape.mask).sum() / (inside | shape.mask).sum() > 0.93


def test_same_seed_same_bytes_and_another_seed_other_pictures(folder: Path, tmp_path: Path) -> None:
    again = make_shapes(str(tmp_path / "shapes"), pictures=13, image_size=SIZE, seed=3)
    other = make_shapes(str(tmp_path / "other"), pictures=12, image_size=SIZE, seed=4)
    for number in range(1, 13):
        name = f"shapes-{number:04d}"
        assert (folder / f"{name}.jpg").read_bytes() == (again / f"{name}.jpg").read_bytes()
        assert (folder / f"{name}.jpg").read_bytes() != (other / f"{name}.jpg").read_bytes()
        text = (again / f"{name}.xml").read_text().replace(str(again), str(folder))
        assert (folder / f"{name}.xml").read_text() == text


def test_the_same_command_again_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_shapes(str(tmp_path / "shapes"), pictures=2, image_size=64)
    before = {name: (folder / name).stat().st_mtime_ns for name in list_files(folder)}
    capsys.readouterr()
    assert make_shapes(str(tmp_path / "shapes"), pictures=2, image_size=64) == folder
    assert {name: (folder / name).stat().st_mtime_ns for name in list_files(folder)} == before
    assert "already contains these 2 images" in capsys.readouterr().err


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(BoxcarError, match="contains files that are not from this data set") as refused:
        make_shapes(str(mine), pictures=1, image_size=64)
    assert refused.value.code == 64
    assert list_files(mine) == ["holiday.jpg"]

    folder = make_shapes(str(tmp_path / "shapes"), pictures=1, image_size=64)
    digest = hashlib.sha256((folder / "shapes-0001.jpg").read_bytes()).hexdigest()
    with pytest.raises(BoxcarError) as refused:
        make_shapes(str(folder), pictures=2, image_size=64)
    assert refused.value.code == 64
    assert hashlib.sha256((folder / "shapes-0001.jpg").read_bytes()).hexdigest() == digest

    with pytest.raises(BoxcarError, match="is a file") as refused:
        make_shapes(str(mine / "holiday.jpg"), pictures=1, image_size=64)
    assert refused.value.code == 64


@pytest.mark.parametrize(
    ("option", "value"),
    [("pictures", 0), ("pictures", 100_001), ("image_size", 63), ("image_size", 4096), ("seed", -1), ("seed", 2**32)],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, option: str, value: int) -> None:
    with pytest.raises(BoxcarError, match=f"--{option.replace('_', '-')} {value}") as refused:
        make_shapes(str(tmp_path / "shapes"), **{option: value})
    assert refused.value.code == 64
    assert not any(tmp_path.iterdir())


def test_an_empty_folder_is_taken_and_one_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(list_files(make_shapes(str(tmp_path / "empty"), pictures=1, image_size=64))) == 3
    (tmp_path / "file").touch()
    with pytest.raises(BoxcarError) as refused:
        make_shapes(str(tmp_path / "file" / "shapes"), pictures=1, image_size=64)
    assert refused.value.code == 69


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(pictures: int, image_size: int, seed: int) -> object:
        yield from list(draw_scenes(2, image_size, seed))
        raise KeyboardInterrupt

    monkeypatch.setattr(boxcar.shapes, "draw_scenes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_shapes(str(tmp_path / "shapes"), pictures=3, image_size=64)
    assert not any(tmp_path.iterdir())


def test_leftovers_of_a_killed_start_are_cleared(tmp_path: Path) -> None:
    leftover = tmp_path / ".shapes.unfinished"
    Step("shapes", leftover, {}, {"pictures": 99, "image_size": 64, "seed": 1}).begin()
    (leftover / "shapes-0099.jpg").write_bytes(b"half")
    folder = make_shapes(str(tmp_path / "shapes"), pictures=1, image_size=64)
    assert list_files(folder) == ["shapes-0001.jpg", "shapes-0001.xml", "step.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
