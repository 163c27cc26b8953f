"""Outlines: the same from every format, drawn as pycocotools does, and masks in the records."""

import base64
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import cvat_image, cvat_xml, lm_shape, lm_text, via_images, via_region
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import label, pair, picture, records_of, save
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_masks
from read_data import read_data

from boxcar.data.example import read_examples
from boxcar.data.messages import TfExample
from boxcar.records import build_records
from boxcar.records.annotation import LabeledObject, objects_digest
from boxcar.records.mask_png import mask_png
from boxcar.records.masks import MOST_MASK_PIXELS, OutlineCheck, drawn
from boxcar.records.outline import Mask, Outline, coco_outline

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # in pycocotools

WIDTH, HEIGHT = SIZE = (64, 48)
POLYGON = [10.0, 5.0, 40.5, 8.0, 30.0, 30.0, 12.0, 28.25]
POINTS = list(zip(POLYGON[::2], POLYGON[1::2], strict=True))
BOX = (10.0, 5.0, 40.5, 30.0)
PIXELS = np.zeros((HEIGHT, WIDTH), np.bool_)
PIXELS[6:20, 10:31] = np.random.default_rng(0).random((14, 21)) < 0.7
PIXELS[6, 10] = PIXELS[19, 30] = True


def whole(outline: Outline, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.bool_]:
    """The outline's pixels in an image."""
    pixels, left, top = drawn(outline, width, height)
    found = np.zeros((height, width), np.bool_)
    found[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return found


def runs_of(flat: NDArray[np.bool_]) -> list[int]:
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0)).tolist()
    return [int(run) for run in np.diff([0, *edges, flat.size])]


def png(pixels: NDArray[Any], mode: str = "L") -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels.astype(np.uint8) * (255 if mode == "1" else 1))
    if mode == "P":
        image.putpalette([index * 37 % 256 for index in range(3 * 256)])
    image.convert(mode).save(file, "PNG")
    return file.getvalue()


def coco(folder: Path, *segmentations: object, bbox: object = None, size: tuple[int, int] = SIZE, **more: object) -> Path:
    """One image, `a.jpg`, with a cat for each segmentation."""
    save(folder / "a.jpg", picture("a", size))
    labels = [{"image_id": 1, "category_id": 1, "bbox": bbox, "segmentation": one, **more} for one in segmentations]
    images = [{"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}]
    (folder / "a.json").write_text(
        json.dumps({"images": images, "annotations": labels, "categories": [{"id": 1, "name": "cat"}]})
    )
    return folder


def text_file(folder: Path, name: str, text: str) -> Path:
    save(folder / "a.jpg", picture("a", SIZE))
    (folder / name).write_text(text)
    return folder


def yolo(folder: Path, points: list[tuple[float, float]]) -> Path:
    (folder / "data.yaml").write_text("names: [cat]")
    return text_file(folder, "a.txt", " ".join(["0", *(f"{x / WIDTH:.9g} {y / HEIGHT:.9g}" for x, y in points)]))


def voc(folder: Path, *insides: str) -> Path:
    objects = "".join(f"<object><name>cat</name>{inside}</object>" for inside in insides)
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    return text_file(folder, "a.xml", f"<annotation><filename>a.jpg</filename>{size}{objects}</annotation>")


def studio(folder: Path, **value: object) -> Path:
    result = {"type": "polygon", "original_width": WIDTH, "original_height": HEIGHT, "value": value}
    return text_file(
        folder, "a.json", json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": [result]}], "predictions": []}])
    )


def brush(pixels: NDArray[np.bool_], literal: bool) -> list[int]:
    """The pixels as Label Studio's RLE: each row's runs or, if `literal`, each pixel's four values, with colors."""
    text = f"{4 * pixels.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    for row in pixels:
        for begin, end in itertools.pairwise([0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]):
            value = 255 * int(row[begin])
            if literal:
                text += "".join(f"000{3:03b}{200:08b}{100:08b}{0:08b}{value:08b}" for _ in range(begin, end))
            else:
                text += f"111{4 * (end - begin) - 1:016b}{value:08b}"
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def voc_masks(
    folder: Path, numbers: NDArray[Any], boxes: list[tuple[str, object, object, object, object]], mode: str = "P"
) -> Path:
    save(folder / "JPEGImages" / "a.jpg", picture("a", SIZE))
    label(folder / "Annotations" / "a.xml", SIZE, boxes)
    (folder / "SegmentationObject").mkdir()
    (folder / "SegmentationObject" / "a.png").write_bytes(png(numbers, mode))
    return folder


def only_object(folder: Path) -> LabeledObject:
    found = read_data(folder)
    assert found.faults == [] and found.unused == []
    ((item,),) = found.objects.values()
    return item


_PTS = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in POINTS)
_NUMBERED = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(POINTS, start=1))
_BNDBOX = "<bndbox><xmin>10</xmin><ymin>5</ymin><xmax>40.5</xmax><ymax>30</ymax></bndbox>"
_CVAT_POINTS = ";".join(f"{x},{y}" for x, y in POINTS)
_VIA = via_region({"class": "cat"}, "polygon", all_points_x=POLYGON[::2], all_points_y=POLYGON[1::2])

