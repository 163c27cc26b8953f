"""CVAT for images 1.1: one XML file for all images of a task or a project.

CVAT stores the edges of a rectangle in pixels, and its rotation in degrees, clockwise, about its center. Polygons, ellipses,
and masks are outlines. Their box, and that of a rotated rectangle, is the one around them. Points, polylines, and skeletons
have no area. They are left out where the image also has a box. Tags, which describe the image as a whole, are ignored.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import BinaryIO
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from boxcar.records.annotation import Annotation, parsed_number
from boxcar.records.check import LARGEST_ANNOTATION
from boxcar.records.entries import EntriesReader, Entry
from boxcar.records.faults import FaultyError
from boxcar.records.images import is_image
from boxcar.records.outline import Mask, Outline
from boxcar.records.reader import DataFiles, Listing, Recognized
from boxcar.records.shapes import Point, Shape, Shapes, ellipse, not_a_box, number, polygon, turned
from boxcar.records.split_names import NO_SPLIT, named_split

_ROOT = re.compile(rb"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)")  # as for Pascal VOC, so that no file is of both formats
_LOOKED_AT = 20  # files
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_CHUNK = 262_144  # bytes: a long attribute is read again for every chunk that it is in
_DEEPEST = 100  # elements in each other; each takes memory
_LONGEST_NAME = 1000  # characters, of a task
_WITHOUT_AREA = {"points": "points", "polyline": "polylines", "skeleton": "skeletons"}
_SUFFIXES = (".jpg", ".png")  # of the frames of a video, which CVAT may name without


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes XML files by their root."""
    reader = CvatReader()
    for name in islice(filter(reader.is_annotation, files.names), _LOOKED_AT):
        root = _ROOT.search(files.beginning(name))
        if root is not None and root[1] == b"annotations":
            return Recognized(reader, name)
    return None


class CvatReader(EntriesReader):
    """Reads CVAT XML."""

    format = "cvat"
    title = "CVAT"
    suffix = ".xml"

    def entries(self, listing: Listing | None) -> Callable[[BinaryIO], Iterator[Entry]]:
        return _entries


def _entries(file: BinaryIO) -> Iterator[Entry]:
    """The images of an XML file, each as soon as it is read.

    Raises:
        FaultyError: `dangerous_xml`, `broken_labels`, or `labels_too_large`.
    """
    document = _Document()
    parser = DefusedXMLParser(target=document)
    expat = parser.parser  # passes elements directly to the document, as in the reader of Pascal VOC
    expat.ordered_attributes = False
    expat.StartElementHandler, expat.EndElementHandler = document.start, document.end
    expat.CharacterDataHandler = document.data
    waiting = 0  # bytes since an image was complete
    try:
        while content := file.read(_CHUNK):
            parser.feed(content)
            found, document.found = document.found, []
            yield from found
            waiting = 0 if found else waiting + len(content)
            if waiting > LARGEST_ANNOTATION:
                raise FaultyError("labels_too_large", f"one image has more than {LARGEST_ANNOTATION:,} bytes")
        parser.close()
    except DefusedXmlException as error:
        raise FaultyError("dangerous_xml", "the XML declares entities, which no annotation needs") from error
    except ParseError as error:
        raise FaultyError("broken_labels", f"the XML is broken ({error})") from error
    except (ValueError, LookupError) as error:
        raise FaultyError("broken_labels", f"the XML's encoding cannot be read ({error})") from error
    yield from document.found


