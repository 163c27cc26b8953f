"""COCO JSON: recognized, joined by ids, split by files, and every entry that cannot be used is a fault."""

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import pair, picture, save
from pycocotools import mask as coco_masks

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records, coco_join, coco_tables
from boxcar.records.annotation import checked_objects
from boxcar.records.check import Batch, check, open_data_file
from boxcar.records.checked import ROW, Row
from boxcar.records.faults import Fault, FaultyError
from boxcar.records.formats import find_reader
from boxcar.records.formats.coco import CocoReader, recognize
from boxcar.records.listing import list_names
from boxcar.records.outline import outline_box
from boxcar.records.reader import DataFiles, Item, Listing

SIZE = (64, 48)
CATS = [{"id": 7, "name": "cat", "supercategory": "animal"}, {"id": 90, "name": " dog "}]


def image(key: object, name: str, **more: object) -> dict[str, Any]:
    return {"id": key, "file_name": name, "width": SIZE[0], "height": SIZE[1], **more}


def box(key: object, sides: object = (8, 6, 32, 24), category: object = 7, **more: object) -> dict[str, Any]:
    return {"id": 1, "image_id": key, "category_id": category, "bbox": sides, "iscrowd": 0, "area": 1, **more}


def write(path: Path, images: object, annotations: object, categories: object = CATS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": categories}))
    return path


def drawn(folder: Path, *names: str) -> Path:
    for name in names:
        save(folder / name, picture(name), quality=90)
    return folder


def listing_of(data: Path) -> Listing:
    names = [name for name in list_names(data, data / "none").names if not name.endswith((".xml", ".txt"))]
    return Listing(names, lambda name: CocoReader().image_names((data / name).read_bytes()), partial(open_data_file, data))


def found(data: Path) -> tuple[dict[str, Item], list[str]]:
    """The items by image, and the faults of the pairing and of the check."""
    reader, seen = CocoReader(), list(CocoReader().items(listing_of(data)))
    items = [one for one in seen if isinstance(one, Item)]
    assert len({item.image for item in items}) == len(items)
    checked = check(Batch(data, reader, items, True, "background"))
    sound = [item for item, row in zip(items, map(Row._make, ROW.iter_unpack(checked.rows)), strict=True) if row.sound]
    faults = [one for one in seen if isinstance(one, Fault)] + checked.faults
    return {item.image or "": item for item in sound}, sorted(f"{fault.kind} {fault}" for fault in faults)


def boxes(item: Item) -> list[tuple[object, ...]]:
    assert item.part is not None
    return [(name, *sides) for name, sides, *_ in CocoReader().read(item.part).objects]


def version(data: Path, output: Path) -> str:
    build_records(str(data), str(output))
    return str(json.loads((output / "dataset.json").read_text())["version"])


def test_the_same_boxes_as_voc_and_as_coco_are_the_same_data_set(tmp_path: Path) -> None:
    rows = [[("cat", 0.1, 0.2, 30.3, 20.7)], [("cat", 3, 4, 60, 47), ("dog", 0, 0, 9, 9)], [], [("dog", 1, 2, 33.33, 40)]]
    images, annotations = [], []
    for number, labels in enumerate([*rows, *rows[:2]]):
        pair(tmp_path / "voc", f"p{number}", labels)
        save(tmp_path / "coco" / "images" / f"p{number}.jpg", picture(f"p{number}", SIZE), quality=90)
        images.append(image(f"{number * 3:04}", f"p{number}.jpg"))
        for name, x0, y0, x1, y1 in labels:
            sides = (x0, y0, x1 - x0, y1 - y0)
            annotations.append(box(f"{number * 3:04}", sides, {"cat": 7, "dog": 90}[name]))
    write(tmp_path / "coco" / "annotations.json", images, annotations[::-1])
    assert version(tmp_path / "coco", tmp_path / "one") == version(tmp_path / "voc", tmp_path / "two")
    assert "name: 'dog'" in (tmp_path / "one" / "label_map.pbtxt").read_text()


def _opened(contents: dict[str, bytes]) -> DataFiles:
    def open_file(name: str) -> io.BytesIO:
        return io.BytesIO(contents[name])

    return DataFiles(sorted(contents), open_file)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "instances_train2017.json",
            '{"info": {}, "licenses": [{"url": "x"}], "images": [{"file_name": "a.jpg", "id": 1}, {"fi',
        ),
        ("x/_annotations.coco.json", '{"info": {}, "categories": [{"id": 0, "name": "a", "supercategory": "none"}'),
        ("LABELS.JSON", '{"annotations": [{"area": 1, "image_id": 3, "bbox": [1]}, {'),
        ("sub/result.json", '{"images": [], "annotations": [], "categories": []}'),
    ],
)
def test_it_is_recognized_by_its_beginning(name: str, content: str) -> None:
    recognized = recognize(_opened({"a.jpg": b"", name: content.encode()}))
    assert recognized is not None and recognized.file == name
    reader = find_reader(_opened({"a.jpg": b"", name: content.encode("utf-16")})).reader
    assert (reader.format, reader.title) == ("coco", "COCO")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labelme.json", '{"version": "5", "flags": {}, "shapes": [{"label": "a"}], "imagePath": "a.jpg"}'),
        ("via.json", '{"a.jpg1": {"filename": "a.jpg", "size": 1, "regions": []}}'),
        ("studio.json", '[{"id": 1, "annotations": [{"result": [], "image_id": 1}], "data": {}}]'),
        ("darwin.json", '{"version": "2.0", "item": {}, "annotations": [{"name": "a", "bounding_box": {}}]}'),
        ("datumaro.json", '{"info": {}, "categories": {"label": {}}, "items": [{"annotations": [{"image_id": 1}]}]}'),
        ("captions_val2017.json", '{"images": [{"file_name": "a.jpg", "id": 1}], "annotations": [{"image_id": 1}]}'),
        ("image_info_test2017.json", '{"images": [{"file_name": "a.jpg", "id": 1}], "categories": []}'),
        # Label Studio writes it beside YOLO labels.
        ("notes.json", '{"categories": [{"id": 0, "name": "cat"}], "info": {"contributor": "Label Studio"}}'),
        ("empty.json", ""),
        ("deep.json", "[" * 100_000),
        ("broken.json", '{"images"'),
        ("images.txt", '{"images": [{"file_name": "a.jpg"}]}'),
    ],
)
def test_other_files_are_not_recognized(name: str, content: str) -> None:
    assert recognize(_opened({"a.jpg": b"", name: content.encode()})) is None


