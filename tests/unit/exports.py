"""The same six drawn pictures as labeling tools export them, for the tests of the label formats."""

import json
from pathlib import Path
from typing import Any

from labelled import label, picture, save

from boxcar.records import build_records

SIZE = (64, 48)
PICTURES: dict[str, list[tuple[str, int, int, int, int]]] = {  # boxes of each; the last picture shows no object
    "p0.jpg": [("cat", 8, 6, 40, 30)],
    "p1.jpg": [("cat", 16, 12, 48, 36), ("dog", 0, 0, 32, 24)],
    "p2.jpg": [("dog", 4, 4, 20, 44)],
    "p3.jpg": [("cat", 32, 24, 64, 48)],
    "p4.jpg": [("dog", 8, 0, 56, 12), ("dog", 8, 12, 56, 24), ("cat", 0, 36, 16, 48)],
    "p5.jpg": [],
}


def draw(folder: Path, below: str = "") -> Path:
    """Saves the pictures, in the folder `below` of the data folder."""
    for name in PICTURES:
        save(folder / below / name, picture(name, SIZE), quality=90)
    return folder


def version(data: Path) -> str:
    """The data set's version of the records of a folder."""
    output = data.with_name(f"{data.name}-records")
    build_records(str(data), str(output))
    return str(json.loads((output / "dataset.json").read_text())["version"])


def voc(folder: Path) -> Path:
    for name, boxes in PICTURES.items():
        label((folder / name).with_suffix(".xml"), SIZE, list(boxes))
    return draw(folder)


def cvat_xml(images: str, meta: str = "") -> str:
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>{meta}{images}</annotations>\n'


def cvat_image(name: str, shapes: str, extra: str = "") -> str:
    return f'<image id="0" name="{name}" width="{SIZE[0]}" height="{SIZE[1]}" {extra}>{shapes}</image>\n'


def cvat_box(name: str, *sides: object, extra: str = "") -> str:
    xmin, ymin, xmax, ymax = sides
    return (
        f'<box label="{name}" occluded="0" xtl="{xmin}" ytl="{ymin}" xbr="{xmax}" ybr="{ymax}" {extra} z_order="0">'
        f'<attribute name="colour">red</attribute></box>'
    )


def cvat(folder: Path) -> Path:
    images = "".join(cvat_image(name, "".join(cvat_box(*box) for box in boxes)) for name, boxes in PICTURES.items())
    draw(folder, "images")
    (folder / "annotations.xml").write_text(cvat_xml(images))
    return folder


def ls_result(name: str, *sides: float, **more: Any) -> dict[str, Any]:
    """A rectangle as Label Studio's result."""
    (xmin, ymin, xmax, ymax), (width, height) = sides, SIZE
    place = {"x": xmin / width * 100, "y": ymin / height * 100}
    extent = {"width": (xmax - xmin) / width * 100, "height": (ymax - ymin) / height * 100}
    return {
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**place, **extent, "rotation": 0, "rectanglelabels": [name]},
        "id": "C7oHaRDVVC",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "origin": "manual",
        **more,
    }


def ls_task(image: str, *annotations: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A task with one annotation for each list of results."""
    found = [{"id": 1, "completed_by": 1, "result": result, "was_cancelled": False} for result in annotations]
    return {"id": 1, "annotations": found, "file_upload": "x", "predictions": [], "data": {"image": image}, "meta": {}, **more}


def label_studio(folder: Path) -> Path:
    draw(folder)
    tasks = [ls_task(f"/data/upload/3/0a1b2c3d-{name}", [ls_result(*box) for box in boxes]) for name, boxes in PICTURES.items()]
    (folder / "project-3-at-2026.json").write_text(json.dumps(tasks, indent=2))
    return folder


def label_studio_min(folder: Path) -> Path:
    draw(folder)
    tasks = []
    for name, boxes in PICTURES.items():
        results = [ls_result(*box) for box in boxes]
        sizes = {"original_width": SIZE[0], "original_height": SIZE[1]}
        labels = {"label": [{**result["value"], **sizes} for result in results]} if results else {}
        tasks.append({"image": f"/data/upload/3/0a1b2c3d-{name}", "id": 1, **labels, "annotator": 1, "annotation_id": 1})
    (folder / "result.json").write_text(json.dumps(tasks))
    return folder


def lm_shape(name: object, points: object, kind: str = "rectangle", **more: Any) -> dict[str, Any]:
    return {"label": name, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def lm_text(name: str, shapes: list[dict[str, Any]], **more: Any) -> str:
    found = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": "aGVsbG8="}
    return json.dumps({**found, "imageHeight": SIZE[1], "imageWidth": SIZE[0], **more}, indent=2)


def labelme(folder: Path) -> Path:
    draw(folder)
    for name, boxes in PICTURES.items():
        shapes = [lm_shape(cls, [[xmax, ymin], [xmin, ymax]]) for cls, xmin, ymin, xmax, ymax in boxes]
        (folder / name).with_suffix(".json").write_text(lm_text(f"..\\images\\{name}", shapes))
    return folder


def via_region(attributes: object, shape: str = "rect", **numbers: object) -> dict[str, Any]:
    return {"shape_attributes": {"name": shape, **numbers}, "region_attributes": attributes}


def via_images(images: dict[str, Any]) -> dict[str, Any]:
    rest = {"size": -1, "file_attributes": {}}
    return {f"{name}-1": {"filename": name, **rest, "regions": regions} for name, regions in images.items()}


def via_all() -> dict[str, Any]:
    return via_images(
        {
            name: [
                via_region({"kind": cls}, x=xmin, y=ymin, width=xmax - xmin, height=ymax - ymin)
                for cls, xmin, ymin, xmax, ymax in boxes
            ]
            for name, boxes in PICTURES.items()
        }
    )


def via(folder: Path) -> Path:
    draw(folder)
    (folder / "via_export_json.json").write_text(json.dumps(via_all()))
    return folder


def via_project(folder: Path) -> Path:
    draw(folder)
    project = {
        "_via_settings": {"ui": {"annotation_editor_height": 25}, "core": {"default_filepath": ""}},
        "_via_img_metadata": via_all(),
        "_via_attributes": {"region": {"kind": {"type": "text"}}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(via_all()),
    }
    (folder / "via_project.json").write_text(json.dumps(project))
    return folder
