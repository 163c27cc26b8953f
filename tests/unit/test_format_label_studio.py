"""Label Studio's JSON and JSON-MIN: shapes, annotators, names of images, and whatever can be wrong with the JSON."""

import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exports
import pytest
from exports import ls_result, ls_task
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import picture, save
from read_data import formats_of, read_data

from boxcar.records.annotation import checked_objects
from boxcar.records.faults import FaultyError
from boxcar.records.formats.label_studio import _entries, _paths

CAT = ls_result("cat", 1, 1, 9, 9)


def _data(folder: Path, tasks: object, names: tuple[str, ...] = ("a.jpg", "b.jpg")) -> Path:
    for name in names:
        save(folder / name, picture(name, exports.SIZE))
    (folder / "export.json").write_bytes(tasks if isinstance(tasks, bytes) else json.dumps(tasks).encode())
    return folder


def _shape(kind: str = "rectanglelabels", labels: object = ("cat",), **value: object) -> dict[str, Any]:
    """A result in percent of 64×48 pixels."""
    return {**CAT, "type": kind, "value": {**value, kind: labels}}


@pytest.mark.parametrize("make", [exports.label_studio, exports.label_studio_min])
def test_the_same_pictures_are_the_same_data_set_as_in_xml_of_pascal_voc(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    assert exports.version(make(tmp_path / "ls")) == exports.version(exports.voc(tmp_path / "voc"))


PLACE = {"x": 25, "y": 25, "width": 25, "height": 50}  # [16, 12, 32, 36] in pixels
SHAPES: dict[str, tuple[list[dict[str, Any]], list[tuple[Any, ...]]]] = {
    "rectangle": ([_shape(**PLACE, rotation=0)], [("cat", 16, 12, 32, 36)]),
    "turned by a quarter": ([_shape(**{**PLACE, "x": 75}, rotation=90)], [("cat", 24, 12, 48, 28)]),
    "turned by 30 degrees": ([_shape(**PLACE, rotation=30)], [("cat", 4, 12, 29.86, 40.78)]),
    "polygon": ([_shape("polygonlabels", points=[[25, 25], [50, 50], [12.5, 100]])], [("cat", 8, 12, 32, 48)]),
    "ellipse": ([_shape("ellipselabels", x=50, y=50, radiusX=25, radiusY=12.5)], [("cat", 16, 18, 48, 30)]),
    "turned ellipse": ([_shape("ellipselabels", x=50, y=50, radiusX=25, radiusY=12.5, rotation=90)], [("cat", 26, 8, 38, 40)]),
    "blanks": ([_shape(labels=[" big  cat "], **PLACE)], [("big cat", 16, 12, 32, 36)]),
    "labels apart": (
        [{**CAT, "type": "rectangle", "value": {**PLACE, "rotation": 0}}, _shape("labels", **PLACE, rotation=0)],
        [("cat", 16, 12, 32, 36)],
    ),
    "choices": (
        [
            _shape(**PLACE),
            {**CAT, "type": "choices", "value": {**PLACE, "choices": ["hidden"]}},
            {"type": "choices", "value": {"choices": ["sunny"]}, "from_name": "weather", "to_name": "image"},
            {"type": "relation", "from_id": "x", "to_id": "y", "direction": "right"},
        ],
        [("cat", 16, 12, 32, 36)],
    ),
    "key point beside": ([_shape(**PLACE), _shape("keypointlabels", x=1, y=1, width=0.5)], [("cat", 16, 12, 32, 36)]),
    "no size": ([{"type": "rectanglelabels", "value": {**PLACE, "rectanglelabels": ["cat"]}}], [("cat", 16, 12, 32, 36)]),
    "nothing": ([], []),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_has_the_box_around_it(tmp_path: Path, name: str) -> None:
    results, boxes = SHAPES[name]
    found = read_data(_data(tmp_path, [ls_task("a.jpg", results)]))
    assert found.reader.format == "label-studio"
    assert found.boxes["a.jpg"] == boxes
    assert (found.faults, found.unlabeled, found.described) == ([], ["b.jpg"], {"a.jpg"})


def test_tasks_that_nobody_labeled_are_unlabeled_and_empty_ones_are_negatives(tmp_path: Path) -> None:
    tasks = [
        ls_task("a.jpg"),
        ls_task("b.jpg", []),
        ls_task("c.jpg", predictions=[{"result": [CAT]}]),
        {"id": 4, "data": {"image": "d.jpg"}, "predictions": [{"result": [CAT]}]},
    ]
    cancelled = ls_task("e.jpg", [CAT])
    cancelled["annotations"][0]["was_cancelled"] = True
    found = read_data(_data(tmp_path, [*tasks, cancelled], tuple(f"{name}.jpg" for name in "abcde")))
    assert found.unlabeled == ["a.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert found.boxes["b.jpg"] == [] and not found.faults
    assert found.described == {"b.jpg"}


def test_annotators_must_agree(tmp_path: Path) -> None:
    other = ls_result("cat", 1, 1, 9, 8)
    tasks = [ls_task("a.jpg", [CAT, other], [other, CAT]), ls_task("b.jpg", [CAT], [other])]
    found = read_data(_data(tmp_path, tasks))
    assert found.reasons == ["export.json: for b.jpg, 2 annotations of it differ; keep the one that counts"]
    assert list(found.boxes) == ["a.jpg"] and not found.unlabeled


def test_records_of_json_min_for_one_image_must_agree(tmp_path: Path) -> None:
    value = {**CAT["value"], "original_width": 64, "original_height": 48}
    task = {"image": "a.jpg", "label": [value], "annotator": 1, "annotation_id": 1, "choice": "x", "weather": ["wet", "cold"]}
    second = {**task, "image": "b.jpg"}
    found = read_data(_data(tmp_path, [task, {**task, "annotation_id": 2}, second, {**second, "label": []}]))
    assert found.reasons == ["export.json: b.jpg is in it twice, and the second time labels it otherwise"]
    assert found.boxes == {"a.jpg": [("cat", 1, 1, 9, 9)]}


FAULTS: dict[str, tuple[Any, str]] = {
    "brush": (_shape("brushlabels", rle=[1, 2], format="rle"), "shape 1 (cat) is a brush stroke that cannot be read"),
    "only key points": (_shape("keypointlabels", x=1, y=1, width=1), "it has 1 key points, but no box"),
    "text": (_shape("hypertextlabels", start=1, end=2), "shape 1 (cat) has no x"),
    "video": (_shape("videorectangle", sequence=[]), "it has boxes of a video"),
    "no label": (_shape(labels=[], **PLACE), "box 1 has no class name"),
    "label of a number": (_shape(labels=[3], **PLACE), "box 1 has no class name"),
    "no label at all": ({**CAT, "type": "rectangle", "value": PLACE}, "box 1 has no class name"),
    "two labels": (_shape(labels=["cat", "dog"], **PLACE), "a shape has 2 labels"),
    "no value": ({"type": "rectanglelabels"}, "it has a result without a value"),
    "a number": (3, "it has a result that is no object"),
    "no width": (_shape(x=1, y=1, height=1), "shape 1 (cat) has no width"),
    "words": (_shape(**{**PLACE, "x": "left"}), "has 'left' as its x"),
    "true": (_shape(**{**PLACE, "x": True}), "has 'bool' as its x"),
    "NaN": (_shape(**{**PLACE, "x": float("nan")}), "not finite"),
    "huge": (_shape(**{**PLACE, "x": 10**400}), "not finite"),
    "turned for ever": (_shape(**PLACE, rotation=float("inf")), "not finite"),
    "outside": (_shape(**{**PLACE, "x": 90}), "outside the image of 64×48"),
    "turned image": ({**CAT, "image_rotation": 90}, "it was labeled on an image turned by 90 degrees"),
    "other size": ({**CAT, "original_width": 65}, "it says 65×48, the image is 64×48"),
    "size in words": ({**CAT, "original_width": "64"}, "no whole numbers"),
    "turned without a size": (
        {"type": "rectanglelabels", "value": {**PLACE, "rotation": 3, "rectanglelabels": ["cat"]}},
        "is turned or round, but has no original_width",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_names_its_image(tmp_path: Path, name: str) -> None:
    result, reason = FAULTS[name]
    found = read_data(_data(tmp_path, [ls_task("a.jpg", [result]), ls_task("b.jpg", [CAT])]))
    (fault,) = found.reasons
    assert fault.startswith("export.json: for a.jpg, ")
    assert reason in fault
    assert list(found.boxes) == ["b.jpg"] and not found.unlabeled


GOOD = json.dumps([ls_task("a.jpg", [CAT]), ls_task("b.jpg", [CAT])]).encode()
WHOLE = {
    "cut off": (GOOD[:-30], "the JSON is cut off"),
    "more after its end": (GOOD + b"]", "it goes on after its end"),
    "not UTF-8": (GOOD.replace(b"cat", b"c\xe4t"), "its text is not UTF-8"),
    "deep": (GOOD[:-1] + b', {"data": ' + b"[" * 100_000, "nested too deep"),
    "no object": (GOOD[:-1] + b", 3]", "task 3 is no object"),
    "no image": (GOOD[:-1] + b', {"annotations": [{"result": []}], "data": {"text": "x"}}]', "task 3 names no image"),
    "annotations of an object": (GOOD[:-1] + b', {"annotations": {}}]', "task 3 has no list of annotations"),
    "no JSON": (b"hello", "it is no JSON"),
    "empty": (b"", "it is no JSON"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_broken_file_no_image_becomes_a_negative(tmp_path: Path, name: str) -> None:
    content, reason = WHOLE[name]
    data = _data(tmp_path, [ls_task("c.jpg", [CAT])], ("a.jpg", "b.jpg", "c.jpg", "d.jpg"))
    (data / "more.json").write_bytes(content)
    found = read_data(data)
    (fault,) = found.reasons
    assert fault.startswith("more.json: ")
    assert reason in fault
    assert "c.jpg" in found.boxes and not found.unlabeled


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ("/data/upload/3/0a1b2c3d-a.jpg", ["/data/upload/3/0a1b2c3d-a.jpg", "/data/upload/3/a.jpg"]),
        ("/data/local-files/?d=some%20where/a.jpg", ["some where/a.jpg"]),
        ("http://host:8080/data/local-files/?d=x%2Fa.jpg&y=1", ["x/a.jpg"]),
        ("s3://bucket/x/a%20b.jpg", ["/x/a%20b.jpg", "/x/a b.jpg"]),
        ("https://host/x/a.jpg?signature=3", ["/x/a.jpg"]),
        ("C:\\x\\a.jpg", ["C:\\x\\a.jpg"]),
        ("http://[/a.jpg", ["http://[/a.jpg"]),
    ],
)
def test_the_paths_of_an_image(given: str, paths: list[str]) -> None:
    assert _paths(given) == paths


def test_the_image_with_the_prefix_is_meant_if_it_is_there(tmp_path: Path) -> None:
    names = ("0a1b2c3d-a.jpg", "a.jpg", "x/b.jpg")
    tasks = [ls_task("/data/upload/3/0a1b2c3d-a.jpg", [CAT]), ls_task("/data/upload/3/ffffffff-b.jpg", [])]
    found = read_data(_data(tmp_path, tasks, names))
    assert found.boxes == {"0a1b2c3d-a.jpg": [("cat", 1, 1, 9, 9)], "x/b.jpg": [], "a.jpg": []}
    assert found.unlabeled == ["a.jpg"]


def test_the_key_of_the_image_is_the_one_that_the_results_point_to(tmp_path: Path) -> None:
    pointing = ls_task("b.jpg", [{**CAT, "to_name": "photo"}])
    pointing["data"]["photo"] = "a.jpg"
    only = ls_task("", [CAT])
    only["data"] = {"text": "hello", "link": "x/b.jpg", "id": 3}
    assert read_data(_data(tmp_path, [pointing, only])).boxes.keys() == {"a.jpg", "b.jpg"}
    two = ls_task("", [CAT])
    two["data"] = {"left": "a.jpg", "right": "b.jpg"}
    assert "task 1 has several images" in read_data(_data(tmp_path, [two])).reasons[0]


def test_a_byte_order_mark_and_utf_16_are_read(tmp_path: Path) -> None:
    text = json.dumps([ls_task("a.jpg", [ls_result("Käse", 1, 1, 9, 9)])], ensure_ascii=False)
    for encoding in ("utf-8-sig", "utf-16"):
        assert read_data(_data(tmp_path, text.encode(encoding))).boxes["a.jpg"] == [("Käse", 1, 1, 9, 9)]


def test_other_json_is_not_recognized(tmp_path: Path) -> None:
    others: tuple[object, ...] = ([], {}, [1, 2], [{"image": "a.jpg"}], {"name": "x"}, {"annotations": [], "data": 1}, "data")
    for number, other in enumerate(others):
        assert formats_of(_data(tmp_path / str(number), other)) == []
    assert formats_of(exports.label_studio(tmp_path / "full")) == ["label-studio"]
    assert formats_of(exports.label_studio_min(tmp_path / "min")) == ["label-studio"]
    large = [ls_task("a.jpg", [CAT] * 1000)]
    assert formats_of(_data(tmp_path / "large", large)) == ["label-studio"]
    data = _data(tmp_path / "beside", [ls_task("a.jpg", [CAT])])
    (data / "package.json").write_text('[{"name": "x"}]')
    assert not read_data(data).faults


def test_memory_does_not_grow_with_the_file() -> None:
    peaks = []
    for count in (400, 4000):
        content = io.BytesIO(json.dumps([ls_task("a.jpg", [CAT] * 2)] * count).encode())
        tracemalloc.start()
        assert sum(1 for _ in _entries(content)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000


def test_a_task_that_is_too_large_is_refused() -> None:
    content = b'[{"id": 1, "annotations": [], "data": "' + b"x" * 30_000_000
    with pytest.raises(FaultyError, match="over 4,000,000 characters"):
        list(_entries(io.BytesIO(content)))


VALUES = st.recursive(
    st.sampled_from([None, True, 0, 7, -1.5, 10**400, float("nan"), "", "x", "a.jpg", "cat", "\ud800", "http://["]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "x",
                        "y",
                        "width",
                        "height",
                        "rotation",
                        "points",
                        "value",
                        "rectanglelabels",
                        "type",
                        "to_name",
                        "result",
                    ),
                    *("original_width", "image", "data", "annotations", "was_cancelled", "rle", "radiusX"),
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(deadline=2000, max_examples=300)
@given(
    st.binary(max_size=100)
    | st.builds(
        lambda one, two, cut: json.dumps([ls_task("a.jpg", [CAT, one]), two]).encode()[:cut],
        VALUES,
        VALUES,
        st.none() | st.integers(0, 900),
    )
)
def test_any_json_gives_entries_or_a_fault(content: bytes) -> None:
    try:
        entries = list(_entries(io.BytesIO(content)))
    except FaultyError as error:
        assert error.reason
        return
    for entry in entries:
        if not isinstance(entry.annotation, FaultyError):
            checked_objects(entry.annotation, 64, 48)
