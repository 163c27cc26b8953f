"""YOLO labels of every kind of export are read, and what cannot be read is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import Box, label, pair, picture, save
from PIL import Image
from read_data import data_files, read_data

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records
from boxcar.records.annotation import checked_objects
from boxcar.records.faults import FaultyError
from boxcar.records.formats import find_reader
from boxcar.records.formats.yolo import YoloReader
from boxcar.records.formats.yolo_layout import Layout
from boxcar.retraining.changes import compare, index_files

CAT = "0 0.375 0.375 0.5 0.5\n"  # the box of `labelled.label`, in an image of 64×48
CAT_BOX = ("cat", 8.0, 6.0, 40.0, 30.0)
BOXES: list[list[Box]] = [
    [("cat", 8, 6, 40, 30)],
    [("cat", 0, 0, 63, 47), ("dog", 5, 7, 11, 13)],
    [("dog", 1, 2, 64, 48)],
    [],
    [("dog", 3, 3, 60, 45), ("dog", 3, 3, 9, 9)],
    [("cat", 33, 1, 34, 2)],
]


def tree(root: Path, files: dict[str, str], size: tuple[int, int] = (64, 48)) -> Path:
    """Writes texts, and an image for each name of one, of which the text is ignored."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jpg":
            save(path, picture(name, size))
        else:
            path.write_bytes(text.encode())
    return root


def line(box: Box, names: list[str], size: tuple[int, int] = (64, 48)) -> str:
    name, xmin, ymin, xmax, ymax = box
    (x0, x1), (y0, y1) = (
        [float(str(side)) / whole for side in sides] for sides, whole in zip(((xmin, xmax), (ymin, ymax)), size, strict=True)
    )
    return f"{names.index(name)} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n"


def version(data: Path, output: Path) -> str:
    build_records(str(data), str(output))
    return str(json.loads((output / "dataset.json").read_text())["version"])


def test_the_same_boxes_as_xml_and_as_yolo_are_the_same_data_set(tmp_path: Path) -> None:
    tree(tmp_path / "yolo", {"data.yaml": "names:\n  0: dog\n  1: cat\n"})
    for number, boxes in enumerate(BOXES):
        image = pair(tmp_path / "voc", f"p{number}", boxes)
        (tmp_path / "yolo" / "images").mkdir(exist_ok=True)
        (tmp_path / "yolo" / "images" / image.name).write_bytes(image.read_bytes())
        lines = "".join(line(box, ["dog", "cat"]) for box in boxes)
        tree(tmp_path / "yolo", {f"labels/p{number}.txt": lines})
    assert version(tmp_path / "voc", tmp_path / "a") == version(tmp_path / "yolo", tmp_path / "b")


ULTRALYTICS = {
    "images/train/a.jpg": "",
    "images/train/deep/b.jpg": "",
    "images/val/c.jpg": "",
    "labels/train/a.txt": CAT,
    "labels/train/deep/b.txt": "",
    "labels/val/c.txt": CAT,
}
ROBOFLOW = {
    "train/images/a.jpg": "",
    "valid/images/b.jpg": "",
    "test/images/c.jpg": "",
    "train/labels/a.txt": CAT,
    "valid/labels/b.txt": CAT,
    "test/labels/c.txt": CAT,
    "README.roboflow.txt": "hello\n",
    "README.dataset.txt": "1 2 3\n",
}
FLAT = {"a.jpg": "", "b.jpg": "", "a.txt": CAT, "b.TXT": CAT}

