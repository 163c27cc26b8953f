"""Labels that other programs wrote are read as the boxes and outlines that they were made from."""

import shutil
from pathlib import Path

import pytest
from exports import PICTURES, SIZE
from labelled import picture, save
from read_data import read_data

from boxcar.records.masks import drawn

EXPORTS = Path(__file__).parent / "exported_labels"
EXAMPLE = Path(__file__).parents[2] / "examples" / "data" / "voc"
# The format of each export, the folder of its images in train, and of those in val; without val if there are no splits.
FOLDERS = {
    "datumaro-coco": ("coco", "images/train", "images/val"),
    "datumaro-coco-seg": ("coco", "images/train", "images/val"),
    "datumaro-cvat": ("cvat", "images", "images"),
    "datumaro-cvat-seg": ("cvat", "images", "images"),
    "datumaro-open_images": ("csv", "images/train", "images/val"),
    "datumaro-voc": ("voc", "JPEGImages", "JPEGImages"),
    "datumaro-yolo": ("yolo", "obj_train_data", "obj_val_data"),
    "datumaro-yolo_ultralytics": ("yolo", "images/train", "images/val"),
    "supervision-coco": ("coco", "images", None),
    "supervision-voc": ("voc", "images", None),
    "supervision-yolo": ("yolo", "images", None),
}

# Of the exports with all kinds of shapes: two rectangles, one turned by 30 degrees, a polygon, a brush stroke or a mask,
# an image without an object, and one that nobody labeled.
Boxes = dict[str, list[tuple[str, float, float, float, float]] | None]
SHAPES: Boxes = {
    "p0": [("cat", 8, 6, 40, 30), ("dog", 0, 0, 16, 12)],
    "p1": [("cat", 17.61, 11.07, 46.39, 36.93)],
    "p2": [("dog", 16, 12, 48, 42)],
    "p3": [("cat", 8, 10, 40, 30)],
    "p4": [],
    "p5": None,
}
# Label Studio turns a rectangle about its corner.
STUDIO: Boxes = {**SHAPES, "p1": [("cat", 20, 12, 45.86, 40.78)], "p3": [("cat", 8, 20, 40, 24)]}
NOT_TURNED: Boxes = {"p1": [("cat", 32, 12, 48, 36)]}
TWO_MASKS: Boxes = {name: None for name in SHAPES} | {"p3": [("cat", 8, 10, 40, 30), ("dog", 0, 0, 16, 12)]}
# supervision's polygons go through the middles of pixels, and its Pascal VOC counts pixels from 1. Of a mask in two parts, it
# makes a crowd in COCO, and two objects elsewhere.
SEGMENTED: Boxes = {
    **{name: None for name in SHAPES},
    "p2": [("dog", 16, 12, 48, 42)],
    "p3": [("cat", 8, 10, 39, 29), ("dog", 4, 4, 19, 11), ("dog", 40, 30, 59, 43)],
    "p4": [],
}
# The format of each export, the boxes of each image, and how the images' names begin.
SHAPE_EXPORTS: dict[str, tuple[str, Boxes, str]] = {
    "label-studio-json": ("label-studio", STUDIO, "0a1b2c3d-"),
    "label-studio-json-min": ("label-studio", STUDIO, "0a1b2c3d-"),
    # The converter's COCO turns rectangles as if the image were square.
    "label-studio-coco": ("coco", {**STUDIO, "p1": [("cat", 16, 12, 45.86, 38.78)], "p3": [], "p5": []}, "0a1b2c3d-"),
    "label-studio-brush-to-coco": ("coco", {**STUDIO, **NOT_TURNED, "p2": [("dog", 16, 12, 49, 43)], "p4": None}, "0a1b2c3d-"),
    "label-studio-yolo": ("yolo", {**STUDIO, **NOT_TURNED, "p3": [], "p5": []}, "0a1b2c3d-"),
    "label-studio-yolo-obb": ("yolo", {**STUDIO, "p3": [], "p5": []}, "0a1b2c3d-"),
    "label-studio-voc": ("voc", {**STUDIO, **NOT_TURNED, "p2": [], "p3": [], "p4": None}, "0a1b2c3d-"),
    "datumaro-cvat-shapes": ("cvat", SHAPES, ""),
    "cvat-sdk-masks": ("cvat", {**TWO_MASKS, "p4": SHAPES["p3"]}, ""),
    "labelme-shapes": ("labelme", SHAPES, ""),
    "supervision-coco-seg": ("coco", {**SEGMENTED, "p3": [("cat", 8, 10, 39, 29)]}, ""),
    "supervision-yolo-seg": ("yolo", SEGMENTED, ""),
    "supervision-voc-seg": (
        "voc",
        {name: boxes and [(cls, *(side + 1 for side in sides)) for cls, *sides in boxes] for name, boxes in SEGMENTED.items()},
        "",
    ),
}
TRACKS = "datumaro-cvat-tracks"


