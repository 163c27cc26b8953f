"""CSV tables of every kind are read, and what cannot be read is named."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import Box, pair, picture, save
from read_data import data_files, read_data

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records
from boxcar.records.formats import csv_table, find_reader
from boxcar.retraining.changes import compare, index_files

COURSE = "filename,width,height,class,xmin,ymin,xmax,ymax"
OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded"
CAT = "64,48,cat,8,6,40,30"
BOX = ("cat", 8.0, 6.0, 40.0, 30.0)
BOXES: list[list[Box]] = [
    [("cat", 8, 6, 40, 30)],
    [("cat", 0, 0, 63, 47), ("dog", 5, 7, 11, 13)],
    [("dog", 1, 2, 64, 48)],
    [],
    [("dog", 3, 3, 60, 45), ("dog", 3, 3, 9, 9)],
    [("cat", 33, 1, 34, 2)],
]


def tree(root: Path, tables: dict[str, str], images: tuple[str, ...] = ("a.jpg", "b.jpg", "c.jpg")) -> Path:
    for name in images:
        save(root / name, picture(name))
    for name, text in tables.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return root


def _course(name: str, boxes: list[Box]) -> list[str]:
    return [f"{name},64,48,{','.join(map(str, box))}" for box in boxes] or [f"{name},64,48,,,,,"]


def _shares(box: Box) -> list[str]:
    return [f"{float(str(side)) / whole:.6f}" for side, whole in zip(box[1:], (64, 48, 64, 48), strict=True)]


def _open_images(name: str, boxes: list[Box]) -> list[str]:
    rows = [(box[0], *_shares(box)) for box in boxes]
    stem = name.partition(".")[0]
    return [f"{stem},xclick,{cat},1,{x0},{x1},{y0},{y1},0" for cat, x0, y0, x1, y1 in rows] or [f"{stem},xclick,,,,,,,"]


def _automl(name: str, boxes: list[Box]) -> list[str]:
    rows = [(box[0], *_shares(box)) for box in boxes]
    path = f"UNASSIGNED,gs://bucket/some/{name}"
    return [f"{path},{cat},{x0},{y0},,,{x1},{y1},," for cat, x0, y0, x1, y1 in rows] or [f"{path},,,,,,,,,"]


KINDS: dict[str, tuple[str, Callable[[str, list[Box]], list[str]]]] = {
    "course": (COURSE, _course),
    "Open Images": (OPEN_IMAGES, _open_images),
    "AutoML": ("", _automl),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_boxes_as_xml_and_as_csv_are_the_same_data_set(tmp_path: Path, kind: str) -> None:
    header, lines = KINDS[kind]
    rows = []
    (tmp_path / "csv").mkdir()
    for number, boxes in enumerate(BOXES):
        image = pair(tmp_path / "voc", f"p{number}", boxes)
        (tmp_path / "csv" / image.name).write_bytes(image.read_bytes())
        rows += lines(image.name, boxes)
    rows = rows[1::2] + rows[::2]  # the lines of an image are not together
    (tmp_path / "csv" / "labels.csv").write_text("".join(f"{row}\n" for row in ([header] if header else []) + rows))
    versions = []
    for name in ("voc", "csv"):
        build_records(str(tmp_path / name), str(tmp_path / f"out-{name}"))
        dataset = json.loads((tmp_path / f"out-{name}" / "dataset.json").read_text())
        versions.append(dataset["version"])
        assert dataset["pictures_without_xml"] == 0
    assert versions[0] == versions[1]


TABLES: dict[str, str] = {
    "course": f"{COURSE}\na.jpg,{CAT}\n",
    "without sizes": "class,filename,xmin,ymin,xmax,ymax\ncat,a.jpg,8,6,40,30\n",
    "index of pandas": f",{COURSE}\n0,a.jpg,{CAT}\n",
    "semicolons": f"{COURSE}\na.jpg,{CAT}\n".replace(",", ";"),
    "decimal commas": f"{COURSE}\na.jpg,64,48,cat,8.0,6.00,4e1,30.\n".replace(",", ";")
    .replace("8.0", "8,0")
    .replace("6.00", "6,00"),
    "tabs": f"{COURSE}\na.jpg,{CAT}\n".replace(",", "\t"),
    "byte order mark and CRLF": f"\ufeff{COURSE}\r\na.jpg,{CAT}\r\n\r\n",
    "old Mac": f"{COURSE}\ra.jpg,{CAT}\r",
    "quotes": '"FileName","width","height","class","xmin","ymin","xmax","ymax"\n"a.jpg","64","48"," cat ","8","6","40","30"\n',
    "blanks": COURSE.replace(",", " , ") + "\n\n a.jpg , 64, 48, cat, 8, 6, 40, 30 ,, \n",
    "path of Windows": f"{COURSE}\nC:\\Users\\me\\images\\a.jpg,{CAT}\n",
    "another suffix": f"{COURSE}\nimages/a.png,{CAT}\n",
    "no suffix, other case": f"{COURSE}\nA,{CAT}\n",
    "size 0": f"{COURSE}\na.jpg,0,0,cat,8,6,40,30\n",
    "Open Images": f"{OPEN_IMAGES}\na,xclick,cat,1,0.125,0.625,0.125,0.625,0\n",
    "Open Images, other order": "ImageID,XMin,YMin,XMax,YMax,LabelName\na,0.125,0.125,0.625,0.625,cat\n",
    "AutoML": "UNASSIGNED,gs://x/a.jpg,cat,0.125,0.125,,,0.625,0.625,,\n",
    "AutoML, four corners": ",gs://x/a.jpg,cat,0.125,0.125,0.625,0.125,0.625,0.625,0.125,0.625\n",
    "AutoML, short lines": "UNASSIGNED,gs://x/c.jpg\nUNASSIGNED,gs://x/a.jpg,cat,0.125,0.125,,,0.625,0.625\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path: Path, name: str) -> None:
    found = read_data(tree(tmp_path, {"labels.CSV": TABLES[name]}))
    assert found.reader.format == "csv"
    assert found.reasons == []
    assert found.boxes == {"a.jpg": [BOX], "b.jpg": [], "c.jpg": []}
    assert {item.image for item in found.items if item.source is None} == {"b.jpg"} | ({"c.jpg"} - _named(name))


def _named(name: str) -> set[str]:
    return {"c.jpg"} if name == "AutoML, short lines" else set()


def test_a_table_in_utf_16_and_class_names_with_commas(tmp_path: Path) -> None:
    tree(tmp_path, {})
    text = f'{COURSE}\na.jpg,64,48,"Köter,  black",8,6,40,30\n'
    (tmp_path / "labels.csv").write_text(text, "utf-16")
    assert read_data(tmp_path).boxes["a.jpg"] == [("Köter, black", *BOX[1:])]


def test_splits(tmp_path: Path) -> None:
    tables = {
        f"{name}.csv": f"{COURSE}\n{stem}.jpg,{CAT}\n" for stem, name in zip("abc", ("train_labels", "Test", "x"), strict=True)
    }
    found = read_data(tree(tmp_path / "names", tables))
    assert found.splits == {"a.jpg": 0, "b.jpg": 2, "c.jpg": None}
    rows = (
        "TRAIN,a.jpg,cat,0,0,,,1,1,,\nvalidate,b.jpg,,,,,,,,,\nTEST,c.jpg,cat,0,0,,,1,1,,\nUNASSIGNED,d.jpg,cat,0,0,,,1,1,,\n"
    )
    found = read_data(tree(tmp_path / "sets", {"import.csv": rows}, ("a.jpg", "b.jpg", "c.jpg", "d.jpg")))
    assert found.splits == {"a.jpg": 0, "b.jpg": 1, "c.jpg": 2, "d.jpg": None}
    assert found.boxes["b.jpg"] == []
    table = {
        "validation-annotations-bbox.csv": f"{OPEN_IMAGES}\na,xclick,cat,1,0,1,0,1,0\n",
        "train_or_test.csv": f"{COURSE}\n",
    }
    assert read_data(tree(tmp_path / "open", table)).splits == {"a.jpg": 1, "b.jpg": None, "c.jpg": None}


def test_an_image_whose_lines_have_no_class_and_no_box_is_a_negative(tmp_path: Path) -> None:
    found = read_data(tree(tmp_path, {"labels.csv": f"{COURSE}\na.jpg,64,48,,,,,\nb.jpg,{CAT}\nb.jpg,,,,,,,\n"}))
    assert found.reasons == []
    assert found.boxes == {"a.jpg": [], "b.jpg": [BOX], "c.jpg": []}
    assert found.splits.keys() == {"a.jpg", "b.jpg", "c.jpg"}
    assert [item.image for item in found.items if item.source is None] == ["c.jpg"]


BAD: dict[str, tuple[str, str, str]] = {
    "a word": ("64,48,cat,left,6,40,30", "box_incomplete", "line 3 has 'left' as its xmin"),
    "missing side": ("64,48,cat,8,6,,30", "box_incomplete", "line 3 has no xmax"),
    "cut short": ("64,48,cat,8", "box_incomplete", "line 3 has no ymin"),
    "comma in a name": ("64,48,cat, black,8,6,40,30", "broken_labels", "line 3 has 9 values, but the table has 8 columns"),
    "NaN": ("64,48,cat,nan,6,40,30", "box_not_finite", "is not finite"),
    "huge": ("64,48,cat,8,6,1e999,30", "box_not_finite", "is not finite"),
    "upside down": ("64,48,cat,8,30,40,6", "box_upside_down", "is upside down"),
    "outside": ("64,48,cat,8,6,40,300", "box_outside", "outside the image of 64×48"),
    "no class": ("64,48,,8,6,40,30", "no_class_name", "box 1 has no class name"),
    "shares as pixels": ("64,48,cat,0.1,0.1,0.5,0.5", "broken_labels", "line 3 has a box with sides from 0 to 1"),
    "size in words": ("wide,48,cat,8,6,40,30", "broken_labels", "line 3 has 'wide' and '48' as width and height"),
    "infinite size": ("1e999,48,cat,8,6,40,30", "broken_labels", "line 3 has '1e999' and '48' as width and height"),
    "wrong size": ("640,480,cat,8,6,40,30", "size_mismatch", "it says 640×480, the image is 64×48"),
    "two sizes": (
        f"{CAT}\nbad.jpg,48,64,cat,8,6,40,30",
        "broken_labels",
        "line 4 says that the image is 48×64, and line 3 says 64×48",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines_are_named_and_their_image_is_left_out(tmp_path: Path, name: str) -> None:
    line, kind, reason = BAD[name]
    table = {"labels.csv": f"{COURSE}\na.jpg,{CAT}\nbad.jpg,{line}\n"}
    found = read_data(tree(tmp_path, table, ("a.jpg", "bad.jpg")))
    assert found.kinds == [kind]
    assert found.reasons[0].startswith("labels.csv: ") and reason in found.reasons[0]
    assert set(found.objects) == {"a.jpg"}


def test_images_that_are_missing_or_several(tmp_path: Path) -> None:
    table = f"{COURSE}\na.jpg,{CAT}\nx.jpg,{CAT}\nx.jpg,{CAT}\n,{CAT}\nb.jpg,{CAT}\nc,{CAT}\n"
    found = read_data(tree(tmp_path, {"labels.csv": table}, ("a.jpg", "1/b.jpg", "2/b.jpg", "c.jpg", "c.png")))
    assert found.reasons == [
        "labels.csv: line 3 names x.jpg, but there is no such image",
        "labels.csv: line 5 names no image",
        "labels.csv: line 6: b.jpg could be 1/b.jpg or 2/b.jpg",
        "labels.csv: line 7: c could be c.jpg or c.png",
    ]
    assert set(found.splits) == {"a.jpg"}, "an image that a line may be about is no image without objects"


def test_a_million_missing_images_are_a_thousand_faults(tmp_path: Path) -> None:
    rows = "".join(f"{number:016x},xclick,cat,1,0,1,0,1,0\n" for number in range(3000))
    found = read_data(tree(tmp_path, {"labels.csv": f"{OPEN_IMAGES}\n{rows}"}))
    assert len(found.reasons) == 1001
    assert "labels.csv: 2000 more lines name images that are not there" in found.reasons


TWICE: dict[str, tuple[dict[str, str], str]] = {
    "two tables": (
        {"1.csv": f"{COURSE}\na.jpg,{CAT}\n", "2.csv": f"{COURSE}\na.jpg,{CAT}\n"},
        "a.jpg: line 2 of 1.csv describes it, and so does line 2 of 2.csv",
    ),
    "two sets": (
        {"1.csv": "TRAIN,a.jpg,cat,0,0,,,1,1,,\nTEST,a.jpg,cat,0,0,,,1,1,,\nTEST,a.jpg,cat,0,0,,,1,1,,\n"},
        "a.jpg: line 1 of 1.csv gives it to train, and line 2 to test",
    ),
    "two images of one name": (
        {"1.csv": f"{COURSE}\n1/a.jpg,{CAT}\n2/a.jpg,{CAT}\n"},
        "a.jpg: it is the only image of two names: line 2 of 1.csv names 1/a.jpg, and line 3 names 2/a.jpg",
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_an_image_that_is_described_twice_is_in_no_item(tmp_path: Path, name: str) -> None:
    tables, fault = TWICE[name]
    found = read_data(tree(tmp_path, tables))
    assert found.reasons == [fault]
    assert found.kinds == ["two_annotations"]
    assert set(found.splits) == {"b.jpg", "c.jpg"}


def test_an_unknown_set_is_named(tmp_path: Path) -> None:
    rows = "TRAIN,a.jpg,cat,0,0,,,1,1,,\n" * 200 + "HOLDOUT,b.jpg,cat,0,0,,,1,1,,\n"
    found = read_data(tree(tmp_path, {"1.csv": rows}))
    assert "line 201 has the set 'HOLDOUT', which is not TRAIN, VALIDATE, TEST, or UNASSIGNED" in found.reasons[0]
    assert set(found.objects) == {"a.jpg", "c.jpg"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            f'{COURSE}\na.jpg,64,48,"cat,8,6,40,30\nb.jpg,{CAT}\n'.encode(),
            "it is no table from line 2 on: unexpected end of data",
        ),
        (f'{COURSE}\na.jpg,{CAT}\nb.jpg,64,48,"cat"s,8,6,40,30\n'.encode(), "it is no table from line 3 on: ',' expected"),
        (f"{COURSE}\na.jpg,{'x' * 200_000}\n".encode(), "it is no table from line 2 on: field larger than field limit"),
        (f"{COURSE}\na.jpg,{'x,' * 900_000}\n".encode(), "it has a line of more than 1,000,000 characters"),
    ],
)
def test_a_table_that_cannot_be_read_to_its_end_is_65(tmp_path: Path, content: bytes, reason: str) -> None:
    tree(tmp_path, {})
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(BoxcarError) as caught:
        read_data(tmp_path)
    assert caught.value.code == ExitCode.DATA
    assert caught.value.what.startswith("labels.csv cannot be read: ")
    assert reason in caught.value.what


def test_a_class_that_is_not_in_utf_8_is_named(tmp_path: Path) -> None:
    tree(tmp_path, {})
    (tmp_path / "labels.csv").write_bytes(f"{COURSE}\na.jpg,{CAT}\nb.jpg,64,48,Köter,8,6,40,30\n".encode("latin-1"))
    found = read_data(tmp_path)
    assert "line 3 has the class K\ufffdter, which is not in UTF-8" in found.reasons[0]
    assert set(found.objects) == {"a.jpg", "c.jpg"}


def test_too_many_lines_about_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "LARGEST_ANNOTATION", 10_000)
    table = f"{COURSE}\n" + f"a.jpg,{CAT}\n" * 200 + f"b.jpg,{CAT}\n"
    found = read_data(tree(tmp_path, {"labels.csv": table}))
    assert found.reasons == ["a.jpg: labels.csv has too many lines about it; the limit is 10,000 bytes"]
    assert found.boxes == {"b.jpg": [BOX], "c.jpg": []}


def test_a_full_temporary_folder_is_69(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(3)]
    tree(tmp_path, {"labels.csv": f"{COURSE}\n" + "".join(f"{name},{CAT}\n" for name in names) * 40_000}, tuple(names))
    # The limit comes after the imports, and -B: Python would leave cut off bytecode in the environment.
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom read_data import read_data\n"
        "from boxcar.errors import BoxcarError\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    read_data(Path(sys.argv[1]))\nexcept BoxcarError as error:\n    print(int(error.code), error.what)\n"
    )
    here = Path(__file__).parent
    answer = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{here.parents[1]}:{here}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.startswith("69 The lines of the tables cannot be sorted in a temporary file: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "epoch,train/box_loss\n1,0.5\n",
        "/m/011k07,Tortoise\n",
        "ImageID,Source,LabelName,Confidence\na,x,cat,1\n",
        "train,a.jpg\ntest,b.jpg\n",
        "filename,class\na.jpg,cat\n",
        '"',
        "\0\0\0",
    ],
)
def test_other_tables_are_no_labels(tmp_path: Path, text: str) -> None:
    pair(tmp_path, "p0")
    tree(tmp_path, {"other.csv": text})
    assert find_reader(data_files(tmp_path)).reader.format == "voc"


def test_a_changed_table_is_noticed(tmp_path: Path) -> None:
    tree(tmp_path, {"labels.csv": f"{COURSE}\n1/a.jpg,{CAT}\nx.jpg,{CAT}\n", "notes.csv": "x"})
    known = index_files(str(tmp_path), None)
    assert {name for name, file in known.files.items() if file.labeled} == {"a.jpg"}
    (tmp_path / "labels.csv").write_text(f"{COURSE}\na.jpg,{CAT}\nb.jpg,{CAT}\n")
    changes = compare(known, index_files(str(tmp_path), known))
    assert (changes.changed, changes.pictures) == (("labels.csv",), 1)


def test_a_digest_is_of_the_lines_and_not_of_their_place(tmp_path: Path) -> None:
    def digest(text: str, name: str = "labels.csv") -> bytes:
        folder = tree(tmp_path / str(len(list(tmp_path.iterdir()))), {name: text})
        found = read_data(folder)
        (part,) = [item.part for item in found.items if item.image == "a.jpg"]
        assert part is not None
        return found.reader.digest(part)

    first = digest(f"{COURSE}\na.jpg,{CAT}\n")
    assert digest(f"{COURSE}\nb.jpg,{CAT}\n\na.jpg,{CAT}\n") == first
    assert digest(f"{COURSE}\na.jpg,{CAT.replace('cat', 'dog')}\n") != first
    assert digest(f"{COURSE}\na.jpg,{CAT}\n", "test.csv") != first


_CELL = st.sampled_from(
    ["a.jpg", "b", "x.jpg", "", "cat", "8", "40", "nan", "1e999", '"', "-1", "0.5", "TRAIN", "TEST", "\0", "\u0663"]
)
_ROW = st.lists(_CELL, max_size=12)
_HEADS = st.sampled_from([COURSE, OPEN_IMAGES, "TRAIN,a.jpg,cat,0,0,,,1,1,,", COURSE.replace(",", ";")])


@settings(deadline=3000, max_examples=300)
@given(
    _HEADS,
    st.lists(_ROW.map(",".join) | _ROW.map(";".join), max_size=5).map("\n".join).map(str.encode) | st.binary(max_size=60),
)
def test_any_table_gives_items_or_an_error(tmp_path_factory: pytest.TempPathFactory, head: str, rows: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    if not folder.exists():
        tree(folder, {})
    (folder / "labels.csv").write_bytes(head.encode() + b"\n" + rows)
    try:
        found = read_data(folder)
    except BoxcarError as error:
        assert error.code == ExitCode.DATA
        return
    images = [item.image for item in found.items]
    assert len(images) == len(set(images)) and set(images) <= {"a.jpg", "b.jpg", "c.jpg"}
    assert len(set(images)) == 3 or found.reasons