POLYGONS: dict[str, Callable[[Path], Path]] = {
    "coco": lambda folder: coco(folder, [POLYGON]),
    "coco with a box": lambda folder: coco(folder, [POLYGON], bbox=[10, 5, 30.5, 25]),
    "yolo": lambda folder: yolo(folder, POINTS),
    "cvat": lambda folder: text_file(
        folder, "a.xml", cvat_xml(cvat_image("a.jpg", f'<polygon label="cat" points="{_CVAT_POINTS}"/>'))
    ),
    "label-studio": lambda folder: studio(
        folder, polygonlabels=["cat"], points=[[x / WIDTH * 100, y / HEIGHT * 100] for x, y in POINTS]
    ),
    "labelme": lambda folder: text_file(
        folder, "a.json", lm_text("a.jpg", [lm_shape("cat", [[x, y] for x, y in POINTS], "polygon")])
    ),
    "via": lambda folder: text_file(folder, "a.json", json.dumps(via_images({"a.jpg": [_VIA]}))),
    "voc": lambda folder: voc(folder, f"{_BNDBOX}<polygon>{_PTS}</polygon>"),
    "voc of Roboflow": lambda folder: voc(folder, f"{_BNDBOX}<polygon>{_NUMBERED}</polygon>"),
    "LabelMe of the MIT": lambda folder: voc(folder, f"<deleted>0</deleted><polygon><username>me</username>{_PTS}</polygon>"),
}


@pytest.mark.parametrize("name", POLYGONS)
def test_a_polygon_is_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    item = only_object(POLYGONS[name](tmp_path))
    assert item[:5] == ("cat", *BOX)
    assert item.outline == Outline([POLYGON], [])


def _compressed(pixels: NDArray[np.bool_]) -> dict[str, Any]:
    packed = coco_masks.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"size": list(packed["size"]), "counts": packed["counts"].decode()}


_PART = PIXELS[5:21, 8:31]  # larger than the object
_CVAT_MASK = (
    f'<mask label="cat" rle="{", ".join(map(str, runs_of(_PART.ravel())))}" left="8" top="5"'
    f' width="{_PART.shape[1]}" height="{_PART.shape[0]}"/>'
)