def test_every_export_is_read() -> None:
    assert FOLDERS.keys() | SHAPE_EXPORTS.keys() | {TRACKS} == {path.name for path in EXPORTS.iterdir() if path.is_dir()}


def _with_images(folder: Path, name: str, before: str = "") -> Path:
    shutil.copytree(EXPORTS / name, folder, dirs_exist_ok=True)
    for image in PICTURES:
        place = folder if name.startswith("labelme") else folder / "images"
        save(place / f"{before}{image}", picture(image, SIZE), quality=90)
    return folder


@pytest.mark.parametrize("name", SHAPE_EXPORTS)
def test_shapes_that_another_program_exported(tmp_path: Path, name: str) -> None:
    format, boxes, before = SHAPE_EXPORTS[name]
    found = read_data(_with_images(tmp_path, name, before))
    assert (found.reader.format, found.faults, found.unused) == (format, [], [])
    read = {Path(image).stem.removeprefix(before): labels for image, labels in found.boxes.items()}
    unlabeled = {Path(image).stem.removeprefix(before) for image in found.unlabeled}
    assert unlabeled == {image for image, labels in boxes.items() if labels is None}
    for image, labels in boxes.items():
        assert [one[0] for one in read[image]] == [one[0] for one in labels or ()], image
        for one, wanted in zip(read[image], labels or (), strict=True):
            assert one[1:] == pytest.approx(wanted[1:], abs=0.01), image


@pytest.mark.parametrize(
    ("name", "image", "pixels"),
    [
        ("label-studio-json", "p3", 16 * 4 + 16 * 2),
        ("label-studio-json-min", "p3", 16 * 4 + 16 * 2),
        ("datumaro-cvat-shapes", "p3", 16 * 20 + 16 * 10),
        ("cvat-sdk-masks", "p3", 16 * 20 + 16 * 10),
        ("cvat-sdk-masks", "p4", 16 * 20 + 16 * 10),
        ("labelme-shapes", "p3", 16 * 20 + 16 * 10),
    ],
)
def test_a_mask_that_another_program_exported_has_its_pixels(tmp_path: Path, name: str, image: str, pixels: int) -> None:
    before = SHAPE_EXPORTS[name][2]
    objects = read_data(_with_images(tmp_path, name, before)).objects
    (outline,) = [labels[0].outline for path, labels in objects.items() if Path(path).stem == before + image]
    assert outline is not None
    inside, left, top = drawn(outline, *SIZE)
    assert inside.sum() == pixels
    _, xmin, ymin, *_ = (SHAPE_EXPORTS[name][1][image] or [])[0]
    assert (left, top) == (xmin, ymin)


def test_tracks_of_a_video_are_refused(tmp_path: Path) -> None:
    found = read_data(_with_images(tmp_path, TRACKS))
    (fault,) = found.reasons
    assert "tracks of a video; export it from CVAT as CVAT for images 1.1" in fault
    assert not found.boxes and not found.unlabeled


@pytest.mark.parametrize("name", FOLDERS)
def test_an_export_of_another_program(tmp_path: Path, name: str) -> None:
    format, train, val = FOLDERS[name]
    shutil.copytree(EXPORTS / name, tmp_path, dirs_exist_ok=True)
    wanted = {}
    examples = read_data(EXAMPLE).boxes
    for number in range(1, 5):
        image = f"shapes-{number:04d}.jpg"
        place = tmp_path / (val if number == 4 and val else train) / image
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLE / "images" / image, place)
        # supervision counts the pixels of Pascal VOC from 1, but those of the other formats from 0.
        less = 1 if name in ("supervision-coco", "supervision-yolo") else 0
        boxes = [(one, x - less, y - less, *ends) for one, x, y, *ends in examples[f"images/{image}"]]
        wanted[str(place.relative_to(tmp_path))] = sorted(boxes)
    found = read_data(tmp_path)
    assert (found.reader.format, found.faults, found.unlabeled) == (format, [], [])
    assert {image: sorted(boxes) for image, boxes in found.boxes.items()} == wanted
    assert sorted(found.splits.values(), key=str) == ([0, 0, 0, 1] if val else [None] * 4)
