"""What an annotation says about an image, in any format, and the checks of its boxes.

A box gives the edges of a rectangle in pixels. The top left corner of the image is (0, 0).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from boxcar.records.faults import Kind

CLIPPED = 2.0  # pixels by which a box may reach out of its image; it is then clipped
SIDES = ("xmin", "ymin", "xmax", "ymax")

Side = float | str | None  # a text is checked to be a number; None where the side is missing


class RawObject(NamedTuple):
    """One object as its annotation describes it, not yet checked."""

    name: str  # of its class; empty where there is none
    sides: tuple[Side, Side, Side, Side]  # xmin, ymin, xmax, ymax in pixels
    difficult: int = 0
    truncated: int = 0
    pose: str = "Unspecified"


@dataclass(frozen=True)
class Annotation:
    """What an annotation says about one image."""

    image: str | None  # the image's name without folders, which need not be right
    size: tuple[int, int] | None  # (width, height) in pixels; None where the label has none
    objects: Sequence[RawObject]


class LabelledObject(NamedTuple):
    """One object whose box is inside its image: its class and its box in pixels."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: int
    truncated: int
    pose: str


def pack(objects: Sequence[LabelledObject]) -> bytes:
    """Encodes objects as bytes, which are stored until the records are written."""
    return json.dumps(objects).encode()


def unpack(packed: bytes) -> list[LabelledObject]:
    """Decodes the objects that `pack` encoded."""
    return [LabelledObject(*item) for item in json.loads(packed)]


def checked_objects(
    annotation: Annotation, width: int, height: int
) -> tuple[list[LabelledObject], int, list[tuple[Kind, str]]]:
    """The objects whose boxes fit an image of this size (pixels), how many of them were clipped, and all problems.

    An object with a problem is left out. Every problem of an object is listed.
    """
    sound, clipped = [], 0
    problems: list[tuple[Kind, str]] = []
    for number, (name, sides, difficult, truncated, pose) in enumerate(annotation.objects, start=1):
        label = f"box {number} ({name})" if name else f"box {number}"
        if not name:
            problems.append(("no_class_name", f"{label} has no class name"))
        problem, box, was_clipped = _checked_box(sides, width, height)
        if problem is not None:
            problems.append((problem[0], f"{label} {problem[1]}"))
        elif name:
            sound.append(LabelledObject(name, *box, difficult, truncated, pose))
            clipped += was_clipped
    return sound, clipped, problems


def _checked_box(
    sides: Sequence[Side], width: int, height: int
) -> tuple[tuple[Kind, str] | None, tuple[float, float, float, float], bool]:
    nothing = (0.0, 0.0, 0.0, 0.0)
    numbers = []
    for name, side in zip(SIDES, sides, strict=True):
        if side is None:
            return ("box_incomplete", f"has no {name}"), nothing, False
        number = parsed_number(side) if isinstance(side, str) else side
        if number is None:
            return ("box_incomplete", f"has {str(side).strip()[:40]!r} as its {name}"), nothing, False
        numbers.append(number)
    xmin, ymin, xmax, ymax = numbers
    place = f"[{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}]"
    if not all(map(math.isfinite, numbers)):
        return ("box_not_finite", f"{place} is not finite"), nothing, False
    if xmin > xmax or ymin > ymax:
        return ("box_upside_down", f"{place} is upside down"), nothing, False
    if xmin == xmax or ymin == ymax:
        return ("box_without_area", f"{place} has no area"), nothing, False
    box = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height)))
    overhang = max(-xmin, -ymin, xmax - width, ymax - height)
    if overhang > CLIPPED or box[0] >= box[2] or box[1] >= box[3]:
        return ("box_outside", f"{place} is outside the image of {width}×{height}"), nothing, False
    return None, box, overhang > 0


def parsed_number(text: str | None) -> float | None:
    """Parses a number; None if the text is not one."""
    if text is None or "_" in text:  # Python's own floats may hold underscores
        return None
    try:
        return float(text)
    except ValueError:
        return None