MASKS: dict[str, Callable[[Path], Path]] = {
    "coco": lambda folder: coco(folder, {"size": [HEIGHT, WIDTH], "counts": runs_of(PIXELS.T.ravel())}),
    "coco compressed": lambda folder: coco(folder, _compressed(PIXELS)),
    "cvat": lambda folder: text_file(folder, "a.xml", cvat_xml(cvat_image("a.jpg", _CVAT_MASK))),
    "labelme": lambda folder: text_file(
        folder,
        "a.json",
        lm_text("a.jpg", [lm_shape("cat", [[8, 5], [30, 20]], "mask", mask=base64.b64encode(png(_PART, "1")).decode())]),
    ),
    "label-studio": lambda folder: studio(folder, format="rle", rle=brush(PIXELS, False), brushlabels=["cat"]),
    "label-studio with colors": lambda folder: studio(folder, format="rle", rle=brush(PIXELS, True), brushlabels=["cat"]),
    "voc": lambda folder: voc_masks(folder, PIXELS, [("cat", 10, 6, 31, 20)]),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    outline = only_object(MASKS[name](tmp_path)).outline
    assert outline is not None and (outline.polygons, len(outline.masks)) == ([], 1)
    assert outline.masks[0][:2] + outline.masks[0][3:] == (21, 14, 10, 6), "without what is empty at its sides"
    assert (whole(outline) == PIXELS).all()


def test_the_masks_of_a_voc_tree_belong_to_the_objects_in_their_order(tmp_path: Path) -> None:
    numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
    numbers[5:15, 5:15], numbers[20:30, 30:50], numbers[15, 5:15] = 3, 1, 255
    boxes = [("dog", 30, 20, 50, 30), ("cat", 1, 40, 5, 45), ("cat", 5, 5, 15, 16)]
    found = read_data(voc_masks(tmp_path, numbers, boxes))
    outlines = [item.outline for item in found.objects["JPEGImages/a.jpg"]]
    assert outlines == [
        Outline([], [Mask(20, 10, [0, 200], 30, 20)]),
        None,
        Outline([], [Mask(10, 10, [0, 100], 5, 5)]),
    ]
    assert found.items[0].masks == "SegmentationObject/a.png"


@pytest.mark.parametrize(
    ("numbers", "mode", "reason"),
    [
        (PIXELS * 2, "P", "object 2, but there are 1 boxes"),
        (PIXELS, "RGB", "colors"),
        (PIXELS[:, 1:], "P", "63×48 pixels instead of 64×48"),
        (np.roll(PIXELS, 25, axis=1), "P", "elsewhere"),
    ],
)
def test_masks_that_do_not_fit_the_objects_are_left_out(tmp_path: Path, numbers: NDArray[Any], mode: str, reason: str) -> None:
    found = read_data(voc_masks(tmp_path, numbers, [("cat", 10, 6, 31, 20)], mode))
    assert [item[:5] for item in found.objects["JPEGImages/a.jpg"]] == [("cat", 10, 6, 31, 20)]
    assert found.objects["JPEGImages/a.jpg"][0].outline is None
    (unused,) = found.unused
    assert reason in unused and "a." in unused


def test_parts_and_round_shapes_are_outlines_and_rectangles_are_none(tmp_path: Path) -> None:
    shapes = [
        lm_shape("cat", [[5, 5], [15, 5], [10, 15]], "polygon", group_id=1),
        lm_shape("cat", [[30, 20], [33, 24]], "circle", group_id=1),
        lm_shape("dog", [[1, 1], [9, 9]]),
        lm_shape("hen", [[5, 5], [15, 5], [10, 15]], "polygon", group_id=2),
        lm_shape("hen", [[1, 1], [9, 9]], group_id=2),
    ]
    cat, dog, hen = read_data(text_file(tmp_path, "a.json", lm_text("a.jpg", shapes))).objects["a.jpg"]
    assert (dog.outline, hen.outline) == (None, None)
    assert cat.outline is not None and len(cat.outline.polygons) == 2
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    circle = np.hypot(x - 30, y - 20) < 5
    assert (whole(cat.outline)[:, 20:] ^ circle[:, 20:]).sum() <= 4


def test_a_bndbox_is_not_that_of_its_polygons_and_deleted_polygons_are_no_objects(tmp_path: Path) -> None:
    polygon = f"<polygon>{_PTS}</polygon>"
    found = read_data(voc(tmp_path, f"<deleted>1</deleted>{polygon}", "<bndbox><xmin>9</xmin></bndbox>" + polygon))
    assert found.kinds == ["box_incomplete"]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_polygons_are_drawn_as_pycocotools_does(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    side = st.floats(-2, 62).map(lambda number: round(number, 2)) | st.integers(-2, 62).map(float)
    points = data.draw(st.lists(side, min_size=6, max_size=40).filter(lambda found: len(found) % 2 == 0))
    expected = coco_masks.decode(coco_masks.frPyObjects([points], height, width))[:, :, 0]
    assert (whole(Outline([points]), width, height) == expected).all()


def test_large_polygons_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxcar.records.masks._AT_ONCE", 10)
    points = np.random.default_rng(0).uniform(0, 50, 200).round(2).tolist()
    expected = coco_masks.decode(coco_masks.frPyObjects([points], HEIGHT, WIDTH))[:, :, 0]
    assert (whole(Outline([points])) == expected).all()


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.integers(1, 300), st.randoms(use_true_random=False))
def test_a_png_has_the_pixels_of_the_mask(width: int, height: int, random: Any) -> None:
    left, top = random.randrange(width), random.randrange(height)
    right, bottom = random.randint(left + 1, width), random.randint(top + 1, height)
    content = mask_png(None, (left, top, right - 0.5, bottom), width, height)
    expected = np.zeros((height, width), np.uint8)
    expected[top:bottom, left:right] = 1
    with Image.open(io.BytesIO(content)) as image:
        assert (image.mode, image.size) == ("L", (width, height))
        assert (np.asarray(image) == expected).all()


@pytest.mark.parametrize("outline", [Outline([[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]]), None])
def test_an_object_without_a_pixel_in_its_outline_has_its_box_as_its_mask(outline: Outline | None) -> None:
    with Image.open(io.BytesIO(mask_png(outline, (5.1, 5.1, 6.2, 5.9), *SIZE))) as image:
        assert np.argwhere(image).tolist() == [[5, 5], [5, 6]]


UNUSABLE: dict[str, tuple[Any, str]] = {
    "odd": ([[1, 2, 3, 4, 5, 6, 7]], "no list of x, y"),
    "words": ([[1, 2, 3, "4", 5, 6]], "no list of x, y"),
    "truths": ([[1, 2, 3, True, 5, 6]], "no list of x, y"),
    "nested": ([[[1, 2], [3, 4], [5, 6]]], "no list of x, y"),
    "NaN": ([[1, 2, 3, float("nan"), 5, 6]], "not finite"),
    "infinite": ([[1, 2, 3, 1e400, 5, 6]], "not finite"),
    "digits": ([[1, 2, 3, 10**400, 5, 6]], "too many digits"),
    "far": ([[1e300, 0, 2e300, 0, 2e300, 1e300]], "elsewhere"),
    "beside": ([[50, 40, 60, 40, 60, 45]], "elsewhere"),
    "no size": ({"counts": [3, 4]}, "cannot be read"),
    "size of words": ({"size": ["48", "64"], "counts": [3, 4]}, "cannot be read"),
    "other size": ({"size": [64, 48], "counts": [10, 48 * 64 - 10]}, "48×64, which does not fit the image of 64×48"),
    "huge size": ({"size": [2**40, 2**40], "counts": [0, 2**80]}, "does not fit"),
    "few runs": ({"size": [48, 64], "counts": [3, 4]}, "7 pixels instead of 3,072"),
    "many runs": ({"size": [48, 64], "counts": [3, 5000]}, "5,003 pixels instead"),
    "negative runs": ({"size": [48, 64], "counts": [48 * 64 + 1, -1]}, "without runs"),
    "no runs": ({"size": [48, 64]}, "0 pixels"),
    "broken text": ({"size": [48, 64], "counts": "\x00"}, "without runs"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_outline_that_cannot_be_used_is_said_and_the_box_stays(tmp_path: Path, name: str) -> None:
    segmentation, reason = UNUSABLE[name]
    found = read_data(coco(tmp_path, segmentation, bbox=[1, 2, 20, 20]))
    assert found.faults == []
    assert found.objects["a.jpg"] == [LabeledObject("cat", 1, 2, 21, 22, 0, 0, "Unspecified")]
    (unused,) = found.unused
    assert "a.jpg: box 1 (cat) has a" in unused and reason in unused


@pytest.mark.parametrize("segmentation", [None, [], {}, [[]], [[1, 2, 21, 22]], [[1, 2, 1, 2, 1, 2]], [[1, 2] * 2, []]])
def test_an_outline_without_area_is_none(tmp_path: Path, segmentation: object) -> None:
    found = read_data(coco(tmp_path, segmentation, bbox=[1, 2, 20, 20]))
    assert (found.faults, found.unused) == ([], [])
    assert found.objects["a.jpg"] == [LabeledObject("cat", 1, 2, 21, 22, 0, 0, "Unspecified")]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=7) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inside, max_size=3),
    max_leaves=12,
).filter(lambda found: isinstance(found, list | dict) and bool(found))


