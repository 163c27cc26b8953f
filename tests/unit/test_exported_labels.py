"""Labels that Datumaro and supervision wrote are read as the same boxes."""

import shutil
from pathlib import Path

import pytest
from read_data import read_data

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


def test_every_export_is_read() -> None:
    assert set(FOLDERS) == {path.name for path in EXPORTS.iterdir() if path.is_dir()}


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