def test_among_many_files_the_likely_ones_are_looked_at(tmp_path: Path) -> None:
    contents = {f"a/{number}.json": b"{}" for number in range(100)}
    coco = {"z/instances.json": b'{"images": [{"file_name": ""}]}'}
    opened: list[str] = []

    def open_file(name: str) -> io.BytesIO:
        opened.append(name)
        return io.BytesIO({**contents, **coco}[name])

    assert recognize(DataFiles(sorted(contents | coco), open_file)) is not None
    assert recognize(DataFiles(sorted(contents), open_file)) is None
    assert len(opened) < 30


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("annotations/instances_train2017.json", 0),
        ("person_keypoints_val2017.json", 1),
        ("train.json", 0),
        ("val.json", 1),
        ("valid.json", 1),
        ("Test.json", 2),
        ("annotations_test-dev.json", 2),
        ("train/_annotations.coco.json", 0),
        ("valid/_annotations.coco.json", 1),
        ("set/test/labels/result.json", 2),
        ("test/instances_val.json", 1),
        ("trainval.json", None),
        ("train_and_val.json", None),
        ("my_test_project/result.json", None),
    ],
)
def test_a_split_is_that_of_the_file_or_its_folder(tmp_path: Path, path: str, split: int | None) -> None:
    drawn(tmp_path, "images/a.jpg", "images/b.jpg")
    write(tmp_path / path, [image(1, "a.jpg"), image(2, "b.jpg")], [box(1)])
    items, faults = found(tmp_path)
    assert {name: item.split for name, item in items.items()} == {"images/a.jpg": split, "images/b.jpg": split}
    assert not faults