SETS: dict[str, tuple[dict[str, str], dict[str, int | None], tuple[str, ...]]] = {
    "Ultralytics": (
        ULTRALYTICS | {"data.yaml": "path: .\ntrain: images/train\nval: images/val\ntest: # none\nnames: [cat]\n"},
        {"images/train/a.jpg": 0, "images/train/deep/b.jpg": 0, "images/val/c.jpg": 1},
        (),
    ),
    "absolute path of another computer": (
        ULTRALYTICS | {"coco8.yaml": "path: /home/me/sets/coco8\ntrain: images/train\nval: [images/val]\nnames: {0: cat}\n"},
        {"images/train/a.jpg": 0, "images/train/deep/b.jpg": 0, "images/val/c.jpg": 1},
        (
            "Paths in coco8.yaml do not exist here. Used instead: images/train for /home/me/sets/coco8/images/train, "
            "images/val for /home/me/sets/coco8/images/val.",
        ),
    ),
    "absolute path of Windows": (
        ULTRALYTICS | {"data.yaml": "train: C:\\me\\images\\train\nvalidation: ./images/val/\nnames: [cat]\nnc: 1\n"},
        {"images/train/a.jpg": 0, "images/train/deep/b.jpg": 0, "images/val/c.jpg": 1},
        ("Paths in data.yaml do not exist here. Used instead: images/train for C:\\me\\images\\train.",),
    ),
    "folder above": (
        {f"set/{name}": text for name, text in ULTRALYTICS.items()}
        | {"set/cfg/data.yaml": "path: ../\ntrain: images/train\nval: images/val\nnames: [cat]\n"},
        {"set/images/train/a.jpg": 0, "set/images/train/deep/b.jpg": 0, "set/images/val/c.jpg": 1},
        (),
    ),
    "Roboflow": (
        ROBOFLOW
        | {"data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../tests/images\nnc: 1\nnames: ['cat']\n"},
        {"train/images/a.jpg": 0, "valid/images/b.jpg": 1, "test/images/c.jpg": None},
        (
            "Paths in data.yaml do not exist here. Used instead: train/images for ../train/images, "
            "valid/images for ../valid/images.",
            "Paths in data.yaml do not exist and were ignored: test (../tests/images).",
        ),
    ),
    "Roboflow's Darknet": (
        {"train/a.jpg": "", "valid/b.jpg": "", "train/a.txt": CAT, "valid/b.txt": CAT}
        | {f"{split}/_darknet.labels": "cat\ndog\n" for split in ("train", "valid")},
        {"train/a.jpg": None, "valid/b.jpg": None},
        (),
    ),
    "CVAT": (
        {"obj_train_data/a.jpg": "", "obj_train_data/a.txt": CAT, "obj_valid_data/a.jpg": "", "obj_valid_data/a.txt": CAT}
        | {
            "obj.names": "cat\ndog\n\n",
            "obj.data": "classes=2\ntrain=data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup=backup/\n",
            "train.txt": "data/obj_train_data/a.jpg\n",
            "valid.txt": "data/obj_valid_data/a.jpg\r\n",
        },
        {"obj_train_data/a.jpg": 0, "obj_valid_data/a.jpg": 1},
        ("Paths in obj.data do not exist here. Used instead: train.txt for data/train.txt, valid.txt for data/valid.txt.",),
    ),
    "lists of Ultralytics": (
        ULTRALYTICS
        | {"train2017.txt": "./images/train/a.jpg\n./images/train/deep/b.jpg\n", "lists/v.txt": "/x/y/images/val/c.jpg"}
        | {"data.yaml": "path: ../set\ntrain: train2017.txt\nval: ../set/lists/v.txt\nnames: [cat]\n"},
        {"images/train/a.jpg": 0, "images/train/deep/b.jpg": 0, "images/val/c.jpg": 1},
        (
            "Paths in data.yaml do not exist here. Used instead: train2017.txt for ../set/train2017.txt, "
            "lists/v.txt for ../set/../set/lists/v.txt.",
        ),
    ),
    "lists that nothing names": (
        FLAT | {"classes.txt": "cat\n", "Train.txt": "a.jpg", "test.txt": "data\\b.jpg\n", "val.txt": ""},
        {"a.jpg": 0, "b.jpg": 2},
        (),
    ),
    "labelImg": (
        FLAT | {"classes.txt": "\ufeffcat \r\ndog\r\n", "predefined_classes.txt": "person\ncar\n", "notes.txt": "to do"},
        {"a.jpg": None, "b.jpg": None},
        (),
    ),
    "other files": (
        FLAT
        | {"classes.txt": "cat\n", "requirements.txt": "torch\n", "labels.cache": "x", "hyp.yaml": "lr0: 0.1\n", "x.data": "1"},
        {"a.jpg": None, "b.jpg": None},
        (),
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_classes_splits_and_pairs_of_exports(tmp_path: Path, name: str) -> None:
    files, splits, notes = SETS[name]
    found = read_data(tree(tmp_path, files))
    assert found.reader.format == "yolo"
    assert found.reasons == []
    assert found.splits == splits
    assert found.notes == notes
    boxes = {image: [CAT_BOX] for image in splits}
    if "images/train/deep/b.jpg" in str(files):
        boxes[next(image for image in splits if image.endswith("deep/b.jpg"))] = []
    assert found.boxes == boxes
    assert all(item.source is not None for item in found.items)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("0 0.375 0.375 0.5 0.5", CAT_BOX),
        ("\ufeff\r\n0.0\t0.375  0.375 0.5 0.5   \r\n\r\n", CAT_BOX),
        ("1 3.75e-1 .375 0.5 0.5 0.93", ("dog", *CAT_BOX[1:])),
        ("1. 0.375 0.375 0.5 0.5 17", ("dog", *CAT_BOX[1:])),
        ("0 0.625 0.5 0.125 0.125 0.3 0.625", CAT_BOX),
        ("0 0.125 0.125 0.625 0.125 0.625 0.625 0.125 0.625", CAT_BOX),
        ("0 0.99 0.5 0.05 0.5", ("cat", 61.76, 12.0, 64.0, 36.0)),
        ("0 0.125 0.5 0.2500001 1.0000001", ("cat", 0.0, 0.0, 16.0, 48.0)),
    ],
)
def test_lines(tmp_path: Path, text: str, box: Box) -> None:
    found = read_data(tree(tmp_path, {"a.jpg": "", "a.txt": text, "obj.names": "cat\ndog"}))
    assert found.reasons == []
    assert found.boxes == {"a.jpg": [box]}
    assert "-0.0" not in repr(found.boxes)


