"""VIA's JSON: shapes, the attribute that is the class, and whatever can be wrong with the JSON."""

import io
import json
from pathlib import Path
from typing import Any

import exports
import pytest
from exports import via_images, via_region
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import picture, save
from read_data import formats_of, read_data

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import checked_objects
from boxcar.records.faults import FaultyError
from boxcar.records.formats.via import _entries

CAT = via_region({"class": "cat"}, x=1, y=1, width=8, height=8)


def _data(folder: Path, content: object) -> Path:
    for name in ("a.jpg", "b.jpg"):
        save(folder / name, picture(name, exports.SIZE))
    (folder / "via.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


@pytest.mark.parametrize("make", [exports.via, exports.via_project])
def test_the_same_pictures_are_the_same_data_set_as_in_xml_of_pascal_voc(tmp_path: Path, make: Any) -> None:
    assert exports.version(make(tmp_path / "via")) == exports.version(exports.voc(tmp_path / "voc"))


SHAPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rect": (via_region({"class": "cat"}, x=8, y=6, width=32, height=24), ("cat", 8, 6, 40, 30)),
    "circle": (via_region({"class": "cat"}, "circle", cx=20, cy=20, r=5.5), ("cat", 14.5, 14.5, 25.5, 25.5)),
    "ellipse": (via_region({"class": "cat"}, "ellipse", cx=20, cy=20, rx=10, ry=5), ("cat", 10, 15, 30, 25)),
    "turned": (via_region({"class": "cat"}, "ellipse", cx=20, cy=20, rx=10, ry=5, theta=1.5707963), ("cat", 15, 10, 25, 30)),
    "polygon": (
        via_region({"class": "cat"}, "polygon", all_points_x=[10, 30, 12], all_points_y=[5, 20, 40]),
        ("cat", 10, 5, 30, 40),
    ),
    "checkbox": (via_region({"class": {"cat": True, "dog": False}}, x=1, y=1, width=8, height=8), ("cat", 1, 1, 9, 9)),
    "blanks": (via_region({"class": " big  cat\n"}, x=1, y=1, width=8, height=8), ("big cat", 1, 1, 9, 9)),
    "number": (via_region({"class": 7}, x="1", y=1, width=8, height=8), ("7", 1, 1, 9, 9)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_has_the_box_around_it(tmp_path: Path, name: str) -> None:
    region, box = SHAPES[name]
    found = read_data(_data(tmp_path, via_images({"a.jpg": {"0": region}, "b.jpg": []})))
    assert found.reader.format == "via"
    assert found.boxes == {"a.jpg": [box], "b.jpg": []}
    assert (found.faults, found.unlabeled, found.described) == ([], [], {"a.jpg", "b.jpg"})


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"damage": "scratch"}, "scratch"),
        ({"occluded": "no", "Object Name": "cat"}, "cat"),
        ({"colour": "red", "type": "cat", "name": ""}, "cat"),
    ],
)
def test_the_class_is_the_only_attribute_or_the_one_with_a_usual_name(tmp_path: Path, attributes: Any, name: str) -> None:
    found = read_data(_data(tmp_path, via_images({"a.jpg": [via_region(attributes, x=1, y=1, width=8, height=8)]})))
    assert found.boxes["a.jpg"] == [(name, 1, 1, 9, 9)]


@pytest.mark.parametrize("attributes", [{"name": "Tom", "type": "cat"}, {"colour": "red", "fur": "long"}])
def test_several_attributes_that_could_be_the_class_are_a_question(tmp_path: Path, attributes: Any) -> None:
    data = _data(tmp_path, via_images({"a.jpg": [via_region(attributes, x=1, y=1, width=8, height=8)]}))
    with pytest.raises(BoxcarError) as caught:
        read_data(data)
    assert caught.value.code == ExitCode.USAGE
    for name in attributes:
        assert f'"{name}" (via.json)' in caught.value.what


