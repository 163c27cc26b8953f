"""Every fault in a data set is found, named by file and reason, and all of them are listed at once."""

import ctypes
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from labelled import data_set, label, pair, picture, save
from PIL import Image

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records
from boxcar.records.check import Batch, check, open_data_file
from boxcar.records.checked import ROW, Row
from boxcar.records.faults import Fault
from boxcar.records.formats.voc import VocReader
from boxcar.records.images import is_image
from boxcar.records.listing import list_names
from boxcar.records.reader import Item, Listing
from boxcar.records.source import image_names

BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
    "<annotation><filename>&c;</filename></annotation>"
)


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _box(*sides: object, name: str = "cat") -> Callable[[Path], None]:
    return lambda folder: pair(folder, "bad", [("cat", 1, 1, 9, 9), (name, *sides)]) and None


def _missing_side(folder: Path) -> None:
    pair(folder, "bad")
    text = (folder / "bad.xml").read_text().replace("<ymax>30</ymax>", "")
    (folder / "bad.xml").write_text(text)


def _no_box(folder: Path) -> None:
    pair(folder, "bad", [])
    text = (folder / "bad.xml").read_text().replace("</annotation>", "<object><name>cat</name></object></annotation>")
    (folder / "bad.xml").write_text(text)


def _large_header(folder: Path) -> None:
    """A PNG that says it has 100,000 × 100,000 pixels."""
    save(folder / "bad.png", Image.new("L", (1, 1)))
    content = (folder / "bad.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 100_000, 100_000) + content[24:29]
    (folder / "bad.png").write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


def _text(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        pair(folder, "bad")
        (folder / name).write_bytes(content)

    return write


def _without_picture(folder: Path) -> None:
    label(folder / "bad.xml")


def _truncated(folder: Path) -> None:
    _cut(pair(folder, "bad"), 0.7)


def _truncated_png(folder: Path) -> None:
    save(folder / "bad.png", picture("bad"))
    _cut(folder / "bad.png", 0.7)


def _wrong_size(folder: Path) -> None:
    pair(folder, "bad")
    label(folder / "bad.xml", size=(48, 64))


def _same_stem(folder: Path) -> None:
    pair(folder, "good")
    save(folder / "good.png", picture("other"))


def _two_annotations(folder: Path) -> None:
    pair(folder, "good")
    label(folder / "bad.xml", filename="good.jpg")


def _dangling(folder: Path) -> None:
    (folder / "bad.jpg").symlink_to(folder / "nowhere.jpg")


def _loop(folder: Path) -> None:
    (folder / "bad.jpg").symlink_to(folder / "bad.jpg")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad.jpg")


FAULTS: dict[str, tuple[Callable[[Path], None], str, str, str]] = {
    "broken XML": (_text("bad.xml", b"<annotation><object>"), "bad.xml", "broken_labels", "the XML is broken"),
    "empty XML": (_text("bad.xml", b""), "bad.xml", "broken_labels", "the XML is broken"),
    "other XML": (_text("bad.xml", b"<svg/>"), "bad.xml", "broken_labels", "<svg>, not <annotation>"),
    "unknown encoding": (_text("bad.xml", b'<?xml version="1.0" encoding="x-y"?><a/>'), "bad.xml", "broken_labels", ""),
    "size in words": (
        _text("bad.xml", b"<annotation><size><width>wide</width></size></annotation>"),
        "bad.xml",
        "broken_labels",
        "no whole <width> and <height>",
    ),
    "entity bomb": (_text("bad.xml", BOMB.encode()), "bad.xml", "dangerous_xml", "declares entities"),
    "entity bomb in UTF-16": (_text("bad.xml", BOMB.encode("utf-16")), "bad.xml", "dangerous_xml", "declares entities"),
    "outer entity": (
        _text("bad.xml", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'),
        "bad.xml",
        "dangerous_xml",
        "declares entities",
    ),
    "huge XML": (_text("bad.xml", b"<annotation>" + b" " * 10_000_000), "bad.xml", "labels_too_large", "10,000,000"),
    "missing picture": (
        _without_picture,
        "bad.xml",
        "missing_picture",
        'its image is missing: none is named "bad" or "bad.jpg"',
    ),
    "truncated JPEG": (_truncated, "bad.jpg", "truncated_picture", "cannot be decoded to its end"),
    "truncated PNG": (_truncated_png, "bad.png", "truncated_picture", "cannot be decoded to its end"),
    "empty picture": (_text("bad.jpg", b""), "bad.jpg", "not_a_picture", "the file is empty"),
    "no picture": (_text("bad.jpg", b"hello"), "bad.jpg", "not_a_picture", "not a JPEG, PNG, BMP, GIF, TIFF, or WebP"),
    "picture bomb": (_large_header, "bad.png", "picture_too_large", "100000×100000"),
    "link to nothing": (_dangling, "bad.jpg", "not_a_picture", "a broken link"),
    "link to itself": (_loop, "bad.jpg", "not_a_picture", "a broken link"),
    "named pipe": (_pipe, "bad.jpg", "not_a_picture", "it is not a file"),
    "wrong size": (_wrong_size, "bad.xml", "size_mismatch", "it says 48×64, the image is 64×48"),
    "no class name": (_box(1, 1, 9, 9, name=" "), "bad.xml", "no_class_name", "box 2 has no class name"),
    "missing side": (_missing_side, "bad.xml", "box_incomplete", "box 1 (cat) has no ymax"),
    "missing box": (_no_box, "bad.xml", "box_incomplete", "box 1 (cat) has no xmin"),
    "side in words": (_box("left", 1, 9, 9), "bad.xml", "box_incomplete", "'left' as its xmin"),
    "underscore": (_box("1_0", 1, 19, 9), "bad.xml", "box_incomplete", "'1_0' as its xmin"),
    "NaN": (_box("nan", 1, 9, 9), "bad.xml", "box_not_finite", "is not finite"),
    "infinity": (_box(1, 1, 9, "1e999"), "bad.xml", "box_not_finite", "is not finite"),
    "upside down": (_box(1, 9, 9, 1), "bad.xml", "box_upside_down", "[1, 9, 9, 1] is upside down"),
    "left for right": (_box(9, 1, 1, 9), "bad.xml", "box_upside_down", "is upside down"),
    "no area": (_box(5, 5, 5, 9), "bad.xml", "box_without_area", "[5, 5, 5, 9] has no area"),
    "outside, right": (_box(10, 10, 67, 20), "bad.xml", "box_outside", "outside the image of 64×48"),
    "outside, above": (_box(10, -2.5, 20, 20), "bad.xml", "box_outside", "outside the image"),
    "outside altogether": (_box(64.5, 1, 66, 9), "bad.xml", "box_outside", "outside the image"),
    "two pictures, one name": (_same_stem, "good.png", "same_stem", "good.xml could be its annotation or that of good.jpg"),
    "two XML files": (_two_annotations, "bad.xml", "two_annotations", "good.jpg, which good.xml already describes"),
}


def _checked(data: Path) -> tuple[list[Fault], int]:
    """The faults of a folder and the number of its sound images, found in this process instead of the workers."""
    reader, open_file = VocReader(), partial(open_data_file, data)
    names = [name for name in list_names(data, data / "none").names if is_image(name) or reader.is_annotation(name)]
    found = list(reader.items(Listing(names, partial(image_names, data, reader), open_file)))
    items = [item for item in found if isinstance(item, Item)]
    checked = check(Batch(data, reader, items, full_decode=True))
    faults = [item for item in found if isinstance(item, Fault)] + checked.faults
    return faults, sum(row.sound for row in map(Row._make, ROW.iter_unpack(checked.rows)))


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_by_file_and_reason(tmp_path: Path, name: str) -> None:
    spoil, file, kind, reason = FAULTS[name]
    data = data_set(tmp_path / "data", 2)
    spoil(data)
    (fault,), sound = _checked(data)
    assert (fault.file, fault.kind) == (file, kind)
    assert reason in fault.reason
    assert sound == 2 + (data / "good.jpg").exists()


def test_all_faults_stop_the_step_or_are_left_out(tmp_path: Path) -> None:
    """Each fault once, in a folder of its own."""
    expected = {}
    for number, (spoil, file, kind, _) in enumerate(FAULTS.values()):
        spoil(data_set(tmp_path / "data" / f"{number:02}", 2))
        expected[f"{number:02}/{file}"] = kind
    with pytest.raises(BoxcarError, match=f"{len(FAULTS)} faults") as caught:
        build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.DATA
    assert sorted(line.split(": ")[0] for line in caught.value.details) == sorted(expected)
    assert not (tmp_path / "out").exists()

    committed = build_records(str(tmp_path / "data"), str(tmp_path / "out"), on_fault="skip")
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert {fault["file"]: fault["kind"] for fault in dataset["faults"]} == expected
    assert {fault["done"] for fault in dataset["faults"]} == {"left out"}
    good = len(list((tmp_path / "data").glob("*/good.jpg")))
    assert sum(split["pictures"] for split in dataset["splits"].values()) == 2 * len(FAULTS) + good
    assert "dataset.json" in committed.files


def test_five_faults_give_five_lines(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    (data / "p0.xml").write_text("<annotation>")
    _cut(data / "p1.jpg", 0.5)
    label(data / "p2.xml", boxes=[("cat", 5, 5, 5, 5), ("dog", 9, 9, 1, 1)])
    label(data / "alone.xml")
    with pytest.raises(BoxcarError) as caught:
        build_records(str(data), str(tmp_path / "out"))
    files = [line.split(":")[0] for line in caught.value.details]
    assert files == ["alone.xml", "p0.xml", "p1.jpg", "p2.xml", "p2.xml"]
    assert "5 faults" in caught.value.what
    assert "--on-fault skip" in caught.value.do


def test_truncation_is_seen_without_full_decode_too(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    _cut(data / "p1.jpg", 0.9)
    with pytest.raises(BoxcarError) as caught:
        build_records(str(data), str(tmp_path / "out"), full_decode=False)
    assert caught.value.details == ("p1.jpg: the JPEG is cut off: it has no end marker",)


def test_boxes_that_stand_out_a_little_are_clipped_and_counted(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    label(data / "p0.xml", boxes=[("cat", -1, 0, 20, 20), ("cat", 10, 10, 66, 50), ("cat", 0, 0, 64, 48)])
    build_records(str(data), str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["clipped_boxes"] == 2


def test_a_single_example_is_a_warning(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data")
    label(data / "p0.xml", boxes=[("dog", 1, 1, 20, 20)])
    build_records(str(data), str(tmp_path / "out"))
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert "The class dog has one example only." in dataset["warnings"]
    assert dataset["faults"] == []


def test_byte_identical_pictures_in_two_split_folders_do_not_stop_the_step(tmp_path: Path) -> None:
    for split in ("train", "Validation", "test"):
        data_set(tmp_path / "data" / split, 0)
        for number in range(3):
            pair(tmp_path / "data" / split, f"{split}{number}")
    for split in ("train", "Validation"):
        copy = tmp_path / "data" / split / "copy"
        copy.with_suffix(".jpg").write_bytes((tmp_path / "data" / "test" / "test0.jpg").read_bytes())
        label(copy.with_suffix(".xml"))
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert [(fault["file"], fault["kind"], fault["done"]) for fault in dataset["faults"]] == [
        ("Validation/copy.jpg", "duplicate_across_splits", "kept in test only"),
        ("train/copy.jpg", "duplicate_across_splits", "kept in test only"),
    ]
    assert {name: split["pictures"] for name, split in dataset["splits"].items()} == dict.fromkeys(dataset["splits"], 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda data: None, "holds no image."),
        (lambda data: label(data / "a.xml"), "only 1 label file."),
        (lambda data: [save(data / f"{n}.jpg", picture(n)) for n in range(4)], "contains no labeled box"),
        (lambda data: data_set(data, 2), "too few distinct images: 2"),
    ],
)
def test_a_folder_without_what_is_needed_is_65(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    with pytest.raises(BoxcarError) as caught:
        build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    assert caught.value.code == ExitCode.DATA
    assert words in caught.value.what
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"data": "nowhere"},
        {"data": "p0.jpg"},
        {"on_fault": "ignore"},
        {"validation_fraction": 0.0},
        {"test_fraction": 1.0},
        {"validation_fraction": 0.5, "test_fraction": 0.5},
        {"validation_fraction": float("nan")},
        {"label_map": "nowhere.pbtxt"},
        {"label_map": "ftp://host/label_map.pbtxt"},
    ],
)
def test_a_wrong_option_is_64(tmp_path: Path, options: dict[str, object]) -> None:
    data = data_set(tmp_path / "data", 3)
    if "data" in options:
        options = {"data": str(data / str(options["data"]))}
    with pytest.raises(BoxcarError) as caught:
        build_records(**{"data": str(data), "output": str(tmp_path / "out"), **options})  # type: ignore[arg-type]
    assert caught.value.code == ExitCode.USAGE
    assert not (tmp_path / "out").exists()


def _in_child(data: Path, output: Path, before: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    """Runs the step in a new process after the code `before`. Prints the exit code and the message."""
    code = (
        "import sys\nfrom boxcar.errors import BoxcarError\nfrom boxcar.records import build_records\n"
        "try:\n    build_records(*sys.argv[1:])\nexcept BoxcarError as error:\n    print(int(error.code), error.what)\n"
    )
    # -B: under a limit for files, Python would write bytecode that is cut off, and others would read it.
    command = [sys.executable, "-B", "-c", code, str(data), str(output)]
    return subprocess.run(command, preexec_fn=before, capture_output=True, text=True, check=True)


def _obey_permissions() -> None:
    """Drops root's two capabilities to ignore a file's permission bits."""
    if os.geteuid() == 0:
        drop_from_bounding_set = 24
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) == 0


def test_no_permission_is_69(tmp_path: Path) -> None:
    folder = tmp_path
    data = data_set(folder / "data", 3)
    (folder / "locked").mkdir(mode=0o555)
    answer = _in_child(data, folder / "locked" / "out", _obey_permissions)
    assert answer.stdout.startswith("69 ")
    assert "locked" in answer.stdout
    assert "Permission denied" in answer.stdout

    (data / "p1.jpg").chmod(0)
    answer = _in_child(data, folder / "out", _obey_permissions)
    assert answer.stdout.startswith("69 ")
    assert "p1.jpg cannot be read" in answer.stdout


def test_a_full_disk_is_69_and_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in range(12):
        save(data / f"{number}.bmp", picture(number, (400, 300)))
        label(data / f"{number}.xml", (400, 300))
    # A limit on file sizes refuses the write as a full disk does, without the rights that mounting one needs.
    answer = _in_child(data, tmp_path / "out", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert answer.stdout.startswith("69 ")
    assert "tfrecord cannot be written" in answer.stdout
    assert not (tmp_path / "out").exists()


def test_a_full_temporary_folder_is_69_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_set(tmp_path / "data", 3)
    label(data / "p0.xml", boxes=[("cat", 8, 6, 40 - number / 100, 30) for number in range(500)])
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    answer = _in_child(data, tmp_path / "out", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)))
    assert answer.stdout == f"69 Temporary files in {tmp_path}/scratch cannot be written: File too large.\n"
    assert not (tmp_path / "out").exists()


def test_labelled_pictures_that_are_copies_of_unlabelled_ones_are_65(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data" / "train", 4)
    for path in data.glob("*.xml"):
        if path.stem != "p0":
            label(path, boxes=[])
    (tmp_path / "data" / "test").mkdir()
    shutil.copy(data / "p0.jpg", tmp_path / "data" / "test" / "p0.jpg")
    with pytest.raises(BoxcarError, match="no labeled box without a fault") as caught:
        build_records(str(tmp_path / "data"), str(tmp_path / "out"), unlabeled="background")
    assert caught.value.code == ExitCode.DATA
    assert not (tmp_path / "out").exists()