@settings(deadline=None, max_examples=200)
@given(_JSON)
def test_any_json_is_an_outline_or_unusable(segmentation: Any) -> None:
    check = OutlineCheck(*SIZE, None)
    found = check.checked(coco_outline(segmentation), (0, 0, WIDTH, HEIGHT), "box 1")
    assert found is None or not check.unused
    if found is not None:
        assert drawn(found, *SIZE)[0].shape <= (HEIGHT, WIDTH)


def test_outlines_that_take_too_long_to_draw_are_a_fault() -> None:
    width, height = 4000, 3000
    zigzag = np.stack([np.tile([0, width], 100_000), np.linspace(0, height, 200_000)], axis=1).ravel().tolist()
    check = OutlineCheck(width, height, None)
    check.checked(Outline([zigzag]), (0, 0, width, height), "box 1")
    assert [kind for kind, _ in check.problems(1)] == ["labels_too_large"]
    check = OutlineCheck(width, height, None)
    full = Outline((), [Mask(width, height, [0, width * height])])
    for _ in range(1000):
        if check.checked(full, (0, 0, width, height), "box 1") is None:
            break
    assert [kind for kind, _ in check.problems(1)] == ["labels_too_large"]


def test_masks_of_too_many_objects_are_a_fault() -> None:
    check = OutlineCheck(4000, 3000, None)
    assert check.checked(Outline([POLYGON]), BOX, "box 1") is not None
    assert check.problems(3000) == []
    ((kind, reason),) = check.problems(10_000)
    assert kind == "labels_too_large" and f"{MOST_MASK_PIXELS:,}" in reason


