"""Pascal VOC as other tools than labelImg write it: what is plain is read, and what is not is said."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from labelled import data_set, label, pair, picture, save, xml_text

from boxcar.data.example import read_examples
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records
from boxcar.records.faults import FaultyError
from boxcar.records.formats.voc import VocReader


def records(data: Path, output: Path, **settings: Any) -> dict[str, Any]:
    build_records(str(data), str(output), **settings)
    dataset: dict[str, Any] = json.loads((output / "dataset.json").read_text())
    return dataset


def split_of(folder: Path, split: str) -> set[str]:
    """The names of a split's images, without folders."""
    return {Path(example.filename).name for example in read_examples(sorted(folder.glob(f"{split}-*.tfrecord")))}


def voc_tree(root: Path, lists: dict[str, list[str]]) -> Path:
    for number in range(8):
        save(root / "JPEGImages" / f"2007_{number}.jpg", picture(number))
        label(root / "Annotations" / f"2007_{number}.xml")
        save(root / "SegmentationObject" / f"2007_{number}.png", picture(f"mask {number}"))
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for name, stems in lists.items():
        (folder / name).write_text("".join(f"{stem}\n" for stem in stems))
    return root


def test_the_lists_of_the_tree_are_the_split(tmp_path: Path) -> None:
    stems = [f"2007_{number}" for number in range(8)]
    lists = {"train.txt": stems[:3], "val.txt": stems[3:5], "trainval.txt": stems[:5], "test.txt": stems[5:]}
    lists["cat_test.txt"] = [f"{stem}  1" for stem in stems[:5]]
    dataset = records(voc_tree(tmp_path / "VOC2007", lists), tmp_path / "out")
    assert {name: split["pictures"] for name, split in dataset["splits"].items()} == {"train": 3, "validation": 2, "test": 3}
    assert any("SegmentationObject" in warning for warning in dataset["warnings"])
    assert not dataset["faults"]


def test_a_list_that_changed_is_noticed(tmp_path: Path) -> None:
    stems = [f"2007_{number}" for number in range(8)]
    data = voc_tree(tmp_path / "VOC2007", {"train.txt": stems[:4], "val.txt": stems[4:6], "test.txt": stems[6:]})
    before = records(data, tmp_path / "out")["splits"]
    (data / "ImageSets" / "Main" / "test.txt").write_text("\n".join(stems[2:4]))
    (data / "ImageSets" / "Main" / "train.txt").write_text("\n".join(stems[:2] + stems[6:]))
    assert records(data, tmp_path / "out")["splits"] != before


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_list_that_cannot_be_read_is_a_fault(tmp_path: Path, kind: str) -> None:
    data = voc_tree(tmp_path / "VOC2007", {"val.txt": ["2007_1"], "test.txt": ["2007_2"]})
    path = data / "ImageSets" / "Main" / "train.txt"
    if kind == "link":
        path.symlink_to("nowhere.txt")
    else:
        os.mkfifo(path)
    with pytest.raises(BoxcarError) as caught:
        records(data, tmp_path / "out")
    assert caught.value.code == ExitCode.DATA and any("train.txt" in detail for detail in caught.value.details)
    skipped = records(data, tmp_path / "out", on_fault="skip")  # which keeps to the other lists
    assert "2007_2.jpg" in split_of(tmp_path / "out", "test") and skipped["faults"]


def test_a_folder_named_like_a_list_is_none(tmp_path: Path) -> None:
    data = voc_tree(tmp_path / "VOC2007", {"val.txt": ["2007_1"], "test.txt": ["2007_2"]})
    (data / "ImageSets" / "Main" / "train.txt").mkdir()
    assert not records(data, tmp_path / "out")["faults"]


def test_an_image_in_two_lists_is_a_question(tmp_path: Path) -> None:
    data = voc_tree(tmp_path / "VOC2007", {"train.txt": ["2007_0", "2007_1"], "val.txt": ["2007_1"]})
    with pytest.raises(BoxcarError, match=r"Main/train\.txt and .*Main/val\.txt both list 2007_1") as caught:
        records(data, tmp_path / "out")
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    "content",
    [
        '<?xml version="1.0" encoding="GBK"?>' + xml_text("a.jpg", (64, 48), [("猫", 1, 2, 30, 40)]),
        '\n\n <?xml version="1.0" encoding="utf-8"?>' + xml_text("a.jpg", (64, 48), [("猫", 1, 2, 30, 40)]),
        xml_text("a.jpg", (64, 48), [("猫", 1, 2, 30, 40)]).replace("<annotation>", '<annotation xmlns="http://x/y">'),
        xml_text("a.jpg", (64, 48), [("猫", 1, 2, 30, 40)])
        .replace("<object>", "<objects><object>", 1)
        .replace("</object>", "</object></objects>"),
    ],
    ids=["GBK", "blanks before the declaration", "namespace", "a list of objects"],
)
def test_what_is_plain_is_read(content: str) -> None:
    annotation = VocReader().read(content.encode("gbk" if "GBK" in content else "utf-8"))
    assert annotation.size == (64, 48)
    assert [(item.name, item.sides) for item in annotation.objects] == [("猫", ("1", "2", "30", "40"))]


