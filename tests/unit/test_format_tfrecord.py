"""TFRecords of the Object Detection API and of Roboflow are read in place, and what cannot be read is named."""

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from example_bytes import checksum, example, feature, floats, frame, integers, texts, varint
from labelled import data_set, pair, picture
from read_data import data_files, formats_of, read_data

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records, convert_labels
from boxcar.records.formats import find_reader
from boxcar.retraining.changes import compare, index_files

BOX = ("cat", 8.0, 6.0, 40.0, 30.0)
Values = tuple[int, bytes] | None


def jpeg(seed: object, image_format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, image_format)
    return file.getvalue()


def labeled(name: str, **changes: Values) -> bytes:
    """An Example with one cat in an image of 64×48, as the Object Detection API's scripts write it."""
    features: dict[str, Values] = {
        "image/encoded": (1, texts(jpeg(name))),
        "image/filename": (1, texts(name.encode())),
        "image/format": (1, texts(b"jpeg")),
        "image/height": (3, integers(48)),
        "image/width": (3, integers(64)),
        "image/object/bbox/xmin": (2, floats(8 / 64)),
        "image/object/bbox/ymin": (2, floats(6 / 48)),
        "image/object/bbox/xmax": (2, floats(40 / 64)),
        "image/object/bbox/ymax": (2, floats(30 / 48)),
        "image/object/class/text": (1, texts(b"cat")),
        "image/object/class/label": (3, integers(1)),
    }
    features.update({name.replace("__", "/"): value for name, value in changes.items()})
    return example(**features)


NO_OBJECTS: dict[str, Values] = dict.fromkeys(
    [f"image__object__bbox__{side}" for side in ("xmin", "ymin", "xmax", "ymax")]
    + ["image__object__class__text", "image__object__class__label"]
)
LABEL_MAP = "item {\n  name: 'cat'\n  id: 1\n}\nitem {\n  name: 'dog'\n  id: 4\n}\n"


def write(path: Path, *examples: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(frame, examples)))
    return path


