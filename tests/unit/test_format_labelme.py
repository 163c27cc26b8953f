"""LabelMe's JSON: shapes, groups, embedded images, pairing, and whatever can be wrong with the JSON."""

import json
import random
from pathlib import Path
from typing import Any

import exports
import pytest
from exports import lm_shape, lm_text
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import picture, save
from read_data import formats_of, read_data

from boxcar.records.annotation import checked_objects
from boxcar.records.faults import FaultyError
from boxcar.records.formats.labelme import LabelMeReader

CAT = lm_shape("cat", [[1, 1], [9, 9]])


def _data(folder: Path, text: str | bytes, name: str = "a.json") -> Path:
    save(folder / "a.jpg", picture("a", exports.SIZE))
    save(folder / "b.jpg", picture("b", exports.SIZE))
    (folder / "b.json").write_text(lm_text("b.jpg", [CAT]))
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_the_same_pictures_are_the_same_data_set_as_in_xml_of_pascal_voc(tmp_path: Path) -> None:
    assert exports.version(exports.labelme(tmp_path / "labelme")) == exports.version(exports.voc(tmp_path / "voc"))


SHAPES: dict[str, tuple[list[dict[str, Any]], list[tuple[Any, ...]]]] = {
    "rectangle": ([lm_shape("cat", [[30, 5], [10, 40.5]])], [("cat", 10, 5, 30, 40.5)]),
    "rectangle of four": ([lm_shape("cat", [[10, 5], [30, 5], [30, 40], [10, 40]])], [("cat", 10, 5, 30, 40)]),
    "turned": ([lm_shape("cat", [[20, 5], [30, 15], [20, 25], [10, 15]], "oriented_rectangle")], [("cat", 10, 5, 30, 25)]),
    "polygon": ([lm_shape(" big  cat ", [[10, 5], [30, 20], [12, 40]], "polygon")], [("big cat", 10, 5, 30, 40)]),
    "no type": ([{"label": "cat", "points": [[10, 5], [30, 20], [12, 40]]}], [("cat", 10, 5, 30, 40)]),
    "circle": ([lm_shape("cat", [[20, 20], [23, 24]], "circle")], [("cat", 15, 15, 25, 25)]),
    "mask": ([lm_shape("cat", [[10, 5], [29, 39]], "mask", mask="aGVsbG8=")], [("cat", 10, 5, 30, 40)]),
    "point beside": ([CAT, lm_shape("eye", [[1, 2]], "point")], [("cat", 1, 1, 9, 9)]),
    "none": ([], []),
    "groups": (
        [
            lm_shape("cat", [[1, 1], [9, 9]], group_id=1),
            lm_shape("dog", [[2, 2], [8, 8]], group_id=1),
            lm_shape("cat", [[20, 5], [30, 12], [22, 7]], "polygon", group_id=1),
            lm_shape("cat", [[40, 1], [50, 9]], group_id=2),
            lm_shape("cat", [[41, 1], [50, 9]]),
            lm_shape("cat", [[42, 1], [50, 9]]),
        ],
        [("cat", 1, 1, 30, 12), ("dog", 2, 2, 8, 8)] + [("cat", left, 1, 50, 9) for left in (40, 41, 42)],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_has_the_box_around_it(tmp_path: Path, name: str) -> None:
    shapes, boxes = SHAPES[name]
    found = read_data(_data(tmp_path, lm_text("a.jpg", shapes)))
    assert found.reader.format == "labelme"
    assert found.boxes["a.jpg"] == boxes
    assert (found.faults, found.unlabeled, found.described) == ([], [], {"a.jpg", "b.jpg"})


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "only points": (lm_text("a.jpg", [lm_shape("eye", [[1, 2]], "point")]), "it has 1 points, but no box"),
    "unknown type": (lm_text("a.jpg", [lm_shape("cat", [[1, 2]], "cuboid")]), "shape 1 (cat) is a cuboid, which gives no box"),
    "type of a list": (lm_text("a.jpg", [lm_shape("cat", [[1, 2]], shape_type=[1])]), "is a shape without a type"),
    "no points": (lm_text("a.jpg", [lm_shape("cat", None)]), "shape 1 (cat) has no list of points"),
    "a point of three": (lm_text("a.jpg", [lm_shape("cat", [[1, 2, 3]])]), "has no list of points"),
    "words": (lm_text("a.jpg", [lm_shape("cat", [[1, "x"], [2, 2]])]), "has 'x' as its y"),
    "true": (lm_text("a.jpg", [lm_shape("cat", [[1, True], [2, 2]])]), "has 'bool' as its y"),
    "NaN": (lm_text("a.jpg", [lm_shape("cat", [[1, float("nan")], [2, 2]])]), "not finite"),
    "huge": (lm_text("a.jpg", [lm_shape("cat", [[1, 10**400], [2, 2]])]), "not finite"),
    "no area": (lm_text("a.jpg", [lm_shape("cat", [[1, 1]])]), "has no area"),
    "no label": (lm_text("a.jpg", [lm_shape(None, [[1, 1], [9, 9]])]), "box 1 has no class name"),
    "half a circle": (lm_text("a.jpg", [lm_shape("cat", [[1, 1]], "circle")]), "has 1 points, a circle has 2"),
    "group of a list": (lm_text("a.jpg", [lm_shape("cat", [[1, 1]], group_id=[1])]), "a group_id is no number"),
    "wrong size": (lm_text("a.jpg", [CAT], imageWidth=65), "it says 65×48, the image is 64×48"),
    "size in words": (lm_text("a.jpg", [CAT], imageWidth="64"), "no whole numbers"),
    "other JSON": (b'{"name": "x", "version": "1.0"}', "no list of shapes"),
    "shape of a number": (lm_text("a.jpg", [7]), "no list of shapes"),  # type: ignore[list-item]
    "a list": (b"[]", "no object"),
    "many shapes": (b'{"shapes": [' + b"[]," * 4_000_000 + b"[]]}", "it has 12,000,016 bytes without its image"),
    "empty": (b"", "the JSON is broken"),
    "cut off": (lm_text("a.jpg", [CAT])[:-20].encode(), "the JSON is broken"),
    "not UTF-8": (lm_text("a.jpg", [CAT]).encode().replace(b"cat", b"c\xe4t"), "the JSON is broken"),
    "deep": (b'{"shapes": ' + b"[" * 100_000, "nested too deeply"),
    "deep objects": (b'{"a":' * 100_000, "nested too deeply"),
    "digits": (lm_text("a.jpg", [CAT]).replace(": 48", ": " + "9" * 5000), "the JSON is broken"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_and_its_image_is_no_negative(tmp_path: Path, name: str) -> None:
    text, reason = FAULTS[name]
    found = read_data(_data(tmp_path, text))
    (fault,) = found.faults
    assert fault.file == "a.json"
    assert reason in fault.reason
    assert list(found.boxes) == ["b.jpg"] and not found.unlabeled


def test_json_of_other_programs_that_describes_no_image_is_ignored(tmp_path: Path) -> None:
    data = _data(tmp_path, lm_text("a.jpg", []))
    (data / "package.json").write_text('{"name": "x"}')
    (data / "list.json").write_text('[{"shapes": 1}]')
    (data / "broken.json").write_text("")
    (data / "alone.json").write_text(lm_text("nowhere.jpg", []))
    assert read_data(data).reasons == [
        'alone.json: its image is missing: none is named "alone" or "nowhere.jpg"',
        "broken.json: the JSON is broken (Expecting value: line 1 column 1 (char 0))",
    ]


def test_an_image_in_the_json_may_be_large(tmp_path: Path) -> None:
    photo = "".join(random.Random(0).choices("ABCDEFGH+/", k=1000)) * 12_000
    text = lm_text("C:\\photos\\a.jpg", [CAT], imageData=photo)
    found = read_data(_data(tmp_path, text, "other name.json"))
    assert found.boxes == {"a.jpg": [("cat", 1, 1, 9, 9)], "b.jpg": [("cat", 1, 1, 9, 9)]}
    assert found.faults == []


def test_keys_in_any_order_are_recognized_and_other_json_is_not(tmp_path: Path) -> None:
    text = json.loads(lm_text("a.jpg", [CAT], imageData="A" * 200_000))
    for number, keys in enumerate((sorted(text), sorted(text, reverse=True), list(text))):
        folder = tmp_path / str(number)
        save(folder / "a.jpg", picture("a"))
        (folder / "a.json").write_text(json.dumps({key: text[key] for key in keys}))
        assert formats_of(folder) == ["labelme"]
    others = ({"shapes": {"a": 1}}, {"name": "x"}, [], [text], {"images": [], "annotations": []}, "shapes")
    for number, other in enumerate(others):
        (tmp_path / f"other{number}").mkdir()
        (tmp_path / f"other{number}" / "a.json").write_text(json.dumps(other))
        assert "labelme" not in formats_of(tmp_path / f"other{number}")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["polygon", "circle", "cat"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(CAT)), inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=2000, max_examples=300)
@given(st.binary(max_size=100) | st.builds(lambda shapes, size: lm_text("a", shapes, imageWidth=size).encode(), VALUES, VALUES))
def test_any_json_gives_an_annotation_or_a_fault(content: bytes) -> None:
    try:
        annotation = LabelMeReader().read(content)
    except FaultyError as error:
        assert error.reason
    else:
        checked_objects(annotation, 64, 48)