FAULTS: dict[str, tuple[Any, str]] = {
    "no class": (via_region({}, x=1, y=1, width=8, height=8), "box 1 has no class name"),
    "attributes of a list": (via_region([], x=1, y=1, width=8, height=8), "box 1 has no class name"),
    "two classes": (via_region({"class": {"cat": True, "dog": True}}, x=1, y=1), "a region has 2 classes: cat, dog"),
    "no width": (via_region({"class": "cat"}, x=1, y=1), "shape 1 (cat) has no width"),
    "true": (via_region({"class": "cat"}, x=1, y=True), "has 'bool' as its y"),
    "NaN": (via_region({"class": "cat"}, x=1, y=1, width=float("nan"), height=1), "is not finite"),
    "radius": (via_region({"class": "cat"}, "circle", cx=1, cy=1, r=float("inf")), "is not finite"),
    "cube": (via_region({"class": "cat"}, "cube"), "shape 1 (cat) is a cube, which gives no box"),
    "no shape": ({"region_attributes": {"class": "cat"}}, "is a shape without a name"),
    "shape of a list": ({"shape_attributes": [], "region_attributes": {"class": "cat"}}, "is a shape without a name"),
    "only a point": (via_region({"class": "cat"}, "point", cx=1, cy=1), "it has 1 points, but no box"),
    "ragged": (via_region({"class": "c"}, "polygon", all_points_x=[1], all_points_y=[]), "all_points_y of the same length"),
    "outside": (via_region({"class": "cat"}, x=1, y=1, width=80, height=8), "outside the image of 64×48"),
    "a number": (7, "it has no list of regions"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_names_its_image(tmp_path: Path, name: str) -> None:
    region, reason = FAULTS[name]
    found = read_data(_data(tmp_path, via_images({"a.jpg": [region], "b.jpg": [CAT]})))
    (fault,) = found.reasons
    assert fault.startswith("via.json: for a.jpg, ")
    assert reason in fault
    assert list(found.boxes) == ["b.jpg"] and not found.unlabeled


WHOLE = {
    "cut off": json.dumps(via_images({"a.jpg": [CAT], "b.jpg": []}))[:-60].encode(),
    "not UTF-8": json.dumps(via_images({"a.jpg": [CAT], "b.jpg": []})).encode().replace(b"cat", b"c\xe4t"),
    "deep": b'{"a.jpg": {"filename": "a.jpg", "regions": ' + b"[" * 100_000,
    "no object": b'{"a": {"filename": "a.jpg", "regions": []}, "b": 3}',
    "no name": b'{"a": {"filename": 3, "regions": []}}',
    "no comma": b'{"a": {"filename": "a.jpg", "regions": []} "b": 3}',
}


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_broken_file_no_image_becomes_a_negative(tmp_path: Path, name: str) -> None:
    found = read_data(_data(tmp_path, WHOLE[name]))
    (fault,) = found.faults
    assert fault.kind == "broken_labels"
    assert found.unlabeled == [] and "b.jpg" not in found.boxes


def test_version_1_and_projects_are_recognized_and_other_json_is_not(tmp_path: Path) -> None:
    old = {
        "a.jpg1": {"fileref": "", "size": 1, "filename": "a.jpg", "base64_img_data": "", "file_attributes": {}, "regions": {}}
    }
    assert formats_of(_data(tmp_path / "old", old)) == ["via"]
    assert formats_of(exports.via_project(tmp_path / "project")) == ["via"]
    others = ({"scripts": {"test": "x"}}, {}, [], {"images": [{"filename": 1}], "annotations": [], "categories": []}, 3)
    for number, other in enumerate(others):
        assert "via" not in formats_of(_data(tmp_path / f"other{number}", other))


def test_other_json_beside_it_is_ignored(tmp_path: Path) -> None:
    data = _data(tmp_path, via_images({"a.jpg": [CAT]}))
    (data / "package.json").write_text('{"scripts": {"class": "x"}}')
    found = read_data(data)
    assert (found.faults, found.unlabeled) == ([], ["b.jpg"])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["rect", "circle", "polygon"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["shape_attributes", "region_attributes", "name", "x", "y", "cx", "class"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)


@settings(deadline=2000, max_examples=300)
@given(
    st.binary(max_size=100)
    | st.builds(
        lambda regions, cut: json.dumps(via_images({"a": regions})).encode()[:cut], VALUES, st.none() | st.integers(0, 200)
    )
)
def test_any_json_gives_entries_or_a_fault(content: bytes) -> None:
    try:
        entries = list(_entries("class", io.BytesIO(content)))
    except FaultyError as error:
        assert error.reason
        return
    for entry in entries:
        if not isinstance(entry.annotation, FaultyError):
            checked_objects(entry.annotation, 64, 48)