def test_shards_and_images_without_objects(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train.record-00000-of-00002", labeled("x.jpg"), labeled("cam1/y.jpg", **NO_OBJECTS))
    write(tmp_path / "a" / "train.record-00001-of-00002", labeled("z.jpg"))
    write(tmp_path / "val.tfrecord", labeled("x.jpg"))
    write(tmp_path / "cats.tfrecords", labeled("w.jpg"))
    found = read_data(tmp_path)
    assert (found.reader.format, found.faults, found.notes) == ("tfrecord", [], ())
    assert found.splits == {"a/train/x.jpg": 0, "a/train/cam1/y.jpg": 0, "a/train/z.jpg": 0, "val/x.jpg": 1, "cats/w.jpg": None}
    assert found.boxes == {name: [] if name.endswith("y.jpg") else [BOX] for name in found.splits}


def test_the_export_of_roboflow(tmp_path: Path) -> None:
    for folder in ("train", "valid", "test"):
        write(tmp_path / folder / "Cats.tfrecord", labeled(f"{folder}_jpg.rf.0a1b.jpg"))
        (tmp_path / folder / "Cats_label_map.pbtxt").write_text(LABEL_MAP)
    found = read_data(tmp_path)
    assert found.splits == {
        f"{name}/Cats/{name}_jpg.rf.0a1b.jpg": split for split, name in enumerate(("train", "valid", "test"))
    }
    assert list(found.boxes.values()) == [[BOX]] * 3 and found.faults == []


def test_every_image_has_a_name_of_its_own_inside_the_data_folder(tmp_path: Path) -> None:
    names = ["../../x", "/home/test/x.jpg", "C:\\y\\x.jpg", "x.jpg", "p.heic", "", "a" * 300, "a\0b", "x-2.jpg", "."]
    examples = [labeled("a", image__filename=(1, texts(name.encode()))) for name in names]
    png = labeled("b", image__encoded=(1, texts(jpeg("b", "PNG"))), image__format=(1, texts(b"png")))
    write(tmp_path / "all.record", *examples, png, labeled("c", image__filename=None))
    found = read_data(tmp_path)
    assert found.faults == [] and len(found.boxes) == 12
    wanted = "x.jpg x-2.jpg x-3.jpg x-4.jpg p.heic.jpg 000006.jpg 000007.jpg 000008.jpg x-2-2.jpg 000010.jpg b.png 000012.jpg"
    assert [item.image for item in found.items] == [f"all/{name}" for name in wanted.split()]
    assert set(found.splits.values()) == {None}


@pytest.mark.parametrize(
    ("changes", "classes"),
    [
        ({"image__object__class__text": (1, texts(b" cat\n"))}, ["cat"]),
        ({"image__object__class__text": None}, ["cat"]),
        ({"image__object__class__label": None}, ["cat"]),
        ({"image__object__class__text": (1, texts(b"cow")), "image__object__class__label": (3, integers(0))}, ["cow"]),
        ({"image__object__class__text": (1, texts(b"")), "image__object__class__label": (3, integers(4))}, ["dog"]),
    ],
)
def test_classes_are_texts_or_in_the_label_map(tmp_path: Path, changes: dict[str, Values], classes: list[str]) -> None:
    write(tmp_path / "all.record", labeled("a.jpg", **changes))
    (tmp_path / "label_map.pbtxt").write_text(LABEL_MAP)
    found = read_data(tmp_path)
    assert [box[0] for box in found.boxes["all/a.jpg"]] == classes and found.faults == []


def test_crowds_are_left_out_and_flags_are_kept(tmp_path: Path) -> None:
    two: dict[str, Values] = {
        f"image__object__bbox__{side}": (2, floats(share, share)) for side, share in (("xmin", 0), ("ymin", 0))
    }
    two |= {f"image__object__bbox__{side}": (2, floats(share, share)) for side, share in (("xmax", 1), ("ymax", 0.5))}
    two |= {"image__object__class__text": (1, texts(b"cat", b"dog")), "image__object__class__label": None}
    flags = {"image__object__is_crowd": (3, integers(1, 0)), "image__object__difficult": (3, integers(0, 1))}
    write(tmp_path / "all.record", labeled("a.jpg", **two, **flags, image__object__mask=(1, texts(b"PNG", b"PNG"))))
    (one,) = read_data(tmp_path).objects["all/a.jpg"]
    assert (one.name, one.difficult, one.truncated, one.pose) == ("dog", 1, 0, "Unspecified")
    assert one[1:5] == (0, 0, 64, 24)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"image__encoded": (1, texts(b"JPEG"))}, "not_a_picture", "not a JPEG"),
        ({"image__encoded": None}, "broken_labels", "0 images instead of one"),
        ({"image__encoded": (1, texts(b"a", b"b"))}, "broken_labels", "2 images instead of one"),
        ({"image__encoded": (3, integers(1))}, "broken_labels", "0 images instead of one"),
        ({"image__width": (3, integers(65))}, "size_mismatch", "it says 65×48"),
        ({"image__width": (2, floats(64))}, "broken_labels", "image/width has fractions instead of whole numbers"),
        ({"image__object__bbox__xmin": (2, floats(0.1, 0.2))}, "broken_labels", "differ in length: 2, 1, 1, 1, 1, 1"),
        ({"image__object__bbox__xmin": (2, b"\x0a\x03abc")}, "broken_labels", "xmin cannot be read"),
        ({"image__object__bbox__xmin": (2, floats(float("nan")))}, "box_not_finite", "is not finite"),
        ({"image__object__bbox__xmin": (2, floats(-3e38))}, "box_outside", "outside the image"),
        ({"image__object__bbox__xmin": (2, floats(0.9))}, "box_upside_down", "upside down"),
        ({"image__object__bbox__xmax": (2, floats(40))}, "box_outside", "outside the image"),
        ({"image__object__is_crowd": (3, integers(1))}, "only_crowds", "only crowds"),
        ({"image__object__is_crowd": (3, integers(0, 1))}, "broken_labels", "2 values for 1 boxes"),
        ({"image__object__class__label": (3, integers(4))}, "unknown_class", "is cat in class/text, but its number 4 is dog"),
        (
            {"image__object__class__text": None, "image__object__class__label": (3, integers(2))},
            "unknown_class",
            "class 2 without a text, which label_map.pbtxt does not have",
        ),
        ({"image__object__class__text": None, "image__object__class__label": None}, "no_class_name", "has no class name"),
    ],
)
def test_a_fault_is_named_with_the_file_and_the_image(
    tmp_path: Path, changes: dict[str, Values], kind: str, words: str
) -> None:
    write(tmp_path / "all.record", labeled("a.jpg"), labeled("bad.jpg", **changes))
    (tmp_path / "label_map.pbtxt").write_text(LABEL_MAP)
    found = read_data(tmp_path)
    assert found.kinds == [kind]
    assert found.reasons[0].startswith("all.record: for all/bad.jpg, ") and words in found.reasons[0]
    assert list(found.boxes) == ["all/a.jpg"]


def test_a_class_without_a_name(tmp_path: Path) -> None:
    write(tmp_path / "all.record", labeled("a.jpg", image__object__class__text=None))
    assert "and no label map says which that is" in read_data(tmp_path).reasons[0]


def _flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def _promising(content: bytes) -> bytes:
    """The file and the beginning of a record that promises more than there is."""
    length = struct.pack("<Q", 2**63)
    return content + length + struct.pack("<I", checksum(length)) + b"x" * 100


