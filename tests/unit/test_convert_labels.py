"""`boxcar convert-labels` writes the same images, boxes, classes, and splits in another format."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import data_set, label, pair, picture, save
from read_data import Read, read_data

from boxcar.cli.main import app
from boxcar.errors import BoxcarError, ExitCode
from boxcar.process import call_command
from boxcar.records import build_records, convert_labels
from boxcar.records.annotation import LabeledObject
from boxcar.records.label_files import Layout
from boxcar.records.mask_png import mask_png
from boxcar.records.outline import Outline
from boxcar.records.written_outlines import one_polygon


def dataset_of(data: Path, output: Path) -> dict[str, Any]:
    build_records(str(data), str(output))
    found: dict[str, Any] = json.loads((output / "dataset.json").read_text())
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images in three splits: two classes, one without objects, one turned by EXIF, and two of one stem."""
    root = tmp_path / "data"
    for folder, count in (("train", 5), ("valid", 2), ("test", 2)):
        for number in range(count):
            pair(root / folder, f"{folder}{number}", [("cat", 1, 2, 30, 40.5), ("a dog", 3, 4, 20, 33)])
    pair(root / "train", "empty", [])
    turned = picture("turned").getexif()
    turned[0x0112] = 6
    save(root / "train" / "turned.jpg", picture("turned"), exif=turned)
    label(root / "train" / "turned.xml", size=(64, 48), boxes=[("cat", 5, 6, 60, 20)])
    pair(root / "train" / "deep", "train0")
    return root


@pytest.mark.parametrize("layout", ["voc", "coco", "yolo"])
def test_a_round_trip_is_the_same_data(data: Path, tmp_path: Path, layout: Layout) -> None:
    before = dataset_of(data, tmp_path / "before")
    convert_labels(str(data), str(tmp_path / layout), layout)
    after = dataset_of(tmp_path / layout, tmp_path / "after")
    assert after["label_map"] == before["label_map"]
    for split, found in after["splits"].items():
        for count in ("pictures", "negatives", "boxes", "per_class"):
            assert found[count] == before["splits"][split][count], split
    convert_labels(str(tmp_path / layout), str(tmp_path / "again"), "voc")
    assert boxes(tmp_path / "again") == boxes_of_stems(data)


def boxes(root: Path) -> dict[str, list[tuple[str, ...]]]:
    return boxes_of_stems(root / "annotations")


