"""`boxcar convert-labels` writes the same images, boxes, classes, and splits in another format."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from labelled import data_set, label, pair, picture, save

from boxcar.cli.main import app
from boxcar.errors import BoxcarError
from boxcar.process import call_command
from boxcar.records import build_records, convert_labels
from boxcar.records.label_files import Layout


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


def test_the_same_again_does_nothing_and_its_result_is_data(data: Path, tmp_path: Path) -> None:
    convert_labels(str(data), str(tmp_path / "out"), "voc")
    stamp = (tmp_path / "out" / "step.json").stat().st_mtime_ns
    convert_labels(str(data), str(tmp_path / "out"), "voc")
    assert (tmp_path / "out" / "step.json").stat().st_mtime_ns == stamp


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