def features(output: Path) -> dict[str, Any]:
    """The features of each record, by the image's file name."""
    found = {}
    for shard in sorted(output.glob("*.tfrecord")):
        for record in records_of(shard):
            feature = TfExample.FromString(record).features.feature
            found[feature["image/filename"].bytes_list.value[0].decode()] = feature
    return found


def masks_in(feature: Any) -> list[NDArray[np.uint8]]:
    return [np.asarray(Image.open(io.BytesIO(content))) for content in feature["image/object/mask"].bytes_list.value]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of an image with and without an outline, some without any, one without objects, and one turned by EXIF."""
    folder = tmp_path_factory.mktemp("mixed")
    for number in range(4):
        save(folder / "data" / f"p{number}.jpg", picture(number, SIZE), quality=90)
    upright = np.full((WIDTH, HEIGHT, 3), 30, np.uint8)  # 48 wide, 64 high
    upright[PIXELS.T] = 220
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "data" / "turned.png", Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90), exif=exif)
    images = [{"id": n, "file_name": f"p{n}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(4)]
    images.append({"id": 9, "file_name": "turned.png", "width": HEIGHT, "height": WIDTH})
    labels = [
        {"image_id": 0, "category_id": 1, "bbox": [1, 2, 20, 20]},
        {"image_id": 0, "category_id": 1, "segmentation": [POLYGON, [50, 40, 60, 40, 60, 45]]},
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 20, 20], "segmentation": []},
        {"image_id": 2, "category_id": 1, "bbox": [1, 2, 20, 20], "segmentation": [[1, 2, 3]]},
        {"image_id": 9, "category_id": 1, "segmentation": _compressed(PIXELS.T)},
    ]
    content = {"images": images, "annotations": labels, "categories": [{"id": 1, "name": "cat"}]}
    (folder / "data" / "a.json").write_text(json.dumps(content))
    build_records(str(folder / "data"), str(folder / "out"))
    return folder / "out"


def test_each_object_has_a_mask_in_the_order_of_the_boxes(mixed: Path) -> None:
    found = features(mixed)
    boxes = {name: len(feature["image/object/bbox/xmin"].float_list.value) for name, feature in found.items()}
    assert {name: len(masks_in(feature)) for name, feature in found.items()} == boxes
    assert found["p3.jpg"]["image/object/mask"].WhichOneof("kind") == "bytes_list"
    assert sum(len(example.labels) for example in read_examples(mixed.glob("*.tfrecord"))) == 5, "what training reads"
    box, parts = masks_in(found["p0.jpg"])
    assert box.shape == parts.shape == (HEIGHT, WIDTH)
    assert np.argwhere(box).min(0).tolist() == [2, 1] and box.sum() == 20 * 20
    expected = coco_masks.frPyObjects([POLYGON, [50, 40, 60, 40, 60, 45]], HEIGHT, WIDTH)
    assert (parts == coco_masks.decode(coco_masks.merge(expected))).all()


def test_masks_are_turned_with_the_image(mixed: Path) -> None:
    feature = features(mixed)["turned.png"]
    (mask,) = masks_in(feature)
    assert (mask == PIXELS.T).all()
    with Image.open(io.BytesIO(feature["image/encoded"].bytes_list.value[0])) as image:
        assert ((np.asarray(image)[..., 0] > 125) == mask).all()


def test_what_has_no_outline_or_one_that_cannot_be_used_is_said(mixed: Path) -> None:
    dataset = json.loads((mixed / "dataset.json").read_text())
    assert dataset["outlines"] == 2 and dataset["faults"] == []
    about = [warning for warning in dataset["warnings"] if "outline" in warning]
    assert len(about) == 2
    assert "1 outline" in about[0] and "p2.jpg" in about[0]
    assert "Of 5 objects, 3 have no outline" in about[1]


def test_masks_are_read_from_records(mixed: Path) -> None:
    found = {name.partition("/")[2]: objects for name, objects in read_data(mixed).objects.items()}
    for name, feature in features(mixed).items():
        outlines = [item.outline for item in found[name]]
        width, height = (feature[f"image/{side}"].int64_list.value[0] for side in ("width", "height"))
        for outline, mask in zip(outlines, masks_in(feature), strict=True):
            assert outline is not None and (whole(outline, width, height) == mask).all()


def test_data_without_outlines_has_no_masks(tmp_path: Path) -> None:
    for number in range(3):
        pair(tmp_path / "data", f"p{number}")
    build_records(str(tmp_path / "data"), str(tmp_path / "out"))
    assert all("image/object/mask" not in feature for feature in features(tmp_path / "out").values())
    assert "outlines" not in json.loads((tmp_path / "out" / "dataset.json").read_text())


def test_another_outline_is_another_data_set() -> None:
    objects = [LabeledObject("cat", *BOX, 0, 0, "Unspecified", outline) for outline in (None, Outline([POLYGON]))]
    other = objects[1]._replace(outline=Outline([[*POLYGON[:-1], 27.0]]))
    assert objects_digest(b"", objects) == objects_digest(b"", objects[::-1])
    assert len({objects_digest(b"", found) for found in (objects, [objects[0]] * 2, [objects[0], other])}) == 3