class _Document:
    """The target of the parser, which collects images in `found`."""

    def __init__(self) -> None:
        self.found: list[Entry] = []
        self._path: list[str] = []  # the names of the open elements
        self._image: dict[str, str] = {}  # the attributes of the open image
        self._shapes = Shapes()
        self._fault: FaultyError | None = None  # the image's first one
        self._text = ""
        self._task: dict[str, str] = {}  # the texts of the open task's elements
        self._task_splits: dict[str, int | None] = {}  # by the tasks' ids
        self._split: int | None = None  # of the only task

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        self._text = ""
        if len(self._path) > _DEEPEST:
            raise FaultyError("broken_labels", "the XML is nested too deeply")
        if len(self._path) == 1 and tag != "annotations":
            raise FaultyError("broken_labels", f"the XML's root is <{tag[:40]}>, not <annotations>")
        if len(self._path) == 2 and tag == "track":
            raise FaultyError("broken_labels", "it has tracks of a video; export it from CVAT as CVAT for images 1.1")
        if len(self._path) == 2 and tag == "image":
            self._image, self._shapes, self._fault = attributes, Shapes(), None
        elif len(self._path) == 3 and self._path[1] == "image" and self._fault is None:
            try:
                _add(self._shapes, tag, attributes)
            except FaultyError as error:
                self._fault = error

    def data(self, text: str) -> None:
        if self._path[1:2] == ["meta"] and len(self._text) < _LONGEST_NAME:
            self._text += text

    def end(self, tag: str) -> None:
        self._path.pop()
        if tag == "image" and len(self._path) == 1:
            self.found.append(self._entry())
        elif self._path[1:2] == ["meta"] and self._path[-1] == "task":
            self._task[tag] = self._text.strip()
        elif tag == "task" and self._path[1:2] == ["meta"]:
            split = _split_named(self._task.get("subset"), self._task.get("name"))
            self._task_splits[self._task.get("id", "")] = split
            if self._path[-1] == "meta":
                self._split = split
            self._task = {}

    def _entry(self) -> Entry:
        name = self._image.get("name", "")
        names = [name] if is_image(name) else [name, *(name + suffix for suffix in _SUFFIXES)]
        split = _split_named(self._image.get("subset"))
        if split is None:
            split = self._task_splits.get(self._image.get("task_id", ""), self._split)
        annotation: Annotation | FaultyError
        try:
            if self._fault is not None:
                raise self._fault
            annotation = Annotation(None, _size(self._image), self._shapes.objects())
        except FaultyError as error:
            annotation = error
        return Entry(names, annotation, split)


def _split_named(*names: str | None) -> int | None:
    """The split of the first name that is a usual one."""
    splits = [named_split(name) for name in names if name]
    return next((split for split in splits if split != NO_SPLIT), None)


def _size(image: dict[str, str]) -> tuple[int, int] | None:
    if "width" not in image and "height" not in image:
        return None
    width, height = (parsed_number(image.get(side)) for side in ("width", "height"))
    if width is None or height is None or not (width.is_integer() and height.is_integer()):
        raise FaultyError("broken_labels", "its width and height are no whole numbers")
    return int(width), int(height)


def _add(shapes: Shapes, tag: str, attributes: dict[str, str]) -> None:
    """Adds a shape, which is an element in an image."""
    if tag in _WITHOUT_AREA:
        shapes.leave_out(_WITHOUT_AREA[tag])
    elif tag != "tag":
        shapes.add(attributes.get("label"), lambda: _shape(tag, attributes))


def _shape(tag: str, attributes: dict[str, str]) -> Shape:
    def value(name: str) -> float:
        return number(attributes.get(name), name)

    degrees = number(attributes.get("rotation", "0"), "rotation")
    match tag:
        case "box" if degrees == 0:
            xmin, ymin, xmax, ymax = (attributes.get(name) for name in ("xtl", "ytl", "xbr", "ybr"))
            return Shape((xmin, ymin, xmax, ymax))
        case "box":
            box = value("xtl"), value("ytl"), value("xbr"), value("ybr")
            return Shape(turned(box, degrees, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)))
        case "polygon":
            return polygon(_points(attributes.get("points", "")))
        case "ellipse":
            return ellipse((value("cx"), value("cy")), (value("rx"), value("ry")), degrees)
        case "mask":
            return _mask(value("left"), value("top"), value("width"), value("height"), attributes.get("rle"))
    raise not_a_box(tag[:40])


def _mask(left: float, top: float, width: float, height: float, runs: str | None) -> Shape:
    """A mask, whose box is the one around its pixels or, if it cannot be read, the part that it describes.

    Args:
        left, top, width, height: of the part of the image that it describes, pixels.
        runs: their lengths, alternately of background and object, along the rows.
    """
    from boxcar.records.masks import box_of, mask_of, pixels_of_rows  # which loads NumPy

    part = (left, top, left + width, top + height)
    if not all(side.is_integer() for side in (left, top, width, height)):
        return Shape(part, Outline((), [Mask(0, 0, "")]))  # the check of the outline reports it
    lengths = [int(run) if _WHOLE.fullmatch(run.strip()) else 0 for run in (runs or "").split(",")]
    pixels = pixels_of_rows(lengths, int(width), int(height))
    if pixels is None:
        return Shape(part, Outline((), [Mask(int(width), int(height), lengths, int(left), int(top))]))
    xmin, ymin, xmax, ymax = box_of(pixels) or (0, 0, int(width), int(height))
    box = (left + xmin, top + ymin, left + xmax, top + ymax)
    return Shape(box, Outline((), [mask_of(pixels, int(left), int(top))]))


def _points(text: str) -> list[Point]:
    """The points of a text `x,y;x,y`."""
    pairs = [pair.split(",") for pair in text.split(";")]
    if not all(len(pair) == 2 for pair in pairs):
        raise FaultyError("box_incomplete", "has no list of points x,y;x,y")
    return [(number(x, "x"), number(y, "y")) for x, y in pairs]