def test_the_folders_of_roboflow_go_to_their_splits(tmp_path: Path) -> None:
    """Also, the first category is the project, without boxes, and has the name of a class."""
    cats = [{"id": 0, "name": "cat", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "cat"}]
    for folder in ("train", "valid", "test"):
        names = [f"{folder}{number}.jpg" for number in range(3)]
        drawn(tmp_path / "data" / folder, *names)
        images = [image(number, name) for number, name in enumerate(names)]
        write(tmp_path / "data" / folder / "_annotations.coco.json", images, [box(0, category=1), box(2, category=1)], cats)
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert {name: (split["pictures"], split["boxes"], split["negatives"]) for name, split in dataset["splits"].items()} == {
        name: (3, 2, 1) for name in ("train", "validation", "test")
    }
    assert list(dataset["label_map"].values()) == ["cat"]
    assert dataset["warnings"] == [] and dataset["faults"] == []


POLYGON = [10, 5, 20.5, 5, 15, 30]
RUNS = {"size": [48, 64], "counts": [48 * 2 + 3, 4, 44, 5, 48 * 64 - 152]}  # rows 3 to 6 of column 2, 3 to 7 of column 3


def _compressed(runs: dict[str, Any]) -> dict[str, Any]:
    packed = coco_masks.frPyObjects(runs, *runs["size"])
    return {"size": packed["size"], "counts": packed["counts"].decode()}


@pytest.mark.parametrize(
    ("labels", "sides"),
    [
        ({"bbox": [1, 2, 3, 4.5]}, (1, 2, 4, 6.5)),
        ({"bbox": ["1", "2", " 3 ", "4"]}, (1, 2, 4, 6)),
        ({"bbox": [0.1, 0.2, 10.2, 10.1]}, (0.1, 0.2, 10.3, 10.3)),
        ({"bbox": [1, 2, 3, 4], "segmentation": [POLYGON]}, (1, 2, 4, 6)),
        ({"segmentation": [POLYGON]}, (10, 5, 20.5, 30)),
        ({"segmentation": POLYGON}, (10, 5, 20.5, 30)),
        ({"bbox": [], "segmentation": [POLYGON, [1, 40, 2, 41, 3, 40]]}, (1, 5, 20.5, 41)),
        ({"bbox": None, "segmentation": RUNS}, (2, 3, 4, 8)),
        ({"segmentation": _compressed(RUNS)}, (2, 3, 4, 8)),
    ],
)
def test_a_box_is_given_or_that_of_the_outline(tmp_path: Path, labels: dict[str, object], sides: tuple[float, ...]) -> None:
    drawn(tmp_path, "a.jpg")
    label = box(1)
    del label["bbox"]
    write(tmp_path / "a.json", [image(1, "a.jpg")], [{**label, **labels}])
    items, faults = found(tmp_path)
    assert not faults
    assert boxes(items["a.jpg"]) == [("cat", *sides)]
    assert '"size":[64,48]' in (items["a.jpg"].part or b"").decode()