def test_every_box_of_an_object_is_one() -> None:
    box = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>7</xmax><ymax>8</ymax></bndbox></object>"
    content = xml_text("a.jpg", (64, 48), [("cat", 1, 2, 30, 40)]).replace("</object>", box)
    assert [item.sides[0] for item in VocReader().read(content.encode()).objects] == ["1", "5"]


def test_a_size_of_zero_is_none() -> None:
    assert VocReader().read(xml_text("a.jpg", (0, 0), []).encode()).size is None


def test_a_box_that_stands_twice_counts_once(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    label(data / "p0.xml", boxes=[("cat", 1, 1, 9, 9), ("cat", 1, 1, 9, 9), ("dog", 1, 1, 9, 9), ("cat", 1, 1, 9, 9)])
    dataset = records(data, tmp_path / "out")
    assert sum(split["boxes"] for split in dataset["splits"].values()) == 7
    assert "2 boxes are copies of others in the same label file, such as in p0.xml, and left out." in dataset["warnings"]


def test_shares_of_the_image_are_no_pixels(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    label(data / "p0.xml", boxes=[("cat", 0.1, 0.2, 0.5, 0.9)])
    with pytest.raises(BoxcarError) as caught:
        records(data, tmp_path / "out")
    (detail,) = caught.value.details
    assert detail == "p0.xml: box 1 (cat) [0.1, 0.2, 0.5, 0.9] is in shares of the image, not in pixels"


@pytest.mark.parametrize(("suffix", "kind"), [("tif", "TIFF"), ("gif", "GIF"), ("jfif", "JPEG"), ("jpe", "JPEG")])
def test_other_kinds_of_images(tmp_path: Path, suffix: str, kind: str) -> None:
    data = data_set(tmp_path / "data")
    save(data / f"other.{suffix}", picture("other"), format=kind)
    label(data / "other.xml", boxes=[("owl", 8, 6, 40, 30)])
    dataset = records(data, tmp_path / "out")
    assert sum(split["per_class"]["owl"] for split in dataset["splits"].values()) == 1


def test_an_image_of_another_kind_is_not_called_missing(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    pair(data, "phone").rename(data / "phone.heic")
    with pytest.raises(BoxcarError) as caught:
        records(data, tmp_path / "out")
    assert caught.value.details == (
        "phone.xml: its image phone.heic is of a format that Boxcar cannot train on; save it as JPEG or PNG",
    )


@pytest.mark.parametrize(("text", "difficult"), [("2", 1), ("1.0", 1), ("Yes", 1), ("0", 0), ("-1", 0), ("", 0), ("false", 0)])
def test_difficult_is_read_in_every_form(text: str, difficult: int) -> None:
    content = xml_text("a.jpg", (64, 48), [("cat", 8, 6, 40, 30)]).replace("<difficult>0", f"<difficult>{text}")
    (found,) = VocReader().read(content.encode()).objects
    assert found.difficult == difficult


def test_a_difficult_that_means_nothing_is_said() -> None:
    content = xml_text("a.jpg", (64, 48), [("cat", 8, 6, 40, 30)]).replace("<difficult>0", "<difficult>maybe")
    with pytest.raises(FaultyError, match="<difficult> is maybe, which is neither 0 nor 1"):
        VocReader().read(content.encode())


@pytest.mark.parametrize(
    "size", ["<width>-1</width><height>-1</height>", "<width/><height/>", "<width>0</width><height>48</height>", ""]
)
def test_a_size_that_is_not_known_is_none(size: str) -> None:
    content = xml_text("a.jpg", (64, 48), []).replace("<width>64</width><height>48</height>", size)
    assert VocReader().read(content.encode()).size is None


def test_lists_of_splits_may_name_files(tmp_path: Path) -> None:
    lists = {"train.txt": ["JPEGImages/2007_0.jpg", "2007_1.jpg"], "val.txt": ["2007_2.JPG"], "test.txt": ["2007_3"]}
    splits = records(voc_tree(tmp_path / "data", lists), tmp_path / "out")["splits"]
    assert (splits["validation"]["pictures"], splits["test"]["pictures"]) == (1, 1)


@pytest.mark.parametrize(("name", "other"), [("caf\u00e9", "cafe\u0301"), ("P9", "p9")])
def test_an_image_whose_name_differs_in_its_form_is_named(tmp_path: Path, name: str, other: str) -> None:
    data = data_set(tmp_path / "data", 4)
    pair(data, name).rename(data / f"{other}.jpg")
    (data / f"{name}.xml").write_text(xml_text("none.jpg", (64, 48), [("cat", 8, 6, 40, 30)]))
    with pytest.raises(BoxcarError) as caught:
        records(data, tmp_path / "out")
    assert any(f"{other}.jpg differs from its name in upper and lower case" in line for line in caught.value.details)