def test_labels_in_utf_16(tmp_path: Path) -> None:
    tree(tmp_path, {"a.jpg": ""})
    (tmp_path / "a.txt").write_text(CAT, "utf-16")
    (tmp_path / "classes.txt").write_text("Köter\n", "utf-16")
    assert read_data(tmp_path).boxes == {"a.jpg": [("Köter", *CAT_BOX[1:])]}


def test_key_points_are_no_outline(tmp_path: Path) -> None:
    files = {"a.jpg": "", "a.txt": CAT.strip() + " 0.9 0.9 2 0.1 0.1 1", "data.yaml": "kpt_shape: [2, 3]\nnames: [cat]"}
    assert read_data(tree(tmp_path, files)).boxes == {"a.jpg": [CAT_BOX]}


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    tree(tmp_path, {"a.txt": "0 0.5 0.25 0.5 0.5", "classes.txt": "cat"})
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", picture("a"), exif=exif)
    assert read_data(tmp_path).boxes == {"a.jpg": [("cat", 12.0, 0.0, 36.0, 32.0)]}


BAD: dict[str, tuple[str, str, str]] = {
    "unknown class": (
        "7 0.5 0.5 0.1 0.1",
        "unknown_class",
        "line 1 has the class 7, but classes.txt names only the classes 0 to 1",
    ),
    "negative class": ("-1 0.5 0.5 0.1 0.1", "unknown_class", "line 1 has the class -1, but"),
    "half a class": (CAT + "0.5 0.5 0.5 0.1 0.1", "unknown_class", "line 2 has the class 0.5, but"),
    "huge class": (f"{'9' * 5000} 0.5 0.5 0.1 0.1", "unknown_class", "9999, but classes.txt"),
    "class by name": ("cat 0.5 0.5 0.1 0.1", "broken_labels", "line 1 begins with 'cat', which is no class id"),
    "cut short": (CAT + "0 0.5 0.5", "broken_labels", "line 2 has 2 numbers after its class, neither a box (4) nor"),
    "only a class": ("0", "broken_labels", "line 1 has 0 numbers after its class"),
    "odd outline": ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "broken_labels", "line 1 has 7 numbers after its class"),
    "a word": ("0 0.5 left 0.1 0.1", "box_incomplete", "line 1 has 'left' where a number should be"),
    "underscore": ("0 0.5 0_5 0.1 0.1", "box_incomplete", "line 1 has '0_5' where a number should be"),
    "NaN": ("0 0.5 nan 0.1 0.1", "box_not_finite", "line 1 has nan, which is not finite"),
    "NaN in an outline": ("0 0.1 0.1 0.5 0.5 nan 0.3", "box_not_finite", "line 1 has nan, which is not finite"),
    "infinity": ("0 0.5 0.5 1e999 0.1", "box_not_finite", "line 1 has 1e999, which is not finite"),
    "pixels": ("0 32 24 10 10", "box_outside", "line 1 has 32, but numbers must be shares of the image, from 0 to 1"),
    "outside": ("0 1.2 0.5 0.1 0.1", "box_outside", "is outside the image of 64×48"),
    "no area": ("0 0.5 0.5 0 0.1", "box_without_area", "has no area"),
    "negative side": ("0 0.5 0.5 -0.1 0.1", "box_upside_down", "is upside down"),
    "JSON": ('{"shapes": []}', "broken_labels", "which is no class id"),
    "zeros": ("\0\0\0\0", "broken_labels", "which is no class id"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines_are_named_and_their_image_is_left_out(tmp_path: Path, name: str) -> None:
    text, kind, reason = BAD[name]
    found = read_data(tree(tmp_path, FLAT | {"classes.txt": "cat\ndog\n", "bad.jpg": "", "bad.txt": text}))
    assert found.kinds == [kind]
    assert found.reasons[0].startswith("bad.txt: ") and reason in found.reasons[0]
    assert set(found.objects) == {"a.jpg", "b.jpg"}


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    tree(tmp_path, FLAT | {"classes.txt": "cat\ndog\n", "bad.jpg": ""})
    (tmp_path / "bad.txt").write_bytes(b"0 0.5 0.5 0.1 \xff")
    assert read_data(tmp_path).reasons == ["bad.txt: it is not text in UTF-8 (byte 15)"]


def test_labels_without_image_and_images_without_labels(tmp_path: Path) -> None:
    found = read_data(tree(tmp_path, FLAT | {"classes.txt": "cat\n", "c.jpg": "", "d.txt": CAT, "e.txt": ""}))
    assert found.kinds == ["missing_picture", "missing_picture"]
    assert [fault.partition(":")[0] for fault in found.reasons] == ["d.txt", "e.txt"]
    assert next(item for item in found.items if item.image == "c.jpg").source is None


def test_labels_of_images_that_are_all_missing(tmp_path: Path) -> None:
    found = read_data(tree(tmp_path, {"classes.txt": "cat\n", "c.jpg": "", "d.txt": CAT}))
    assert found.kinds == ["missing_picture"]


def test_an_image_in_two_splits_is_in_none(tmp_path: Path) -> None:
    files = FLAT | {"classes.txt": "cat\n", "train.txt": "a.jpg\nb.jpg\nc.jpg\nd.jpg", "val.txt": "b.jpg\n"}
    found = read_data(tree(tmp_path, files))
    assert found.splits == {"a.jpg": 0}
    assert found.reasons == [
        "b.jpg: train.txt gives it to train, and val.txt to validation",
        "train.txt: its image c.jpg is missing, and so is 1 other",
    ]
    data = ULTRALYTICS | {"data.yaml": "train: images\nval: images/val\nnames: [cat]\n"}
    found = read_data(tree(tmp_path / "nested", data))
    assert found.reasons == ["images/val/c.jpg: train in data.yaml gives it to train, and val in data.yaml to validation"]
    assert found.splits == {"images/train/a.jpg": 0, "images/train/deep/b.jpg": 0}


QUESTIONS: dict[str, tuple[dict[str, str], ExitCode, str]] = {
    "two lists": (
        {"classes.txt": "dog\ncat\n", "data.yaml": "names: [cat, dog]"},
        ExitCode.USAGE,
        "The class lists data.yaml and classes.txt differ: class 0 is 'cat' in the first and 'dog' in the second.",
    ),
    "a shorter list": (
        {"train/classes.txt": "cat\ndog\n", "test/classes.txt": "cat"},
        ExitCode.USAGE,
        "lists test/classes.txt and train/classes.txt differ: class 1 is missing in the first and 'dog' in the second.",
    ),
    "nc": ({"data.yaml": "nc: 3\nnames: [cat]"}, ExitCode.USAGE, "data.yaml says nc: 3, but it names 1 class."),
    "classes": (
        {"obj.data": "classes=1\nnames = a/obj.names", "obj.names": "cat\ndog"},
        ExitCode.USAGE,
        "obj.data says classes: 1, but obj.names names 2 classes.",
    ),
    "a class twice": ({"data.yaml": "names: {0: cat, 0: dog}"}, ExitCode.USAGE, "names the class 0 twice: cat and dog"),
    "one folder twice": (
        {"data.yaml": "train: .\nval: .\nnames: [cat]"},
        ExitCode.USAGE,
        "data.yaml gives the data folder as train and as val.",
    ),
    "two divisions": (
        {"1.yaml": "train: 1.txt\nnames: [cat]", "2.yaml": "train: 2.txt\nnames: [cat]", "1.txt": "a.jpg", "2.txt": "b.jpg"},
        ExitCode.USAGE,
        "1.yaml and 2.yaml divide the images into different splits.",
    ),
    "no list": ({}, ExitCode.DATA, "Nothing says what the classes of the YOLO labels are, such as those in a.txt."),
    "no names": ({"data.yaml": "nc: 1\ntrain: ."}, ExitCode.DATA, "Nothing says what the classes"),
    "an empty list": ({"classes.txt": "\n"}, ExitCode.DATA, "Nothing says what the classes"),
    "only suggestions": ({"predefined_classes.txt": "cat"}, ExitCode.DATA, "Nothing says what the classes"),
    "broken YAML": ({"data.yaml": "names: [cat"}, ExitCode.DATA, "data.yaml cannot be read: the YAML is broken"),
    "deep YAML": ({"data.yaml": "names: " + "[" * 2000}, ExitCode.DATA, "data.yaml cannot be read: the YAML is nested too"),
    "control characters": ({"data.yaml": "names: [\0]"}, ExitCode.DATA, "data.yaml cannot be read: the YAML is broken"),
    "half a character": ({"data.yaml": 'names: ["\\ud800"]'}, ExitCode.DATA, "class 0 has half a character"),
    "no character": ({"data.yaml": 'names: ["\\UFFFFFFFF"]'}, ExitCode.DATA, "the YAML is broken"),
    "names are a text": ({"data.yaml": "names: cat"}, ExitCode.DATA, "its names are neither a list nor a mapping"),
    "a name is a list": ({"data.yaml": "names: [[cat]]"}, ExitCode.DATA, "the name of its class 0 is not a text"),
    "a list in itself": ({"data.yaml": "names: &a [*a]"}, ExitCode.DATA, "the name of its class 0 is not a text"),
    "ids by name": ({"data.yaml": "names: {cat: 0}"}, ExitCode.DATA, "its names have the key 'cat', which is no class id"),
    "train is a mapping": ({"data.yaml": "names: [cat]\ntrain: {a: b}"}, ExitCode.DATA, "its train is neither a text nor"),
    "huge": ({"data.yaml": "names: [cat]\n" + "#" * 200_000}, ExitCode.DATA, "it has more than 200,000 bytes"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_contradictions_and_broken_class_lists(tmp_path: Path, name: str) -> None:
    files, code, words = QUESTIONS[name]
    with pytest.raises(BoxcarError) as caught:
        read_data(tree(tmp_path, FLAT | files))
    assert caught.value.code == code
    assert words in caught.value.what


def test_a_class_list_that_is_not_in_utf_8(tmp_path: Path) -> None:
    tree(tmp_path, FLAT)
    (tmp_path / "classes.txt").write_bytes("Köter".encode("latin-1"))
    with pytest.raises(BoxcarError, match=r"classes.txt cannot be read: it is not text in UTF-8 \(byte 2\)"):
        read_data(tmp_path)


def test_a_path_without_end(tmp_path: Path) -> None:
    found = read_data(tree(tmp_path, FLAT | {"data.yaml": f"train: {'a/' * 50_000}\nnames: [cat, dog]\n"}))
    assert found.reasons == []
    assert len(found.notes[0]) < 500


@pytest.mark.parametrize(
    "extra",
    [
        {"classes.txt": "cat\n"},
        {"classes.txt": "cat\n", "notes.txt": "0 0.5\n", "p0.txt": "a cat on a mat"},
        {"data.yaml": "names: [cat]\n", "README.txt": "hello"},
        {"requirements.txt": "torch==2.0\n", "train.txt": "p0.jpg\n"},
    ],
)
def test_pascal_voc_is_not_taken_for_yolo(tmp_path: Path, extra: dict[str, str]) -> None:
    pair(tmp_path, "p0")
    tree(tmp_path, extra)
    assert find_reader(data_files(tmp_path)).reader.format == "voc"


def test_half_of_a_folder_in_each_format_is_a_question(tmp_path: Path) -> None:
    label(tmp_path / "c.xml")
    tree(tmp_path, FLAT | {"classes.txt": "cat\n", "c.jpg": ""})
    with pytest.raises(BoxcarError, match="labels of 2 formats") as caught:
        read_data(tmp_path)
    assert caught.value.code == ExitCode.USAGE


def test_empty_labels_are_recognized_by_their_class_list(tmp_path: Path) -> None:
    found = read_data(tree(tmp_path, {"a.jpg": "", "a.txt": "", "classes.txt": "cat"}))
    assert found.objects == {"a.jpg": []}
    assert found.items[0].source == "a.txt"


def test_damaged_labels_are_recognized_by_their_class_list(tmp_path: Path) -> None:
    assert read_data(tree(tmp_path, {"a.jpg": "", "a.txt": "?", "obj.names": "cat"})).kinds == ["broken_labels"]


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda data: (data / "data.yaml").write_text("train: [train]\nval: val.txt\nnames: [dog]"), ("data.yaml",)),
        (lambda data: (data / "val.txt").write_text("train/a.jpg"), ("val.txt",)),
        (lambda data: (data / "train" / "a.txt").write_text(""), ("train/a.txt",)),
        (lambda data: (data / "notes.txt").write_text("other"), ()),
    ],
)
def test_changed_classes_and_splits_are_other_data(
    tmp_path: Path, change: Callable[[Path], None], changed: tuple[str, ...]
) -> None:
    files = {"train/a.jpg": "", "train/a.txt": CAT, "b.jpg": "", "b.txt": "", "notes.txt": "x", "val.txt": "b.jpg"}
    tree(tmp_path, files | {"data.yaml": "train: [train]\nval: val.txt\nnames: [cat]"})

    def digests() -> list[bytes]:
        found = read_data(tmp_path)
        return [found.reader.digest((tmp_path / item.source).read_bytes()) for item in found.items if item.source]

    before, known = digests(), index_files(str(tmp_path), None)
    assert {name for name, file in known.files.items() if file.labeled} == {"train/a.jpg", "b.jpg"}
    change(tmp_path)
    assert compare(known, index_files(str(tmp_path), known)).changed == changed
    assert (digests() != before) == bool(changed)