@pytest.mark.parametrize(
    ("damage", "words", "left"),
    [
        (_flipped, "for all/b.jpg, its record does not fit its checksum", ["a.jpg"]),
        (lambda content: content[:-1], "the file ends in the middle of it", ["a.jpg"]),
        (lambda content: content + b"\0" * 16, "its length does not fit its checksum", ["a.jpg", "b.jpg"]),
        (_promising, "the file ends in the middle of it", ["a.jpg", "b.jpg"]),
        (lambda content: content + frame(b"\x0a\xff"), "its record is no tf.train.Example", ["a.jpg", "b.jpg"]),
        (lambda content: content + frame(b"\x0b"), "its record is no tf.train.Example", ["a.jpg", "b.jpg"]),
        (lambda content: content + frame(b""), "0 images instead of one", ["a.jpg", "b.jpg"]),
    ],
)
def test_damage_is_named_and_other_images_are_read(
    tmp_path: Path, damage: Callable[[bytes], bytes], words: str, left: list[str]
) -> None:
    path = write(tmp_path / "all.record", labeled("a.jpg"), labeled("b.jpg"))
    path.write_bytes(damage(path.read_bytes()))
    found = read_data(tmp_path)
    (reason,) = found.reasons
    assert reason.startswith("all.record: ") and words in reason
    assert list(found.boxes) == [f"all/{name}" for name in left]


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_compressed_records_are_refused(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "all.record.gz", labeled("a.jpg"))
    path.write_bytes(compress(path.read_bytes()))
    with pytest.raises(BoxcarError) as caught:
        find_reader(data_files(tmp_path))
    assert caught.value.code == ExitCode.DATA and "all.record.gz is compressed" in caught.value.what


def test_other_records_are_not_recognized(tmp_path: Path) -> None:
    features = feature("sentence", 1, texts(b"x"))
    write(tmp_path / "words.tfrecord", b"\x0a" + varint(len(features)) + features)
    (tmp_path / "notes.record").write_text("not a TFRecord, although its name says so")
    pair(tmp_path, "p")
    assert formats_of(tmp_path) == ["voc"]


def test_label_maps_must_agree(tmp_path: Path) -> None:
    write(tmp_path / "all.record", labeled("a.jpg"))
    (tmp_path / "one.pbtxt").write_text(LABEL_MAP)
    (tmp_path / "graph.pbtxt").write_text("node {\n}")
    assert find_reader(data_files(tmp_path)).reader.is_annotation("one.pbtxt")
    (tmp_path / "two.pbtxt").write_text(LABEL_MAP.replace("cat", "cow"))
    with pytest.raises(BoxcarError) as caught:
        read_data(tmp_path)
    assert caught.value.code == ExitCode.USAGE
    assert "one.pbtxt says cat, and two.pbtxt says cow" in caught.value.what
    (tmp_path / "two.pbtxt").write_text("item {")
    with pytest.raises(BoxcarError) as caught:
        read_data(tmp_path)
    assert caught.value.code == ExitCode.DATA and "two.pbtxt" in caught.value.what


def test_image_files_beside_the_records_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "all.record", labeled("a.jpg"))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(jpeg(name))
    found = read_data(tmp_path)
    assert found.notes == ("2 image files beside the TFRecords, such as a.jpg, were left out.",)
    assert list(found.boxes) == ["all/a.jpg"]


def test_an_image_of_a_record_is_found_as_changed(tmp_path: Path) -> None:
    write(tmp_path / "all.record", labeled("a.jpg"), labeled("b.jpg"))
    (tmp_path / "b.jpg").write_bytes(jpeg("beside"))
    known = index_files(str(tmp_path), None)
    assert compare(None, known).pictures == 2 and sorted(known.files) == ["all.record"]
    write(tmp_path / "all.record", labeled("a.jpg"), labeled("b.jpg", **NO_OBJECTS), labeled("c.jpg"), b"\x0a\xff")
    changes = compare(known, index_files(str(tmp_path), known))
    assert (changes.changed, changes.pictures) == (("all.record",), 1)


def test_records_that_boxcar_wrote_are_the_same_data_set(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 4)
    pair(data, "near", [("cat", 1, 2, 50.5, 40), ("dog", 1, 2, 50.5, 41)])  # which the page shows
    for before, after in (("data", "one"), ("one", "two")):
        build_records(str(tmp_path / before), str(tmp_path / after))
    one, two = (json.loads((tmp_path / name / "dataset.json").read_text()) for name in ("one", "two"))
    assert (two["labels"]["format"], two["version"]) == ("TFRecord", one["version"])
    assert [split["pictures"] for split in two["splits"].values()] == [split["pictures"] for split in one["splits"].values()]
    convert_labels(str(tmp_path / "one"), str(tmp_path / "coco"), "coco")
    converted = {Path(name).name: boxes for name, boxes in read_data(tmp_path / "coco").boxes.items()}
    assert converted == read_data(data).boxes


def test_too_large_labels_and_too_many_parts_are_refused_fast(tmp_path: Path) -> None:
    many = {f"image__object__bbox__{side}": (2, floats(*[0.5] * 700_000)) for side in ("xmin", "ymin", "xmax", "ymax")}
    parts = b"\x0a\x00" * 3_000_000
    write(tmp_path / "all.record", labeled("many.jpg", **many), b"\x0a" + varint(len(parts)) + parts, labeled("a.jpg"))
    found = read_data(tmp_path)
    assert found.kinds == ["broken_labels", "labels_too_large"]
    assert list(found.boxes) == ["all/a.jpg"]
