"""JSON of the VGG Image Annotator (VIA) 1 and 2: one file for many images, its annotations alone or a project.

VIA stores pixels. Polygons, circles, and ellipses are outlines, whose box is the one around them. Points and polylines
have no area and are left out where the image also has a box. The class is in one of the regions' attributes, whose names the
person has chosen.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from math import degrees
from typing import Any, BinaryIO

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import Annotation
from boxcar.records.entries import EntriesReader, Entry
from boxcar.records.faults import FaultyError, shown
from boxcar.records.images import is_image
from boxcar.records.json_beginning import BEGINNING, Beginning, beginning
from boxcar.records.json_stream import JsonText
from boxcar.records.reader import DataFiles, Listing, Recognized
from boxcar.records.shapes import Shape, Shapes, class_name, ellipse, not_a_box, number, polygon

_LOOKED_AT = 20  # files
_MOST_ATTRIBUTES = 1000  # of which the names are kept
_PROJECT = "_via_img_metadata"
_USUAL = re.compile(r"(class|label|object|category)(name|type)?|name|type")  # attributes for the class
_WITHOUT_AREA = {"point": "points", "polyline": "polylines", "line": "lines"}


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes JSON files by the keys of their first images."""
    reader = ViaReader()
    for name in islice(filter(reader.is_annotation, files.names), _LOOKED_AT):
        if _is_via(beginning(files.beginning(name, BEGINNING))):
            return Recognized(reader, name)
    return None


def _is_via(found: Beginning) -> bool:
    image = found.keys[2]  # in {"a.jpg123": {
    return found.first == "{" and (_is_project(found) or {"filename", "regions"} <= image or {"filename", "size"} <= image)


def _is_project(found: Beginning) -> bool:
    return any(key.startswith("_via_") for key in found.keys[1])


class ViaReader(EntriesReader):
    """Reads VIA's JSON."""

    format = "via"
    title = "VIA"
    suffix = ".json"

    def entries(self, listing: Listing | None) -> Callable[[BinaryIO], Iterator[Entry]]:
        return partial(_entries, "" if listing is None else _class_attribute(listing))


def _class_attribute(listing: Listing) -> str:
    """The attribute that is the class in all files: the only one, or the only one with a usual name.

    Raises:
        BoxcarError: 64 if several could be it.
    """
    found: dict[str, str] = {}  # the first file of each attribute
    for source in listing.names:
        if is_image(source):
            continue
        try:
            with listing.open(source) as file:
                for image in _images(file):
                    for region in _regions(image):
                        for name, value in _attributes(region).items():
                            if name not in found and len(found) < _MOST_ATTRIBUTES and _classes(value):
                                found[name] = source
        except FaultyError:
            continue  # it is reported when the file is read again
    usual = [name for name in found if _USUAL.fullmatch(re.sub(r"[\s_-]", "", name).lower())]
    choice = sorted(usual or found)
    if len(choice) > 1:
        some = ", ".join(f'"{class_name(name)[:60]}" ({shown(found[name])})' for name in choice[:5])
        raise BoxcarError(
            ExitCode.USAGE,
            f"The regions have {len(choice)} attributes that could be the class: {some}.",
            "Rename the one that is the class to class in VIA, and the others to other words, or remove them.",
        )
    return choice[0] if choice else "class"


def _entries(attribute: str, file: BinaryIO) -> Iterator[Entry]:
    """The images of a file, each as soon as it is read; none of a file that is not VIA's.

    Args:
        attribute: the regions' one that is the class.

    Raises:
        FaultyError: `broken_labels` or `labels_too_large`.
    """
    for image in _images(file):
        name = image.get("filename")
        if not isinstance(name, str):
            raise FaultyError("broken_labels", "an image has no filename")
        try:
            yield Entry([name], _annotation(image, attribute))
        except FaultyError as error:
            yield Entry([name], error)


def _images(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The objects that describe images.

    Raises:
        FaultyError: as `_entries`.
    """
    found = beginning(file.read(BEGINNING))
    if found.first not in ("[", "{"):
        raise FaultyError("broken_labels", "it is no JSON")
    if not _is_via(found):
        return
    file.seek(0)
    text = JsonText(file)
    for key in text.members():
        if key == _PROJECT:
            for _ in text.members():
                yield _image(text.value())
            return  # nothing after it describes images
        value = text.value()
        if not _is_project(found):
            yield _image(value)


def _image(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FaultyError("broken_labels", "an image is no object")
    return value


def _regions(image: dict[str, Any]) -> list[dict[str, Any]]:
    """The regions of an image: VIA 1 numbers them, VIA 2 lists them."""
    regions = image.get("regions")
    found = list(regions.values()) if isinstance(regions, dict) else regions
    if not isinstance(found, list) or not all(isinstance(region, dict) for region in found):
        raise FaultyError("broken_labels", "it has no list of regions")
    return found


def _attributes(region: dict[str, Any]) -> dict[str, Any]:
    """A region's attributes; none if VIA has not written any."""
    attributes = region.get("region_attributes")
    return attributes if isinstance(attributes, dict) else {}


def _classes(value: Any) -> list[str]:
    """The classes that an attribute's value names: several boxes may be checked."""
    if isinstance(value, dict):
        value = [key for key, checked in value.items() if checked is True]
    values = value if isinstance(value, list) else [value]
    return [name for one in values if (name := class_name(str(one) if type(one) is int else one))]


def _annotation(image: dict[str, Any], attribute: str) -> Annotation:
    shapes = Shapes()
    for region in _regions(image):
        shape = region.get("shape_attributes")
        shape = shape if isinstance(shape, dict) else {}
        kind = class_name(shape.get("name"))
        if kind in _WITHOUT_AREA:
            shapes.leave_out(_WITHOUT_AREA[kind])
            continue
        classes = _classes(_attributes(region).get(attribute))
        if len(classes) > 1:
            raise FaultyError("no_class_name", f"a region has {len(classes)} classes: {', '.join(classes[:5])[:200]}")
        shapes.add(classes[0] if classes else None, partial(_shape, kind, shape))
    return Annotation(None, None, shapes.objects())


def _shape(kind: str, shape: dict[str, Any]) -> Shape:
    def value(name: str) -> float:
        return number(shape.get(name), name)

    match kind:
        case "rect":
            x, y = value("x"), value("y")
            return Shape((x, y, x + value("width"), y + value("height")))
        case "circle":
            return ellipse((value("cx"), value("cy")), (value("r"), value("r")))
        case "ellipse":  # since VIA 2.0.8 turned by an angle in radians
            angle = degrees(number(shape.get("theta", 0), "theta"))
            return ellipse((value("cx"), value("cy")), (value("rx"), value("ry")), angle)
        case "polygon":
            xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
            if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys) or not xs:
                raise FaultyError("box_incomplete", "has no all_points_x and all_points_y of the same length")
            return polygon([(number(x, "x"), number(y, "y")) for x, y in zip(xs, ys, strict=True)])
    raise not_a_box(kind[:40] or "shape without a name")