@settings(deadline=2000, max_examples=100)
@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False), st.floats(0, 1))
def test_the_box_of_a_mask_is_that_of_its_pixels(width: int, height: int, random: Any, share: float) -> None:
    pixels = np.array([[random.random() < share for _ in range(width)] for _ in range(height)], np.uint8, order="F")
    packed = coco_masks.encode(pixels)
    flat = pixels.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    runs = np.diff([0, *edges, flat.size]).tolist()
    rows, columns = np.nonzero(pixels)
    expected = None if not rows.size else (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert outline_box({"size": [height, width], "counts": packed["counts"].decode()}) == expected
    assert outline_box({"size": [height, width], "counts": runs}) == expected


def test_ids_are_joined_whether_text_or_numbers(tmp_path: Path) -> None:
    drawn(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    cats = [*CATS, {"id": "c", "name": "hen"}, {"id": 3, "name": "unused"}]
    labels = [box("a/1", category="c"), box("5"), box(2**70, category=90.0), box(5, (1, 1, 5, 5), "90")]
    write(tmp_path / "a.json", [image("a/1", "a.jpg"), image(5, "b.jpg"), image(2**70, "c.jpg")], labels, cats)
    items, faults = found(tmp_path)
    assert not faults
    named = {name: [label[0] for label in boxes(item)] for name, item in items.items()}
    assert named == {"a.jpg": ["hen"], "b.jpg": ["cat", "dog"], "c.jpg": ["dog"]}


def test_crowds_are_left_out_and_images_without_labels_are_negatives(tmp_path: Path) -> None:
    drawn(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    crowd = box(1, (0, 0, 9, 9), iscrowd=1, segmentation=RUNS)
    labels = [crowd, box(1), {**crowd, "image_id": 2}, {**crowd, "image_id": 2, "category_id": 4, "bbox": None}]
    write(tmp_path / "a.json", [image(1, "a.jpg"), image(2, "b.jpg"), image(3, "c.jpg", width=0)], labels)
    items, faults = found(tmp_path)
    assert faults == ["only_crowds a.json: for b.jpg, all of its annotations are crowds"]
    assert boxes(items["a.jpg"]) == [("cat", 8, 6, 40, 30)]
    assert items["c.jpg"] == Item("c.jpg", "a.json", b'{"size":null,"objects":[]}', None)
    assert items["d.jpg"] == Item("d.jpg", None)
    assert set(items) == {"a.jpg", "c.jpg", "d.jpg"}


@pytest.mark.parametrize("crowd", ["true", 2, True, 1.0, "1"])
def test_a_crowd_may_be_marked_otherwise(tmp_path: Path, crowd: object) -> None:
    drawn(tmp_path, "a.jpg")
    write(tmp_path / "a.json", [image(1, "a.jpg")], [box(1), box(1, (0, 0, 9, 9), iscrowd=crowd)])
    assert boxes(found(tmp_path)[0]["a.jpg"]) == [("cat", 8, 6, 40, 30)]


@pytest.mark.parametrize("crowd", ["maybe", [1], float("nan")])
def test_a_crowd_that_means_nothing_is_said(tmp_path: Path, crowd: object) -> None:
    drawn(tmp_path, "a.jpg")
    write(tmp_path / "a.json", [image(1, "a.jpg")], [box(1), box(1, (0, 0, 9, 9), iscrowd=crowd)])
    (fault,) = found(tmp_path)[1]
    assert "a.jpg" in fault and "iscrowd that is neither 0 nor 1" in fault


def test_crowds_beside_boxes_are_counted(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(6)]
    drawn(tmp_path / "data", *names)
    save(tmp_path / "data" / "panoptic_val2017" / "0.png", picture("segments"))  # which is no image
    crowd = box(3, (0, 0, 9, 9), iscrowd=1, segmentation=RUNS)
    labels = [*map(box, range(6)), crowd, crowd]
    write(tmp_path / "data" / "a.json", [image(number, name) for number, name in enumerate(names)], labels)
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert sum(split["boxes"] for split in dataset["splits"].values()) == 6
    assert [one for one in dataset["warnings"] if "crowds" in one and one.startswith("2 ") and "3.jpg" in one]


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (64, 48, (64, 48)),
        (64.0, 48, (64, 48)),
        *((side, 48, None) for side in (0, -64, None, "64", True, 64.5, [64], 10**400, float("nan"))),
        (64, {}, None),
    ],
)
def test_a_size_is_used_if_it_is_one(tmp_path: Path, width: object, height: object, size: object) -> None:
    drawn(tmp_path, "a.jpg")
    write(tmp_path / "a.json", [image(1, "a.jpg", width=width, height=height)], [box(1)])
    items, faults = found(tmp_path)
    assert not faults
    assert CocoReader().read(items["a.jpg"].part or b"").size == size


@pytest.mark.parametrize(
    "given",
    ["a.jpg", "images/a.jpg", "/home/me/set/images/a.jpg", "C:\\Users\\me\\images\\a.jpg", "./a.jpg", "../images/A.JPG"],
)
def test_paths_of_other_machines_find_their_images(tmp_path: Path, given: str) -> None:
    drawn(tmp_path, "images/a.jpg", "images/b.jpg")
    write(tmp_path / "labels" / "a.json", [image(1, given)], [box(1)])
    items, faults = found(tmp_path)
    assert not faults
    assert items["images/a.jpg"].source == "labels/a.json"
    reader = CocoReader()
    assert reader.labeled_images(listing_of(tmp_path)) == {"images/a.jpg"}


Change = Callable[[dict[str, Any]], object]


def _image_of(**more: object) -> Change:
    return lambda coco: coco["images"][0].update(more)


def _label_of(**more: object) -> Change:
    return lambda coco: coco["annotations"][0].update(more)


def _add(name: str, *entries: object) -> Change:
    return lambda coco: coco[name].extend(entries)


# What is done to a set of a.jpg with a box, b.jpg without one, and c.jpg that is not listed; the fault; the images that stay.
FAULTS: dict[str, tuple[Change, str, str]] = {
    "no image": (_image_of(file_name="gone/x.jpg"), "missing_picture a.json: its image gone/x.jpg is missing", "abc"),
    "HEIC": (_image_of(file_name="x.heic"), "missing_picture a.json: its image x.heic is in no format that Boxcar", "abc"),
    "several images": (_image_of(file_name="d.jpg"), "same_stem a.json: d.jpg could be x/d.jpg or y/d.jpg", "abc"),
    "no file_name": (_image_of(file_name=None), "broken_labels a.json: 1 of its images has no file_name", "b"),
    "empty file_name": (_image_of(file_name=""), "broken_labels a.json: 1 of its images has no file_name", "b"),
    "list as file_name": (_image_of(file_name=[1]), "broken_labels a.json: 1 of its images has no file_name", "b"),
    "no objects": (_add("images", 3, None, []), "broken_labels a.json: 3 of its images have no file_name", "ab"),
    "no id": (_add("images", {"file_name": "c.jpg"}), "broken_labels a.json: its entry for c.jpg has no id", "ab"),
    "boolean id": (_add("images", image(True, "c.jpg")), "broken_labels a.json: its entry for c.jpg has no id", "ab"),
    "image twice": (
        _add("images", image(9, "a.jpg")),
        "two_annotations a.json: it describes a.jpg, which it lists twice",
        "bc",
    ),
    "entry twice": (
        _add("images", image(1, "a.jpg")),
        "two_annotations a.json: it describes a.jpg, which it lists twice",
        "bc",
    ),
    "id twice": (_add("images", image(1, "c.jpg")), "two_annotations a.json: its images a.jpg and c.jpg have one id, 1", "b"),
    "unknown image": (
        _add("annotations", box(8), box(9)),
        "unknown_id a.json: an annotation has the image_id 8, which is not listed, and so has 1 other",
        "ab",
    ),
    "no image_id": (_add("annotations", box(None)), "unknown_id a.json: an annotation has no image_id", "ab"),
    "no annotation": (_add("annotations", 7), "unknown_id a.json: an annotation has no image_id", "ab"),
    "unknown category": (
        _add("annotations", box(1, category=8), box(1, category=8), box(1, category=8)),
        "unknown_id a.json: for a.jpg, box 2 has the category_id 8, which is not listed, and so have 2 others",
        "bc",
    ),
    "no category": (_label_of(category_id=None), "unknown_id a.json: for a.jpg, box 1 has no category_id", "bc"),
    "category without a name": (
        lambda coco: (coco["categories"][0].pop("name"), None),
        "no_class_name a.json: for a.jpg, box 1 has no class name",
        "bc",
    ),
    "no box": (
        _label_of(bbox=None),
        "box_incomplete a.json: for a.jpg, box 1 (cat) has neither a bbox nor a segmentation",
        "bc",
    ),
    "three numbers": (
        _label_of(bbox=[1, 2, 3]),
        "box_incomplete a.json: for a.jpg, box 1 (cat) has a bbox that is not four",
        "bc",
    ),
    "five numbers": (_label_of(bbox=[1, 2, 3, 4, 5]), "box_incomplete a.json: for a.jpg, box 1 (cat) has a bbox that", "bc"),
    "words": (_label_of(bbox=[1, "x", 3, True]), "box_incomplete a.json: for a.jpg, box 1 (cat) has a bbox that", "bc"),
    "an object as box": (_label_of(bbox={"x": 1}), "box_incomplete a.json: for a.jpg, box 1 (cat) has a bbox that", "bc"),
    "NaN": (_label_of(bbox=[float("nan"), 1, 2, 3]), "box_not_finite a.json: for a.jpg, box 1 (cat)", "bc"),
    "huge": (_label_of(bbox=[1, 1, 10**400, 3]), "box_not_finite a.json: for a.jpg, box 1 (cat)", "bc"),
    "negative": (_label_of(bbox=[9, 9, -2, 3]), "box_upside_down a.json: for a.jpg, box 1 (cat) [9, 9, 7, 12] is upside", "bc"),
    "no width": (_label_of(bbox=[9, 9, 0, 3]), "box_without_area a.json: for a.jpg, box 1 (cat)", "bc"),
    "outside": (_label_of(bbox=[9, 9, 90, 3]), "box_outside a.json: for a.jpg, box 1 (cat)", "bc"),
    "size": (_image_of(width=100), "size_mismatch a.json: for a.jpg, it says 100×48, the image is 64×48", "bc"),
}
OUTLINES: list[object] = [
    [[1, 2, 3]], [["x", 1]], [[1, 2], 3], [[]], [[True, False]], "x", 5, {"size": [4, 4]}, {"counts": [1, 2]},
    {"size": [4, 4], "counts": [1, -2]}, {"size": [4, 4], "counts": [9, 9]}, {"size": [0, 4], "counts": [0, 1]},
    {"size": [4, 4], "counts": [16]}, {"size": [4, 4], "counts": "\u00e9"}, {"size": [4, 4], "counts": "o"},
    {"size": ["4", 4], "counts": [1, 2]}, {"size": [4, 4], "counts": "o" * 50}, {"size": [4, 4], "counts": {}},
    {"size": [10**400, 4], "counts": [1, 2]}, {"size": [4, 4], "counts": ["1", 2]},
]  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_used_is_a_fault_and_no_negative(tmp_path: Path, name: str) -> None:
    change, words, left = FAULTS[name]
    drawn(tmp_path, "a.jpg", "b.jpg", "c.jpg", *(("x/d.jpg", "y/d.jpg") if name == "several images" else ()))
    coco: dict[str, Any] = {"images": [image(1, "a.jpg"), image(2, "b.jpg")], "annotations": [box(1)], "categories": CATS}
    coco = json.loads(json.dumps(coco))
    change(coco)
    write(tmp_path / "a.json", **coco)
    items, faults = found(tmp_path)
    assert len(faults) == 1 and faults[0].startswith(words), faults
    assert set(items) == {f"{letter}.jpg" for letter in left}


@pytest.mark.parametrize("outline", OUTLINES, ids=str)
def test_an_outline_that_is_not_understood_is_a_fault(tmp_path: Path, outline: object) -> None:
    drawn(tmp_path, "a.jpg")
    write(tmp_path / "a.json", [image(1, "a.jpg")], [box(1, [], segmentation=outline)])
    items, faults = found(tmp_path)
    assert faults == ["box_incomplete a.json: for a.jpg, box 1 (cat) has no bbox, and a segmentation without an outline"]
    assert not items


def test_two_files_that_describe_one_image_are_a_fault(tmp_path: Path) -> None:
    drawn(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "train.json", [image(1, "a.jpg")], [box(1)])
    write(tmp_path / "val.json", [image(1, "a.jpg"), image(2, "b.jpg")], [box(2)])
    items, faults = found(tmp_path)
    assert faults == ["two_annotations val.json: it describes a.jpg, which train.json already describes"]
    assert {name: item.split for name, item in items.items()} == {"b.jpg": 1}


def test_coco_s_other_files_about_the_same_images_are_not_read(tmp_path: Path) -> None:
    drawn(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    images = [image(1, "a.jpg"), image(2, "b.jpg")]
    write(tmp_path / "annotations" / "instances_val2017.json", images, [box(1)])
    for name in ("person_keypoints_val2017", "stuff_val2017", "captions_val2017", "image_info_val2017", "panoptic_val2017"):
        write(tmp_path / "annotations" / f"{name}.json", images, [box(2)])
    write(tmp_path / "said.json", images, [{"image_id": 1, "id": 1, "caption": "a cat"}])
    write(tmp_path / "panoptic.json", images, [{"image_id": 1, "segments_info": [], "file_name": "a.png"}])
    (tmp_path / "image_list.json").write_text(json.dumps({"images": images, "categories": CATS}))
    (tmp_path / "other.json").write_text('[{"a": 1}]')
    items, faults = found(tmp_path)
    assert not faults
    assert {name: (item.split, len(boxes(item))) for name, item in items.items() if item.source} == {
        "a.jpg": (1, 1),
        "b.jpg": (1, 0),
    }
    assert items["c.jpg"].source is None
    assert CocoReader().labeled_images(listing_of(tmp_path)) == {"a.jpg", "b.jpg"}


def test_a_broken_file_leaves_out_all_that_it_may_describe(tmp_path: Path) -> None:
    drawn(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    write(tmp_path / "good.json", [image(1, "a.jpg")], [box(1)])
    cut = write(tmp_path / "bad.json", [image(1, "b.jpg"), image(2, "gone.jpg")], [box(1), box(5)])
    cut.write_bytes(cut.read_bytes()[:-150])
    items, faults = found(tmp_path)
    assert len(faults) == 1 and faults[0].startswith("broken_labels bad.json: the JSON is cut off after ")
    assert set(items) == {"a.jpg"}
    (fault,) = (one for one in CocoReader().items(listing_of(tmp_path)) if isinstance(one, Fault))
    assert fault.done == "left out, with its images and all that no label file lists"
    assert CocoReader().image_names(cut.read_bytes()) == []


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([*CATS, {"id": 90, "name": "wolf"}], 'a.json calls the category 90 both "dog" and "wolf".'),
        ([*CATS, {"id": "8", "name": " cat"}], 'a.json has two categories named "cat", 7 and 8.'),
        ([*CATS, {"id": 90, "name": "dog", "color": "red"}, {"id": None, "name": "x"}, {"name": "x"}, 3, None, []], None),
    ],
)
def test_an_ambiguous_category_is_65(tmp_path: Path, categories: list[object], words: str | None) -> None:
    drawn(tmp_path, "a.jpg")
    write(tmp_path / "a.json", [image(1, "a.jpg")], [box(1), box(1, category=8 if words and "two" in words else 7)], categories)
    if words is None:
        assert [label[0] for label in boxes(found(tmp_path)[0]["a.jpg"])] == ["cat", "cat"]
        return
    with pytest.raises(BoxcarError) as caught:
        found(tmp_path)
    assert (caught.value.code, caught.value.what) == (ExitCode.DATA, words)


def test_too_many_boxes_of_an_image_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_join, "LARGEST_ANNOTATION", 1000)
    drawn(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "a.json", [image(1, "a.jpg"), image(2, "b.jpg")], [box(1)] * 1000 + [box(2)])
    items, faults = found(tmp_path)
    assert faults == ["labels_too_large a.json: for a.jpg, its boxes and outlines have more than 1,000 bytes"]
    assert set(items) == {"b.jpg"}


