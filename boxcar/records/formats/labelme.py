"""LabelMe's JSON: one file per image.

LabelMe stores pixels. Polygons, circles, and masks are outlines, whose box is the one around them. Shapes of one class with the
same `group_id` are parts of one object, which has an outline if all of its parts have one. Points and lines have no area and
are left out where the image also has a box.

The file may contain the image itself, which is removed before the JSON is parsed.
"""

import base64
import json
import math
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from boxcar.records.annotation import Annotation
from boxcar.records.check import LARGEST_ANNOTATION
from boxcar.records.faults import Fault, FaultyError
from boxcar.records.formats.text import is_marked
from boxcar.records.json_beginning import BEGINNING, Beginning, beginning
from boxcar.records.outline import Mask, Outline
from boxcar.records.paired_reader import PairedReader
from boxcar.records.pairing import paired
from boxcar.records.reader import DataFiles, Item, Listing, Recognized
from boxcar.records.shapes import Box, Shape, Shapes, around, class_name, not_a_box, oval_polygon, points_of

_LOOKED_AT = 20  # files
_IMAGE_DATA = re.compile(rb'"imageData"\s*:\s*"[^"\\]*"')  # base64
_WITHOUT_AREA = {"point": "points", "points": "points", "line": "lines", "linestrip": "lines"}


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes JSON files by their keys."""
    reader = LabelMeReader()
    for name in islice(filter(reader.is_annotation, files.names), _LOOKED_AT):
        if _is_labelme(beginning(files.beginning(name, BEGINNING))):
            return Recognized(reader, name)
    return None


def _is_labelme(found: Beginning) -> bool:
    keys, shape = found.keys[1], found.keys[3]  # in {, and in {"shapes": [{
    shapes = "shapes" in keys and ("imagePath" in keys or {"label", "points"} <= shape)
    image = "imageData" in keys and bool(keys & {"imagePath", "imageHeight", "flags", "lineColor"})
    return found.first == "{" and (shapes or image)


class LabelMeReader(PairedReader):
    """Reads LabelMe's JSON; see `boxcar.records.reader.AnnotationReader`."""

    format = "labelme"
    title = "LabelMe"
    largest_file = 100_000_000  # bytes: the image in base64, and its shapes

    def is_annotation(self, name: str) -> bool:
        return name[-5:].lower() == ".json"

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        """As in `AnnotationReader`. JSON files that describe no image and are not LabelMe's are left out."""
        for item in paired(listing):
            if not isinstance(item, Item) or item.image is not None or item.source is None or _may_be(listing, item.source):
                yield item

    def read(self, content: bytes) -> Annotation:
        """Parses a JSON file's bytes.

        Raises:
            FaultyError: it cannot be understood.
        """
        found = _parsed(content)
        shapes, path = found.get("shapes"), found.get("imagePath")
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            raise FaultyError("broken_labels", "the JSON has no list of shapes, so it is not LabelMe's")
        # The path may contain halves of surrogate pairs, which JSON can express.
        image = path.encode("utf-8", "replace").decode().replace("\\", "/").rpartition("/")[2] if isinstance(path, str) else ""
        return Annotation(image or None, _size(found), _objects(shapes))


def _may_be(listing: Listing, name: str) -> bool:
    """Whether a file is LabelMe's, or a broken one that could have been."""
    try:
        with listing.open(name) as file:
            found = beginning(file.read(BEGINNING))
    except FaultyError:
        return True
    return found.first not in ("[", "{") or _is_labelme(found)


def _parsed(content: bytes) -> dict[str, Any]:
    content = _IMAGE_DATA.sub(b'"imageData": null', content)
    if len(content) > LARGEST_ANNOTATION:
        reason = f"it has {len(content):,} bytes without its image; the limit is {LARGEST_ANNOTATION:,}"
        raise FaultyError("labels_too_large", reason)
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise FaultyError("broken_labels", "the JSON is broken (it is nested too deeply)") from error
    except ValueError as error:  # also of an encoding, and of a number of too many digits
        raise FaultyError("broken_labels", f"the JSON is broken ({error})") from error
    if not isinstance(found, dict):
        raise FaultyError("broken_labels", "the JSON is no object, so it is not LabelMe's")
    return found