READER = YoloReader(Layout(frozenset(), "obj.names", {0: "cat", 3: "dog"}, (), False, b"", ()))
_VALUE = st.sampled_from(
    ["0", "3", "7", "-1", "0.5", "1e400", "nan", "x", "1_0", "9" * 30, "\u0663", "0.0", "\x85"]
) | st.floats(0, 1).map(str)


@settings(deadline=2000, max_examples=300)
@given(
    st.binary(max_size=100) | st.lists(st.lists(_VALUE, max_size=9).map(" ".join), max_size=4).map("\n".join).map(str.encode)
)
def test_any_bytes_give_an_annotation_or_a_fault(content: bytes) -> None:
    assert len(READER.digest(content)) == 32
    try:
        annotation = READER.read(content)
    except FaultyError as error:
        assert error.reason
        return
    sound, _, _, problems, _ = checked_objects(annotation, 64, 48)
    assert len(sound) + len(problems) == len(annotation.objects)
    for item in sound:
        assert 0 <= item.xmin < item.xmax <= 64
        assert 0 <= item.ymin < item.ymax <= 48


@settings(deadline=2000, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["data.yaml", "obj.names", "obj.data", "train.txt"]),
        st.binary(max_size=80)
        | st.lists(
            st.sampled_from(
                [
                    "names",
                    ":",
                    "=",
                    "train",
                    "[",
                    "]",
                    "{",
                    "}",
                    "\n",
                    " ",
                    "a.jpg",
                    "obj.names",
                    "..",
                    "/",
                    "&a",
                    "*a",
                    "0",
                    "- ",
                    "nc",
                    "2",
                ]
            ),
            max_size=12,
        )
        .map("".join)
        .map(str.encode),
    )
)
def test_any_class_lists_give_a_reader_or_an_error(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.jpg").touch()
    (folder / "a.txt").write_text(CAT)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        read_data(folder)
    except BoxcarError as error:
        assert error.code in (ExitCode.USAGE, ExitCode.DATA)