def test_a_full_disk_is_69(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_tables, "_TABLES", f"PRAGMA max_page_count = 8;{coco_tables._TABLES}")
    drawn(tmp_path, "a.jpg")
    write(tmp_path / "a.json", [image(1, "a.jpg")], [box(1)] * 1000)
    with pytest.raises(
        BoxcarError, match="Temporary files for the labels cannot be written: database or disk is full"
    ) as caught:
        found(tmp_path)
    assert caught.value.code == ExitCode.ENVIRONMENT


def test_a_part_depends_on_its_image_only(tmp_path: Path) -> None:
    """A file that is written again, in another order, with other ids, gives the same parts, so that nothing is to be done."""
    drawn(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "a.json", [image(1, "a.jpg"), image(2, "b.jpg")], [box(1), box(2, category=90)])
    before = {name: item.part for name, item in found(tmp_path)[0].items()}
    cats = [{"id": 1, "name": "dog"}, {"id": 0, "name": "cat", "supercategory": "x"}]
    write(tmp_path / "a.json", [image("y", "b.jpg"), image("x", "a.jpg")], [box("y", category=1), box("x", category=0)], cats)
    assert {name: item.part for name, item in found(tmp_path)[0].items()} == before


_JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.sampled_from(["a.jpg", "b.jpg", "x", "1", "", "\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["size", "counts", "id"]), inner, max_size=2),
    max_leaves=6,
)


def _entries(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(
        st.fixed_dictionaries({}, optional={name: member | _JUNK for name, member in members.items()}) | _JUNK, max_size=4
    )


_KEYS = st.integers(0, 2)
_COCO = st.fixed_dictionaries(
    {},
    optional={
        "annotations": _entries(
            image_id=_KEYS, category_id=_KEYS, bbox=st.lists(st.integers(0, 50), min_size=4, max_size=4), iscrowd=_KEYS
        )
        | _JUNK,
        "images": _entries(id=_KEYS, file_name=st.sampled_from(["a.jpg", "b.jpg"]), width=st.just(64), height=st.just(48))
        | _JUNK,
        "categories": _entries(id=_KEYS, name=st.sampled_from(["cat", "dog"])) | _JUNK,
    },
)


def _listed(content: bytes) -> Iterator[Item | Fault]:
    reader = CocoReader()
    return reader.items(
        Listing(["a.jpg", "a.json", "b.jpg"], lambda name: reader.image_names(content), lambda name: io.BytesIO(content))
    )


@settings(deadline=2000, max_examples=200)
@given(_COCO, st.integers(0, 400))
def test_any_entries_give_items_or_faults(coco: object, cut: int) -> None:
    text = json.dumps(coco)
    content = text[: max(len(text) - cut, 0) if cut < 100 else None].encode()
    try:
        seen = list(_listed(content))
    except BoxcarError as error:
        assert error.code == ExitCode.DATA
        return
    items = [one for one in seen if isinstance(one, Item)]
    images = [item.image for item in items]
    assert len(set(images)) == len(images) and set(images) <= {"a.jpg", "b.jpg"}
    if len(items) < 2:
        assert len(seen) > len(items), "what is left out has a fault"
    for item in items:
        if item.part is not None:
            checked_objects(CocoReader().read(item.part), 64, 48)
    CocoReader().image_names(content)


@settings(deadline=2000, max_examples=200)
@given(st.binary(max_size=60) | _JUNK.map(lambda junk: json.dumps({"size": None, "objects": junk}).encode()))
def test_any_part_gives_an_annotation_or_a_fault(content: bytes) -> None:
    try:
        CocoReader().read(content)
    except FaultyError as error:
        assert error.kind == "broken_labels"
