"""The whole records step: the files it finds, what it writes, when it does nothing, and that its output is reproducible."""

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from external import RACCOON
from labelled import data_set, label, pair, picture, records_of, save

from boxcar.data.label_map import read_label_map, write_label_map
from boxcar.data.tfrecord import verify, write_record
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records, convert_labels
from boxcar.records.summary import quantiles
from boxcar.records.summary_text import summary_lines
from boxcar.run.step import read_commit

GOLDEN = Path(__file__).parents[1] / "golden" / "records.json"


def _dataset(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "dataset.json").read_text()))


def _names(output: Path) -> dict[str, int]:
    return {name: split["pictures"] for name, split in _dataset(output)["splits"].items()}


def test_the_files_and_counts(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 20)
    label(data / "p0.xml", boxes=[("dog", 1, 1, 9, 9), ("cat", 1, 1, 9, 9)])
    label(data / "p1.xml", boxes=[])
    save(data / "plain.png", picture("plain"))
    (data / ".hidden.xml").write_text("<")
    (data / ".git").mkdir()
    (data / ".git" / "broken.xml").write_text("<")
    committed = build_records(str(data), str(tmp_path / "out"), unlabeled="background")
    shards = [f"{split}-00000-of-00001.tfrecord" for split in ("test", "train", "validation")]
    assert sorted(committed.files) == ["box_shapes.json", "dataset.json", "index.html", "label_map.pbtxt", *shards]
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt") == {1: "cat", 2: "dog"}
    dataset = _dataset(tmp_path / "out")
    splits = dataset["splits"].values()
    assert sum(split["pictures"] for split in splits) == 21
    assert sum(split["negatives"] for split in splits) == 2
    assert sum(split["boxes"] for split in splits) == 20
    assert sum(split["per_class"]["dog"] for split in splits) == 1
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in data.iterdir() if path.suffix in (".jpg", ".png")}
    assert {name for split in splits for name in split["images"]} == hashes
    assert dataset["pictures_without_xml"] == 1
    assert dataset["warnings"][0] == "1 image (plain.png) has no label and counts as an image without objects."
    assert dataset["picture_width"]["median"] == 64
    for split in splits:
        (shard,) = split["shards"]
        assert verify(tmp_path / "out" / shard)[0] == split["pictures"]


def test_an_image_without_a_label_is_no_negative(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 12)
    (data / "p11.xml").rename(data / "p11.txt")
    save(data / "negatives" / "street.jpg", picture("street"))
    with pytest.raises(BoxcarError, match=r"not recognized as Pascal VOC labels: p11\.txt.*--unlabeled background") as caught:
        build_records(str(data), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.DATA
    assert [detail.partition(":")[0] for detail in caught.value.details] == ["p11.jpg"]
    for settings in ({"unlabeled": "skip"}, {"on_fault": "skip"}):
        build_records(str(data), str(tmp_path / "out"), **settings)  # type: ignore[arg-type]
        assert sum(_names(tmp_path / "out").values()) == 12
    build_records(str(data), str(tmp_path / "out"), unlabeled="background")
    assert sum(_names(tmp_path / "out").values()) == 13
    assert sum(split["negatives"] for split in _dataset(tmp_path / "out")["splits"].values()) == 2
    # They are named, because a label may be missing by mistake.
    assert any("p11.jpg" in warning and "street.jpg" in warning for warning in _dataset(tmp_path / "out")["warnings"])


@pytest.mark.parametrize("convert", [False, True])
def test_a_folder_that_cannot_be_written_is_found_before_the_images_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, convert: bool
) -> None:
    data, other, file = data_set(tmp_path / "data", 3), tmp_path / "other", tmp_path / "file"
    other.mkdir()
    (other / "mine.txt").touch()
    file.touch()
    for module in ("engine", "label_files"):
        monkeypatch.setattr(f"boxcar.records.{module}.check_all", lambda *_, **__: pytest.fail("it checks"))
    for output in (other, file):
        with pytest.raises(BoxcarError, match=str(output)) as caught:
            convert_labels(str(data), str(output), "coco") if convert else build_records(str(data), str(output))
        assert caught.value.code == ExitCode.USAGE


