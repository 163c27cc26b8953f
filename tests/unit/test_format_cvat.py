"""CVAT for images 1.1: shapes, splits, names of images, and whatever can be wrong with the XML."""

import io
import tracemalloc
from pathlib import Path

import exports
import pytest
from exports import cvat_box, cvat_image, cvat_xml
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import picture, save
from read_data import formats_of, read_data

from boxcar.errors import BoxcarError
from boxcar.records.annotation import checked_objects
from boxcar.records.entries import unpacked
from boxcar.records.faults import FaultyError
from boxcar.records.formats.cvat import _entries

BOMB = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotations><version>&b;</version></annotations>'


def _data(folder: Path, images: str, names: tuple[str, ...] = ("a.jpg", "b.jpg"), meta: str = "") -> Path:
    for name in names:
        save(folder / name, picture(name, exports.SIZE))
    (folder / "annotations.xml").write_text(cvat_xml(images, meta))
    return folder


def test_the_same_pictures_are_the_same_data_set_as_in_xml_of_pascal_voc(tmp_path: Path) -> None:
    assert exports.version(exports.cvat(tmp_path / "cvat")) == exports.version(exports.voc(tmp_path / "voc"))


SHAPES = {
    "box": (cvat_box("cat", 8, 6.5, 40, 30), ("cat", 8, 6.5, 40, 30)),
    "turned box": (cvat_box("cat", 10, 10, 30, 20, extra='rotation="90.0"'), ("cat", 15, 5, 25, 25)),
    "box turned by 30 degrees": (cvat_box("cat", 10, 10, 30, 20, extra='rotation="30"'), ("cat", 8.84, 5.67, 31.16, 24.33)),
    "polygon": ('<polygon label=" big  cat " points="10.00,5;30,20.5;12,40"/>', ("big cat", 10, 5, 30, 40)),
    "ellipse": ('<ellipse label="cat" cx="20" cy="20" rx="10" ry="5" rotation="90"/>', ("cat", 15, 10, 25, 30)),
    "mask": ('<mask label="cat" rle="5, 2, 2, 3" left="10" top="11" width="4" height="3"/>', ("cat", 11, 12, 14, 14)),
    "empty mask": ('<mask label="cat" rle="12" left="10" top="11" width="4" height="3"/>', ("cat", 10, 11, 14, 14)),
    "unreadable mask": ('<mask label="cat" rle="3, 5" left="10" top="11" width="12" height="13"/>', ("cat", 10, 11, 22, 24)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_has_the_box_around_it(tmp_path: Path, name: str) -> None:
    shape, box = SHAPES[name]
    found = read_data(_data(tmp_path, cvat_image("a.jpg", shape) + cvat_image("b.jpg", "<tag label='x'/>")))
    assert found.reader.format == "cvat"
    assert found.boxes == {"a.jpg": [box], "b.jpg": []}
    assert (found.faults, found.unlabeled, found.described) == ([], [], {"a.jpg", "b.jpg"})


def test_a_mask_of_a_negative_size_is_no_fault_of_other_images(tmp_path: Path) -> None:
    mask = '<mask label="cat" rle="50, 50" left="30" top="30" width="-10" height="-10"/>'
    images = cvat_image("a.jpg", mask) + cvat_image("b.jpg", cvat_box("cat", 1, 1, 9, 9))
    found = read_data(_data(tmp_path, images))
    assert found.boxes["b.jpg"] == [("cat", 1, 1, 9, 9)] and not any("encoding" in reason for reason in found.reasons)


def test_points_beside_a_box_are_left_out_and_alone_are_a_fault(tmp_path: Path) -> None:
    points = '<points label="eye" points="1,2"/><polyline label="edge" points="1,2;3,4"/>'
    images = cvat_image("a.jpg", points + cvat_box("cat", 1, 1, 9, 9)) + cvat_image("b.jpg", points)
    found = read_data(_data(tmp_path, images))
    assert found.boxes == {"a.jpg": [("cat", 1, 1, 9, 9)]}
    assert found.reasons == ["annotations.xml: for b.jpg, it has 1 points and 1 polylines, but no box"]
    assert found.unlabeled == []


FAULTS = {
    "cuboid": ('<cuboid label="car" xtl1="1"/>', "shape 1 (car) is a cuboid, which gives no box"),
    "no class": ('<box xtl="1" ytl="1" xbr="9" ybr="9"/>', "box 1 has no class name"),
    "no side": ('<box label="cat" xtl="1" ytl="1" xbr="9"/>', "box 1 (cat) has no ymax"),
    "side in words": (cvat_box("cat", "left", 1, 9, 9), "box 1 (cat) has 'left' as its xmin"),
    "NaN": (cvat_box("cat", "nan", 1, 9, 9), "is not finite"),
    "turned NaN": (cvat_box("cat", "nan", 1, 9, 9, extra='rotation="4"'), "has a coordinate that is not finite"),
    "turned for ever": (cvat_box("cat", 1, 1, 9, 9, extra='rotation="1e999"'), "has a coordinate that is not finite"),
    "turn in words": (cvat_box("cat", 1, 1, 9, 9, extra='rotation="left"'), "shape 1 (cat) has 'left' as its rotation"),
    "outside": (cvat_box("cat", 1, 1, 99, 9), "outside the image of 64×48"),
    "no points": ('<polygon label="cat"/>', "shape 1 (cat) has no list of points x,y;x,y"),
    "half a point": ('<polygon label="cat" points="1,2;3"/>', "has no list of points"),
    "point in words": ('<polygon label="cat" points="1,2;3,x"/>', "has 'x' as its y"),
    "unknown shape": ('<sphere label="cat"/>', "is a sphere, which gives no box"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_names_its_image(tmp_path: Path, name: str) -> None:
    shape, reason = FAULTS[name]
    found = read_data(_data(tmp_path, cvat_image("a.jpg", shape) + cvat_image("b.jpg", cvat_box("cat", 1, 1, 9, 9))))
    (fault,) = found.reasons
    assert fault.startswith("annotations.xml: for a.jpg, ")
    assert reason in fault
    assert list(found.boxes) == ["b.jpg"] and not found.unlabeled


WHOLE = {
    "cut off": (cvat_xml(cvat_image("a.jpg", ""))[:-20].encode(), "the XML is broken"),
    "entities": (BOMB.encode(), "declares entities"),
    "outer entity": (
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
        "declares entities",
    ),
    "track": (
        cvat_xml('<track id="0" label="car"/>').encode(),
        "tracks of a video; export it from CVAT as CVAT for images 1.1",
    ),
    "deep": (b"<annotations>" + b"<a>" * 100_000, "nested too deeply"),
    "encoding": (b'<?xml version="1.0" encoding="x-y"?><annotations >', "encoding"),
    "half an encoding": (cvat_xml("").encode().replace(b"1.1<", b"\xff<"), "the XML is broken"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_broken_file_no_image_becomes_a_negative(tmp_path: Path, name: str) -> None:
    content, reason = WHOLE[name]
    data = _data(tmp_path, "")
    (data / "annotations.xml").write_bytes(content)
    found = read_data(data)
    assert reason in found.faults[0].reason
    assert found.unlabeled == [] and not set(found.boxes) - {"a.jpg"}


def test_subsets_and_names_of_tasks_give_splits(tmp_path: Path) -> None:
    tasks = "<task><id>4</id><name>valid</name></task><task><id>5</id><name>batch 5</name><subset>Test</subset></task>"
    images = (
        cvat_image("a.jpg", "", 'subset="Train" task_id="4"')
        + cvat_image("b.jpg", "", 'subset="default" task_id="4"')
        + cvat_image("c.jpg", "", 'task_id="5"')
        + cvat_image("d.jpg", "", 'subset="holiday"')
    )
    meta = f"<meta><project><id>1</id><name>test</name><tasks>{tasks}</tasks></project></meta>"
    found = read_data(_data(tmp_path, images, ("a.jpg", "b.jpg", "c.jpg", "d.jpg"), meta))
    assert found.splits == {"a.jpg": 0, "b.jpg": 1, "c.jpg": 2, "d.jpg": None}


def test_the_only_task_gives_the_split_of_all_its_images(tmp_path: Path) -> None:
    meta = "<meta><task><id>4</id><name>cats</name><labels><label><name>test</name></label></labels>"
    data = _data(tmp_path, cvat_image("a.jpg", ""), ("a.jpg",), f"{meta}<subset>Validation</subset></task></meta>")
    assert read_data(data).splits == {"a.jpg": 1}


def test_images_are_found_in_folders_and_frames_without_their_suffix(tmp_path: Path) -> None:
    images = cvat_image("cam1/a.jpg", "") + cvat_image("cam2\\a.jpg", "") + cvat_image("frame_000001", "")
    found = read_data(_data(tmp_path, images, ("images/cam1/a.jpg", "images/cam2/a.jpg", "images/frame_000001.PNG")))
    assert sorted(found.boxes) == ["images/cam1/a.jpg", "images/cam2/a.jpg", "images/frame_000001.PNG"]
    assert (found.faults, found.unlabeled) == ([], [])


def test_a_missing_image_is_a_fault_and_an_image_that_is_not_in_the_file_is_unlabeled(tmp_path: Path) -> None:
    found = read_data(_data(tmp_path, cvat_image("a.jpg", "") + cvat_image("z.jpg", "")))
    assert found.reasons == ["annotations.xml: the image z.jpg is missing"]
    assert found.unlabeled == ["b.jpg"]


def test_xml_of_another_program_beside_it_is_a_fault(tmp_path: Path) -> None:
    data = _data(tmp_path, cvat_image("a.jpg", ""))
    (data / "more.xml").write_text("<svg/>")
    found = read_data(data, "cvat")
    assert found.reasons[0].startswith("more.xml: the XML's root is <svg>, not <annotations>; images that no other label")
    assert found.boxes == {"a.jpg": []}


def test_files_that_differ_about_an_image_are_a_fault_and_equal_ones_are_one(tmp_path: Path) -> None:
    data = _data(tmp_path, cvat_image("a.jpg", cvat_box("cat", 1, 1, 9, 9)) + cvat_image("b.jpg", ""))
    (data / "more.xml").write_text(cvat_xml(cvat_image("a.jpg", cvat_box("cat", 1, 1, 9, 8)) + cvat_image("b.jpg", "")))
    found = read_data(data)
    assert found.reasons == ["more.xml: a.jpg is in it and annotations.xml labels it otherwise"]
    assert found.boxes == {"b.jpg": []} and not found.unlabeled


def test_an_image_in_two_splits_is_a_fault(tmp_path: Path) -> None:
    found = read_data(_data(tmp_path, cvat_image("a.jpg", "", 'subset="Train"') + cvat_image("a.jpg", "", 'subset="Test"')))
    assert [fault.kind for fault in found.faults] == ["two_annotations"]
    assert "a.jpg" not in found.boxes


def test_an_image_that_could_be_one_of_two_makes_neither_a_negative(tmp_path: Path) -> None:
    found = read_data(_data(tmp_path, cvat_image("a.jpg", ""), ("x/a.jpg", "y/a.jpg")))
    assert [fault.kind for fault in found.faults] == ["same_stem"]
    assert found.boxes == {}


def test_other_xml_is_not_recognized(tmp_path: Path) -> None:
    assert formats_of(exports.cvat(tmp_path / "cvat")) == ["cvat"]
    assert formats_of(exports.voc(tmp_path / "voc")) == ["voc"]


def test_labels_of_two_formats_are_a_question(tmp_path: Path) -> None:
    exports.cvat(tmp_path)
    with pytest.raises(BoxcarError, match=r"Pascal VOC \(p0.xml\) and CVAT \(annotations.xml\)"):
        read_data(exports.voc(tmp_path))


def test_memory_does_not_grow_with_the_file() -> None:
    one = cvat_image("a.jpg", cvat_box("cat", 1, 1, 9, 9) * 5)
    peaks = []
    for count in (600, 3000):
        content = io.BytesIO(cvat_xml(one * count).encode())
        tracemalloc.start()
        assert sum(1 for _ in _entries(content)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000  # the larger file has 2.5 MB more


def test_a_million_boxes_of_one_image_are_refused_early() -> None:
    content = cvat_xml(cvat_image("a.jpg", cvat_box("cat", 1, 1, 9, 9, extra=f'more="{"x" * 10_000}"') * 2000)).encode()
    with pytest.raises(FaultyError, match="one image has more than 10,000,000 bytes"):
        list(_entries(io.BytesIO(content)))


@settings(deadline=2000, max_examples=200)
@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                *(
                    "<annotations>",
                    "</annotations>",
                    "<image name='a.jpg' width='9'",
                    " height='x'>",
                    "</image>",
                    "<box",
                    "<polygon",
                ),
                *(
                    " label='cat'",
                    " xtl='1'",
                    " points='1,2;3'",
                    " rotation='nan'",
                    ">",
                    "/>",
                    "<track/>",
                    "<meta><task><name>",
                ),
                *("&x;", "é"),
            ]
        )
    ).map(lambda parts: "".join(parts).encode())
)
def test_any_xml_gives_entries_or_a_fault(content: bytes) -> None:
    try:
        entries = list(_entries(io.BytesIO(content)))
    except FaultyError as error:
        assert error.reason
        return
    for entry in entries:
        if not isinstance(entry.annotation, FaultyError):
            checked_objects(entry.annotation, 64, 48)


@settings(deadline=2000, max_examples=100)
@given(st.binary(max_size=60) | st.sampled_from([b"[1,2,3,4]", b"[null,[1],[[1]],0]", b"[" * 100_000, b"{}"]))
def test_any_part_gives_an_annotation_or_a_fault(part: bytes) -> None:
    try:
        unpacked(part)
    except FaultyError as error:
        assert error.reason