def boxes_of_stems(root: Path) -> dict[str, list[tuple[str, ...]]]:
    """The classes and sides in all XML files, by the files' names."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for path in sorted(root.rglob("*.xml")):
        objects = ET.parse(path).getroot().iter("object")
        texts = sorted(tuple(str(item.findtext(tag)) for tag in ("name", *SIDES)) for item in objects)
        found.setdefault(path.stem, []).extend(texts)
    return {stem: sorted(texts) for stem, texts in found.items()}


SIDES = ("bndbox/xmin", "bndbox/ymin", "bndbox/xmax", "bndbox/ymax")


@pytest.fixture(scope="module")
def outlines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Read]:
    """Images with a polygon, two polygons, a mask, and a box, as COCO, and what is read from them."""
    data = tmp_path_factory.mktemp("outlines")
    polygon, other = [10, 5, 40.5, 8, 30, 30, 12, 28.25], [50, 40, 60, 40, 60, 45]
    labels: list[dict[str, Any]] = [
        {"bbox": [10.2, 5, 30, 25], "segmentation": [polygon]},
        {"segmentation": [polygon, other]},
        {"segmentation": {"size": [48, 64], "counts": [48 * 10 + 5, 20, 28, 10, 48 * 64 - 48 * 11 - 15]}},
        {"bbox": [1, 2, 3, 4]},
    ]
    for number in range(4):
        save(data / f"p{number}.jpg", picture(number))
    content = {
        "images": [{"id": n, "file_name": f"p{n}.jpg", "width": 64, "height": 48} for n in range(4)],
        "annotations": [{"image_id": number, "category_id": 1, **one} for number, one in enumerate(labels)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (data / "a.json").write_text(json.dumps(content))
    return data, read_data(data)


@pytest.mark.parametrize(
    ("layout", "same"), [("coco", ["p0", "p1", "p2", "p3"]), ("voc", ["p0", "p1", "p3"]), ("yolo", ["p1", "p3"])]
)
def test_a_round_trip_keeps_outlines(
    outlines: tuple[Path, Read],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    layout: Layout,
    same: list[str],
) -> None:
    data, before = outlines
    convert_labels(str(data), str(tmp_path), layout)
    after = read_data(tmp_path)
    assert (after.faults, after.unused) == ([], [])
    for stem in ("p0", "p1", "p2", "p3"):
        (one,), (other,) = before.objects[f"{stem}.jpg"], after.objects[f"images/{stem}.jpg"]
        if stem in same:
            assert np.allclose(one[1:5], other[1:5])
            assert pixels(one) == pixels(other)
    if layout == "yolo":  # its boxes are those of the outlines
        (found,) = after.objects["images/p0.jpg"]
        assert found[1:5] == (10, 5, 40.5, 30)
        assert pixels(found) == pixels(before.objects["p0.jpg"][0])
    left_out = sum(item.outline is None for (item,) in after.objects.values()) - 1
    assert ("Only the boxes" in capsys.readouterr().err) == (left_out > 0)


def pixels(item: LabeledObject) -> bytes:
    return mask_png(item.outline, item[1:5], 64, 48)


def test_polygons_that_overlap_are_no_single_polygon() -> None:
    square = [0.0, 0.0, 20.0, 0.0, 20.0, 20.0, 0.0, 20.0]
    for shift, joined in ((10, False), (30, True)):
        outline = Outline([square, [side + shift for side in square]])
        item = LabeledObject("cat", 0, 0, 20 + shift, 20 + shift, 0, 0, "", outline)
        assert (one_polygon(item, 64, 64) is not None) == joined


def test_the_same_again_does_nothing_and_its_result_is_data(data: Path, tmp_path: Path) -> None:
    convert_labels(str(data), str(tmp_path / "out"), "voc")
    stamp = (tmp_path / "out" / "step.json").stat().st_mtime_ns
    convert_labels(str(data), str(tmp_path / "out"), "voc")
    assert (tmp_path / "out" / "step.json").stat().st_mtime_ns == stamp


def test_labels_are_not_written_into_the_folder_of_their_images(data: Path, tmp_path: Path) -> None:
    """What was written is data, too."""
    convert_labels(str(data), str(tmp_path / "coco"), "coco")
    before = {path: path.read_bytes() for path in (tmp_path / "coco").rglob("*") if path.is_file()}
    with pytest.raises(BoxcarError, match="own folder") as caught:
        convert_labels(str(tmp_path / "coco"), str(tmp_path / "coco"), "yolo")
    assert caught.value.code == ExitCode.USAGE
    assert {path: path.read_bytes() for path in (tmp_path / "coco").rglob("*") if path.is_file()} == before


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_set(tmp_path / "data", 3)
    words = ["convert-labels", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--to", "coco"]
    assert call_command(app, words) == 0
    content = json.loads((tmp_path / "out" / "annotations" / "instances.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["p0.jpg", "p1.jpg", "p2.jpg"]
    assert [entry["bbox"] for entry in content["annotations"]] == [[8.0, 6.0, 32.0, 24.0]] * 3
    assert content["categories"] == [{"id": 1, "name": "cat"}]
    assert sorted(path.name for path in (tmp_path / "out" / "annotations").iterdir()) == ["instances.json"]


def test_faults_stop_it(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 3)
    (data / "p0.xml").write_text("<")
    with pytest.raises(BoxcarError):
        convert_labels(str(data), str(tmp_path / "out"), "voc")
    assert not (tmp_path / "out").exists()
    convert_labels(str(data), str(tmp_path / "out"), "voc", on_fault="skip")
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2