def test_a_file_with_the_name_of_a_missing_image_is_named(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 3)
    (data / "p1.jpg").rename(data / "p1.jpgx")
    with pytest.raises(BoxcarError) as caught:
        build_records(str(data), str(tmp_path / "out"))
    (detail,) = caught.value.details
    assert "p1.xml" in detail and "p1.jpgx" in detail


def test_many_equal_faults_do_not_hide_another(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 30)
    for number in range(28):
        label(data / f"p{number}.xml", boxes=[("cat", 8, 6, 400, 30)])
    (data / "p29.xml").write_text("<")
    with pytest.raises(BoxcarError) as caught:
        build_records(str(data), str(tmp_path / "out"))
    single, many = caught.value.details
    assert single.startswith("p29.xml")
    assert many == "p0.xml, p1.xml, p10.xml, ... (28 files): box 1 (cat) [8, 6, 400, 30] is outside the image of 64×48"


def test_a_folder_that_looks_like_a_split_is_named(tmp_path: Path) -> None:
    data_set(tmp_path / "data" / "test-drive", 6)
    pair(tmp_path / "data" / "holdout", "unseen")
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    assert any("holdout, test-drive" in warning for warning in _dataset(tmp_path / "out")["warnings"])


def test_the_same_inputs_again_do_nothing_and_others_do(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    first = build_records(str(data), str(tmp_path / "out"))
    stamp = (tmp_path / "out" / "step.json").stat().st_mtime_ns
    assert build_records(str(data), (tmp_path / "out").as_uri()) == first
    assert (tmp_path / "out" / "step.json").stat().st_mtime_ns == stamp
    version = _dataset(tmp_path / "out")["version"]

    label(data / "p3.xml", boxes=[("cat", 8, 6, 40, 31)])
    assert build_records(str(data), str(tmp_path / "out")) != first
    assert _dataset(tmp_path / "out")["version"] != version
    assert build_records(str(data), str(tmp_path / "out"), seed=1).parameters["seed"] == 1


def test_a_version_is_that_of_images_boxes_and_labels_wherever_they_lie(tmp_path: Path) -> None:
    data = data_set(tmp_path / "a", 8)
    build_records(str(data), str(tmp_path / "out_a"))
    (tmp_path / "b" / "images").mkdir(parents=True)
    (tmp_path / "b" / "annotations").mkdir()
    for number in range(8):
        shutil.copy(data / f"p{number}.jpg", tmp_path / "b" / "images" / f"q{9 - number}.jpg")
        shutil.copy(data / f"p{number}.xml", tmp_path / "b" / "annotations" / f"q{9 - number}.xml")
    build_records(str(tmp_path / "b"), str(tmp_path / "out_b"))
    a, b = _dataset(tmp_path / "out_a"), _dataset(tmp_path / "out_b")
    assert a["version"] == b["version"]
    assert a["splits"] == b["splits"]


def test_faulty_new_data_leave_the_finished_records_alone(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    first = build_records(str(data), str(tmp_path / "out"))
    (data / "p0.xml").write_text("<")
    with pytest.raises(BoxcarError):
        build_records(str(data), str(tmp_path / "out"))
    (data / "p0.xml").unlink()
    label(data / "p0.xml")
    assert build_records(str(data), str(tmp_path / "out")) == first


@pytest.mark.parametrize(
    ("xml", "image", "filename"),
    [
        ("a.xml", "a.jpg", ""),
        ("a.xml", "a.JPEG", "lies.jpg"),
        ("annotations/a.xml", "images/a.jpg", ""),
        ("Annotations/a.xml", "JPEGImages/a.jpg", ""),
        ("set/annotations/train/a.xml", "set/images/train/a.jpg", ""),
        ("annotations/xmls/a.xml", "images/a.png", ""),
        ("annotations/a.xml", "a.jpg", ""),
        ("a.xml", "b.jpg", "b.jpg"),
        ("a.xml", "b.jpg", "b"),
        ("a.xml", "b.v2.jpg", "b.v2"),
        ("a.xml", "b.jpg", "C:\\Users\\me\\b.jpg"),
        ("annotations/a.xml", "images/b.png", "b.jpg"),
    ],
)
def test_an_xml_finds_its_picture(tmp_path: Path, xml: str, image: str, filename: str) -> None:
    data = data_set(tmp_path / "data" / "others", 4).parent
    save(data / image, picture("a"))
    label(data / xml, boxes=[("owl", 1, 1, 9, 9)], filename=filename)
    build_records(str(data), str(tmp_path / "out"))
    dataset = _dataset(tmp_path / "out")
    assert sum(split["per_class"]["owl"] for split in dataset["splits"].values()) == 1
    assert dataset["pictures_without_xml"] == 0


def test_split_folders_are_kept(tmp_path: Path) -> None:
    for folder, count in (("train", 12), ("test", 3)):
        for number in range(count):
            pair(tmp_path / "data" / "images" / folder, f"{folder}{number}")
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    counts = _names(tmp_path / "out")
    assert counts["test"] == 3
    assert counts["train"] + counts["validation"] == 12
    assert counts["validation"] > 0


def test_links_in_a_circle_and_the_output_below_the_data_do_no_harm(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    (data / "again").symlink_to(data)
    (data / "more").symlink_to(tmp_path / "elsewhere")
    pair(tmp_path / "elsewhere", "linked")
    first = build_records(str(data), str(data / "records"))
    assert sum(_names(data / "records").values()) == 7
    assert build_records(str(data), str(data / "records")) == first


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    for suffix in (b".jpg", b".xml"):
        os.rename(os.fsencode(data / "p0") + suffix, os.fsencode(data) + b"/caf\xe9" + suffix)  # noqa: PTH104
    build_records(str(data), str(tmp_path / "out"))
    assert sum(_names(tmp_path / "out").values()) == 6
    os.rename(os.fsencode(data) + b"/caf\xe9.jpg", os.fsencode(data / "gone.jpg"))  # noqa: PTH104
    build_records(str(data), str(tmp_path / "out"), on_fault="skip")
    assert _dataset(tmp_path / "out")["faults"][0]["file"] == "caf\ufffd.xml"


def test_given_labels_are_kept_and_new_ones_appended(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    label(data / "p0.xml", boxes=[("ant", 1, 1, 9, 9), ("zebra", 1, 1, 9, 9)])
    write_label_map(data / "label_map.pbtxt", {2: "zebra", 7: "mouse"})
    build_records(str(data), str(tmp_path / "out"))
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt") == {2: "zebra", 7: "mouse", 8: "ant", 9: "cat"}
    warnings = _dataset(tmp_path / "out")["warnings"]
    assert "2 classes were not in the label map and were appended: ant as 8, cat as 9" in warnings
    assert "The class mouse of the label map has no example." in warnings

    write_label_map(tmp_path / "given.pbtxt", {5: "cat"})
    build_records(str(data), str(tmp_path / "out"), label_map=str(tmp_path / "given.pbtxt"))
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt") == {5: "cat", 6: "ant", 7: "zebra"}


def test_label_maps_that_differ_are_65(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    (data / "annotations").mkdir()
    write_label_map(data / "label_map.pbtxt", {1: "cat"})
    write_label_map(data / "annotations" / "label_map.pbtxt", {1: "dog"})
    with pytest.raises(BoxcarError) as caught:
        build_records(str(data), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.DATA
    assert "label maps that differ" in caught.value.what


def test_golden_bytes(tmp_path: Path) -> None:
    """The same images give the same files, byte for byte, in every version. To renew, delete the golden file's entries."""
    data = tmp_path / "data"
    for number in range(6):
        save(data / f"p{number}.png", picture(number, (8, 8)), compress_level=0)
        label(data / f"p{number}.xml", (8, 8), [("cat", 1, 1, 5, 7), ("dog's", 0, 2, 8, 4)][: number % 3])
    committed = build_records(str(data), str(tmp_path / "out"))
    shard = (tmp_path / "out" / "test-00000-of-00001.tfrecord").read_bytes()
    golden = json.loads(GOLDEN.read_text())
    hashes = {name: entry["sha256"] for name, entry in committed.files.items()}
    assert {name: hashes[name] for name in golden["sha256"]} == golden["sha256"]
    # Their content is in test_box_shapes.py and test_records_page.py.
    assert hashes.keys() - golden["sha256"].keys() == {"box_shapes.json", "index.html"}
    assert shard.hex() == golden["test shard"]


def test_dataset_json_is_written_as_a_whole_one_would_be(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 5)
    label(data / "p0.xml", boxes=[('"images": []', 1, 1, 9, 9)])
    build_records(str(data), str(tmp_path / "out"))
    text = (tmp_path / "out" / "dataset.json").read_text()
    dataset = json.loads(text)
    assert text == json.dumps(dataset, indent=2, ensure_ascii=False) + "\n"
    assert dataset["label_map"]["1"] == '"images": []'
    for split in dataset["splits"].values():
        assert split["images"] == sorted(split["images"])
        assert len(split["images"]) == split["pictures"]
    assert summary_lines(tmp_path / "out")[:2] == [
        "Labels: Pascal VOC, 5 files.",
        "3 train, 1 validation, 1 test images; 5 boxes of 2 classes.",
    ]


def test_files_dated_in_another_age_are_read(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 4)
    for path, year in (("p0.jpg", 1902), ("p1.jpg", 2400)):
        seconds = (year - 1970) * 31_556_952
        os.utime(data / path, (seconds, seconds))
    build_records(str(data), str(tmp_path / "out"))
    assert sum(_names(tmp_path / "out").values()) == 4


def test_a_refusal_to_replace_names_all_that_may_have_changed(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 4)
    first = build_records(str(data), str(tmp_path / "out"))
    assert build_records(str(data), str(tmp_path / "out"), replace=False) == first
    with pytest.raises(BoxcarError, match=r"images in .*label map.*settings have changed") as caught:
        build_records(str(data), str(tmp_path / "out"), replace=False, seed=1)
    assert caught.value.code == ExitCode.USAGE
    assert read_commit(tmp_path / "out", "records") == first


def test_quantiles_are_those_of_the_sorted_values() -> None:
    values = [random.Random(number).choice([0.125, 0.25, 0.5, 1.0]) for number in range(77)]
    found = quantiles(np.array(values))
    assert found["median"] == found["0.5"] == sorted(values)[38]
    assert (found["min"], found["0.05"], found["0.95"], found["max"]) == tuple(sorted(values)[at] for at in (0, 4, 72, 76))
    assert set(quantiles(np.array([7])).values()) == {7}


def test_a_spoilt_shard_does_not_verify(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    with path.open("xb", buffering=0) as file:
        write_record(file, [b"one", b" record"])
        write_record(file, [b""])
    assert verify(path)[:2] == (2, 10 + 32)
    assert records_of(path) == [b"one record", b""]
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(OSError, match="is not what was written"):
            verify(path)
    for end in range(1, len(content)):
        path.write_bytes(content[:end])
        if end != 26:  # a whole record less
            with pytest.raises(OSError, match="is not what was written"):
                verify(path)


@RACCOON.needed
def test_raccoon_runs_through_as_it_is(tmp_path: Path) -> None:
    build_records(str(RACCOON.path), str(tmp_path / "out"))
    dataset = _dataset(tmp_path / "out")
    assert sum(split["pictures"] for split in dataset["splits"].values()) == 200
    assert dataset["faults"] == []
    assert dataset["label_map"] == {"1": "raccoon"}
    assert dataset["encoded_anew"] > 0  # the gray ones


def test_records_are_not_built_into_the_folder_of_their_images(tmp_path: Path) -> None:
    """Finished records are data, too."""
    build_records(str(data_set(tmp_path / "data", 8)), str(tmp_path / "records"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir() if path.is_file()}
    with pytest.raises(BoxcarError, match="own folder") as caught:
        build_records(str(tmp_path / "records"), str(tmp_path / "records"), seed=3)
    assert caught.value.code == ExitCode.USAGE
    assert {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir() if path.is_file()} == before
