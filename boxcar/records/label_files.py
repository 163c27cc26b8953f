"""Writes a data folder's images and labels in the layout of one format, whatever format they are in."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TextIO

import yaml

from boxcar.config.class_choice import class_choice
from boxcar.data.label_map import with_classes
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.records.annotation import SIDES, LabeledObject, unpack
from boxcar.records.build import check_found
from boxcar.records.check import Unlabeled
from boxcar.records.checked import TREATMENTS, Row
from boxcar.records.data_folder import data_folder, refuse_own_folder
from boxcar.records.faults import FaultyError, shown
from boxcar.records.frames import frame_warnings
from boxcar.records.images import inspect, stored_bytes
from boxcar.records.shards import checked_content
from boxcar.records.source import Source, check_all, find_labels, opened_source
from boxcar.records.split_names import NO_SPLIT
from boxcar.records.written_outlines import coco_segmentation, one_polygon
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, Step
from boxcar.storage.local_files import os_errors, replace_text
from boxcar.sync.mirror import Mirror

Layout = Literal["voc", "coco", "yolo"]
STEP = "labels"
_FOLDERS = ("train", "val", "test")  # by the number of the split


def convert_labels(
    data: str,
    output: str,
    layout: Layout,
    *,
    format: str | None = None,
    on_fault: Literal["stop", "skip"] = "stop",
    unlabeled: Unlabeled = "stop",
    classes: Sequence[str] | None = None,
    max_megapixels: int = MOST_MEGAPIXELS,
) -> Committed:
    """Writes the images and labels of a data folder as Pascal VOC, COCO, or YOLO.

    Images are in `images/<split>`, with the folders that they had. `<split>` is train, val, or test where a folder or a list of
    the data gives it, and is missing elsewhere. Labels are in `annotations/<split>` (Pascal VOC), in
    `annotations/instances_<split>.json` (COCO), or in `labels/<split>` and `data.yaml` (YOLO). An image's bytes stay the same,
    except that an EXIF orientation which its labels ignore is removed, and that very large images are reduced as in records.
    Outlines are kept where the format has a form for them: COCO for all, Pascal VOC for polygons, and YOLO for polygons whose
    extent is the box.

    Args:
        data: folder or archive as for `build_records`.
        output: the folder to create (URI). If it already contains the same, nothing is done.
        layout: the format to write.
        format, on_fault, unlabeled, classes, max_megapixels: as for `build_records`.

    Raises:
        BoxcarError: as `build_records`; 65 if an image has changed since it was checked.
    """
    parameters: dict[str, Any] = {"layout": layout, "format": format, "on_fault": on_fault, "unlabeled": unlabeled}
    if classes is not None:
        parameters["classes"] = list(classes)
    choice = None if classes is None else class_choice(classes)
    with data_folder(data) as root, Mirror(output).working() as folder:
        refuse_own_folder(root, folder)
        Step(STEP, folder, {}, parameters).check_folder()  # before minutes of checking
        given, _ = find_labels(root, folder)
        given = given if choice is None else choice.applied_to(given)
        with opened_source(root, folder, format) as opened:  # type: ignore[arg-type]
            found = check_all(opened, True, unlabeled, choice, most_megapixels=max_megapixels)
            step = Step(STEP, folder, {"data": opened.table.files_digest()}, parameters)
            if (committed := step.done()) is not None:
                return committed
            check_found(opened, found, on_fault, choice)
            with step.writing():
                labels = with_classes(given, found.classes)
                _WRITERS[layout](_Images(opened, folder, labels, max_megapixels, frame_warnings(found))).write()
        assert step.committed is not None
        return step.committed


@dataclass(frozen=True)
class _Labeled:
    """An image that was written, with its objects in pixels of the upright image or, without EXIF, of the stored one."""

    number: int  # from 1
    name: PurePosixPath  # below `images`
    split: str  # train, val, test, or nothing
    row: Row
    objects: list[LabeledObject]


@dataclass
class _Images:
    """The sound images of a source."""

    source: Source
    folder: Path
    labels: dict[int, str]
    max_megapixels: int
    warnings: list[str]
    splits: set[str] = field(default_factory=set)  # of the images so far
    left_out: int = 0  # outlines that cannot be written

    def __iter__(self) -> Iterator[_Labeled]:
        """Writes the images one after the other. Can be used once."""
        table = self.source.table
        rows = table.images()
        rows = rows[rows["image"].argsort()]
        taken = set[str]()
        with Progress("Writing labels", len(rows), "images") as progress:
            for warning in self.warnings:
                progress.say(warning)
            for number, item in enumerate(rows, start=1):
                row = Row(*item.tolist())
                split = "" if row.split == NO_SPLIT else _FOLDERS[row.split]
                original = self.source.listing.names[row.image]
                name = _free_name(PurePosixPath(split, shown(original)), taken)
                self._copy(self.source.file_of(row), row, self.folder / "images" / name)
                self.splits.add(split)
                yield _Labeled(number, name, split, row, unpack(table.objects(rows[number - 1 : number])))
                progress.advance()
            if self.left_out:
                outlines = "1 outline" if self.left_out == 1 else f"{self.left_out} outlines"
                progress.say(f"The format has no form for {outlines}. Only the boxes of these objects were written.")

    def _copy(self, file: str, row: Row, path: Path) -> None:
        with os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                content = checked_content(self.source.root, file, row)
                inspected = inspect(content, full_decode=False, most_megapixels=self.max_megapixels)
                if inspected.reduction > 1 or (not row.turn and inspected.orientation != 1):
                    content, _ = stored_bytes(content, TREATMENTS[row.treatment], row.turn)
            except FaultyError as error:
                what = f"{shown(file)} changed while it was copied ({error})."
                raise BoxcarError(ExitCode.DATA, what, "Leave the data folder unchanged.", again=True) from error
            path.write_bytes(content)


def _free_name(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """The name, or one with its suffix before the dot if another image has its stem: their label files need different names."""
    while (stem := str(name.with_suffix("")).casefold()) in taken:
        name = name.with_name(f"{name.stem}_{name.suffix[1:]}{name.suffix}")
    taken.add(stem)
    return name


@dataclass
class _VocWriter:
    images: _Images

    def write(self) -> None:
        for image in self.images:
            path = self.images.folder / "annotations" / image.name.with_suffix(".xml")
            with os_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _voc(image).write(path, encoding="utf-8")
            self.images.left_out += sum(item.outline is not None and bool(item.outline.masks) for item in image.objects)


def _voc(image: _Labeled) -> "ET.ElementTree[ET.Element]":
    root = ET.Element("annotation")
    _add(root, "folder", image.name.parent.name)
    _add(root, "filename", image.name.name)
    size = _add(root, "size")
    for name, value in (("width", image.row.width), ("height", image.row.height), ("depth", 3)):
        _add(size, name, str(value))
    for item in image.objects:
        element = _add(root, "object")
        texts = (item.name, item.pose, str(item.truncated), str(item.difficult))
        for name, text in zip(("name", "pose", "truncated", "difficult"), texts, strict=True):
            _add(element, name, text)
        box = _add(element, "bndbox")
        for side, number in zip(SIDES, _box(item), strict=True):
            _add(box, side, _number(number))
        polygons = item.outline.polygons if item.outline is not None and not item.outline.masks else []
        for points in polygons:
            polygon = _add(element, "polygon")
            for x, y in zip(points[::2], points[1::2], strict=True):
                point = _add(polygon, "pt")
                _add(point, "x", _number(x))
                _add(point, "y", _number(y))
    ET.indent(root, "\t")
    return ET.ElementTree(root)


@dataclass
class _YoloWriter:
    images: _Images

    def write(self) -> None:
        folder = self.images.folder
        ids = {name: number for number, name in enumerate(self.images.labels.values())}
        for image in self.images:
            path = folder / "labels" / image.name.with_suffix(".txt")
            with os_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(self._line(item, ids, image.row) for item in image.objects), encoding="utf-8")
        used = self.images.splits
        content: dict[str, Any] = {split: f"images/{split}" for split in _FOLDERS if split in used}
        if used == {""}:  # who reads the file splits them
            content["train"] = "images"
        names = {number: name for name, number in ids.items()}
        text = yaml.safe_dump(content | {"names": names}, allow_unicode=True, sort_keys=False)
        replace_text(folder / "data.yaml", text)

    def _line(self, item: LabeledObject, ids: dict[str, int], row: Row) -> str:
        polygon = None if item.outline is None else one_polygon(item, row.width, row.height)
        self.images.left_out += item.outline is not None and polygon is None
        return _yolo(item, polygon, ids, row)


def _yolo(item: LabeledObject, polygon: list[float] | None, ids: dict[str, int], row: Row) -> str:
    xmin, ymin, xmax, ymax = _box(item)
    shares: list[float] = [
        (xmin + xmax) / 2 / row.width,
        (ymin + ymax) / 2 / row.height,
        (xmax - xmin) / row.width,
        (ymax - ymin) / row.height,
    ]
    if polygon is not None:
        shares = [side / (row.height if place % 2 else row.width) for place, side in enumerate(polygon)]
    return f"{ids[item.name]} {' '.join(f'{share:.9g}' for share in shares)}\n"


@dataclass
class _CocoWriter:
    """Images and annotations go into one file a split. The annotations wait in a second file until all images are there."""

    images: _Images
    files: dict[str, tuple[TextIO, TextIO]] = field(default_factory=dict)
    annotations: int = 0

    def write(self) -> None:
        folder = self.images.folder / "annotations"
        ids = {name: number for number, name in self.images.labels.items()}
        categories = [{"id": number, "name": name} for number, name in self.images.labels.items()]
        with os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                for image in self.images:
                    self._add(folder, image, ids)
                for images, annotations in self.files.values():
                    annotations.seek(0)
                    images.write('], "annotations": [')
                    shutil.copyfileobj(annotations, images)
                    images.write(f'], "categories": {json.dumps(categories, ensure_ascii=False)}}}\n')
            finally:
                for pair in self.files.values():
                    for file in pair:
                        file.close()
        for path in folder.glob(".annotations*"):
            path.unlink()

    def _add(self, folder: Path, image: _Labeled, ids: dict[str, int]) -> None:
        files = self.files.get(image.split)
        if files is None:
            end = f"_{image.split}" if image.split else ""
            files = self.files[image.split] = (
                (folder / f"instances{end}.json").open("x", encoding="utf-8"),
                (folder / f".annotations{end}").open("x+", encoding="utf-8"),
            )
            files[0].write('{"images": [')
        row = image.row
        entry = {"id": image.number, "file_name": str(image.name), "width": row.width, "height": row.height}
        _append(files[0], entry)
        for item in image.objects:
            self.annotations += 1
            xmin, ymin, xmax, ymax = _box(item)
            box = [xmin, ymin, round(xmax - xmin, 9), round(ymax - ymin, 9)]
            found: dict[str, Any] = {
                "id": self.annotations,
                "image_id": image.number,
                "category_id": ids[item.name],
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            if item.outline is not None:
                found["segmentation"], found["area"] = coco_segmentation(item.outline, row.width, row.height)
            _append(files[1], found)


def _append(file: TextIO, entry: dict[str, Any]) -> None:
    """Appends an element to a list that is being written."""
    begins = file.tell() == 0 or file.tell() == len('{"images": [')
    file.write(f"{'' if begins else ','}\n{json.dumps(entry, ensure_ascii=False)}")


_WRITERS: dict[Layout, Callable[[_Images], _VocWriter | _YoloWriter | _CocoWriter]] = {
    "voc": _VocWriter,
    "coco": _CocoWriter,
    "yolo": _YoloWriter,
}


def _box(item: LabeledObject) -> tuple[float, float, float, float]:
    return item.xmin, item.ymin, item.xmax, item.ymax


def _number(value: float) -> str:
    return f"{value:.10g}"


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    child = ET.SubElement(parent, name)
    child.text = text
    return child
