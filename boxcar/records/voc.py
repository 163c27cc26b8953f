"""Pascal VOC annotations as labelImg writes them: one XML file a picture.

Boxes are taken as the edges of a rectangle in pixels, the picture's top left corner at (0, 0). labelImg draws that way
and merely writes 1 where an edge lies at 0.
"""

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import NamedTuple

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from boxcar.records.faults import FaultyError, Kind

LARGEST_XML = 10_000_000  # bytes; some thirty thousand boxes
CLIPPED = 2.0  # pixels by which a box may stand out of its picture; it is then clipped

SIDES = ("xmin", "ymin", "xmax", "ymax")


class Labelled(NamedTuple):
    """One object: its class and its box in pixels of the picture that was labelled."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: int
    truncated: int
    pose: str


@dataclass(frozen=True)
class Annotation:
    """What an XML file says. Each object stands with its class, its raw sides and its flags, none of them checked yet."""

    filename: str | None  # the picture's name without folders; it may lie
    size: tuple[int, int] | None  # (width, height) in pixels; None where the file says nothing of it
    objects: tuple[tuple[str, tuple[str | None, ...], int, int, str], ...]


def packed(objects: list[Labelled]) -> str:
    """Objects as text, to be put aside until they are written."""
    return json.dumps(objects)


def unpacked(text: str) -> list[Labelled]:
    """What `packed` made a text of."""
    return [Labelled(*item) for item in json.loads(text)]


def read_annotation(content: bytes) -> Annotation:
    """Parses an XML file's bytes.

    Raises:
        FaultyError: `xml_too_large`, `dangerous_xml` or `broken_xml`.
    """
    if len(content) > LARGEST_XML:
        raise FaultyError("xml_too_large", f"the XML has {len(content):,} bytes; {LARGEST_XML:,} are the most")
    try:
        root = _parsed(content)
    except DefusedXmlException as error:
        raise FaultyError("dangerous_xml", "the XML declares entities, which no annotation needs") from error
    except ParseError as error:
        raise FaultyError("broken_xml", f"the XML is broken ({error})") from error
    except (ValueError, LookupError) as error:
        raise FaultyError("broken_xml", f"the XML's encoding cannot be read ({error})") from error
    if root.tag != "annotation":
        raise FaultyError("broken_xml", f"the XML's root is <{root.tag[:40]}>, not <annotation>")
    filename = _text(root.findtext("filename"))
    objects = []
    for item in root.findall("object"):
        box = item.find("bndbox")
        sides = tuple(None if box is None else box.findtext(side) for side in SIDES)
        name = _text(item.findtext("name")) or ""
        pose = _text(item.findtext("pose")) or "Unspecified"
        objects.append((name, sides, _flag(item.findtext("difficult")), _flag(item.findtext("truncated")), pose))
    # A name that was written on another system may carry that system's folders.
    filename = filename.replace("\\", "/").rsplit("/", 1)[-1] if filename else None
    size = root.find("size")
    if size is None:
        return Annotation(filename, None, tuple(objects))
    width, height = (_number(size.findtext(side)) for side in ("width", "height"))
    if width is None or height is None or not (width.is_integer() and height.is_integer()):
        raise FaultyError("broken_xml", "the XML's <size> has no whole <width> and <height>")
    return Annotation(filename, (int(width), int(height)), tuple(objects))


def _parsed(content: bytes) -> ET.Element:
    """The root element. Half the time of defusedxml's own `fromstring`: its parser, with all it refuses, hands the elements
    to the tree builder directly instead of through Python."""
    builder = ET.TreeBuilder()
    parser = DefusedXMLParser(target=builder)
    expat = parser.parser
    expat.ordered_attributes = False  # the builder takes a dictionary
    expat.StartElementHandler, expat.EndElementHandler = builder.start, builder.end
    expat.CharacterDataHandler = builder.data
    parser.feed(content)
    root: ET.Element = parser.close()
    return root


def checked_objects(annotation: Annotation, width: int, height: int) -> tuple[list[Labelled], int, list[tuple[Kind, str]]]:
    """The objects whose boxes are sound in a picture of this size (pixels), how many were clipped, and all problems."""
    sound, clipped, problems = [], 0, []
    for number, (name, sides, difficult, truncated, pose) in enumerate(annotation.objects, start=1):
        label = f"box {number} ({name})" if name else f"box {number}"
        if not name:
            problems.append(_problem("no_class_name", f"{label} has no class name"))
        problem, box, was_clipped = _checked_box(sides, width, height)
        if problem is not None:
            problems.append((problem[0], f"{label} {problem[1]}"))
        elif name:
            sound.append(Labelled(name, *box, difficult, truncated, pose))
            clipped += was_clipped
    return sound, clipped, problems


def _checked_box(
    sides: tuple[str | None, ...], width: int, height: int
) -> tuple[tuple[Kind, str] | None, tuple[float, float, float, float], bool]:
    nothing = (0.0, 0.0, 0.0, 0.0)
    numbers = [_number(side) for side in sides]
    for side, text, number in zip(SIDES, sides, numbers, strict=True):
        if text is None:
            return _problem("box_incomplete", f"has no <{side}>"), nothing, False
        if number is None:
            return _problem("box_incomplete", f"has {text.strip()[:40]!r} as its {side}"), nothing, False
    xmin, ymin, xmax, ymax = (math.nan if number is None else number for number in numbers)
    place = f"[{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}]"
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))):
        return _problem("box_not_finite", f"{place} is not finite"), nothing, False
    if xmin > xmax or ymin > ymax:
        return _problem("box_upside_down", f"{place} is upside down"), nothing, False
    if xmin == xmax or ymin == ymax:
        return _problem("box_without_area", f"{place} has no area"), nothing, False
    box = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height)))
    stands_out = max(-xmin, -ymin, xmax - width, ymax - height)
    if stands_out > CLIPPED or box[0] >= box[2] or box[1] >= box[3]:
        return _problem("box_outside", f"{place} lies outside the picture of {width}×{height}"), nothing, False
    return None, box, stands_out > 0


def _problem(kind: Kind, reason: str) -> tuple[Kind, str]:
    return kind, reason


def _text(text: str | None) -> str | None:
    """A text on one line, or None where there is none."""
    return " ".join(text.split()) or None if text else None


def _number(text: str | None) -> float | None:
    if text is None or "_" in text:  # Python's own floats may hold underscores
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _flag(text: str | None) -> int:
    """1 for what labelImg and others write for yes."""
    return int(text is not None and text.strip().lower() in ("1", "true", "yes"))