def _size(found: dict[str, Any]) -> tuple[int, int] | None:
    width, height = found.get("imageWidth"), found.get("imageHeight")
    if width is None and height is None:
        return None
    if type(width) is not int or type(height) is not int:
        raise FaultyError("broken_labels", "the JSON's imageWidth and imageHeight are no whole numbers")
    return width, height


def _objects(found: list[dict[str, Any]]) -> list[Any]:
    """The objects of shapes, one for each group of a class."""
    shapes = Shapes()
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for place, shape in enumerate(found):
        kind, group = shape.get("shape_type", "polygon"), shape.get("group_id")
        if isinstance(kind, str) and kind in _WITHOUT_AREA:
            shapes.leave_out(_WITHOUT_AREA[kind])
            continue
        if not isinstance(group, int | str | None):
            raise FaultyError("broken_labels", "a group_id is no number")
        key = (class_name(shape.get("label")), f"shape {place}" if group is None else f"group {group}")
        groups.setdefault(key, []).append(shape)
    for (name, _), parts in groups.items():
        shapes.add(name, partial(_joined, parts), any(map(_is_difficult, parts)))
    return shapes.objects()


def _is_difficult(shape: dict[str, Any]) -> bool:
    difficult = is_marked(shape.get("difficult"))
    if difficult is None:
        raise FaultyError("broken_labels", "a shape's difficult is neither true nor false")
    return difficult


def _joined(shapes: list[dict[str, Any]]) -> Shape:
    """All shapes of an object as one."""
    boxes, outlines = zip(*map(_part, shapes), strict=True)
    box = around([corner for xmin, ymin, xmax, ymax in boxes for corner in ((xmin, ymin), (xmax, ymax))])
    found = [outline for outline in outlines if outline is not None]
    if len(found) < len(shapes):
        return Shape(box)
    polygons = [points for outline in found for points in outline.polygons]
    return Shape(box, Outline(polygons, [mask for outline in found for mask in outline.masks]))


def _part(shape: dict[str, Any]) -> tuple[Box, Outline | None]:
    """The box and the outline of a shape."""
    kind = shape.get("shape_type", "polygon")
    if kind not in ("rectangle", "oriented_rectangle", "rotation", "polygon", "circle", "mask"):
        raise not_a_box(class_name(kind)[:40] or "shape without a type")
    points = points_of(shape.get("points"))
    xmin, ymin, xmax, ymax = box = around(points)
    if kind == "circle":
        if len(points) != 2:
            raise FaultyError("box_incomplete", f"has {len(points)} points, a circle has 2")
        (x, y), rim = points
        radius = math.dist((x, y), rim)
        return (x - radius, y - radius, x + radius, y + radius), Outline([oval_polygon((x, y), (radius, radius))])
    if kind == "mask":  # its corners are the first and the last pixel
        return (xmin, ymin, xmax + 1, ymax + 1), _mask(xmin, ymin, shape.get("mask"))
    return box, Outline([[side for point in points for side in point]]) if kind == "polygon" else None


def _mask(left: float, top: float, encoded: Any) -> Outline:
    """The outline of a mask, which is a PNG in base64."""
    from boxcar.records.mask_images import decoded_mask  # which loads NumPy
    from boxcar.records.masks import mask_of

    try:
        pixels = decoded_mask(base64.b64decode(encoded))
    except (ValueError, TypeError):
        return Outline((), [Mask(0, 0, "")])  # the check of the outline reports it
    return Outline((), [mask_of(pixels != 0, round(left), round(top))])
