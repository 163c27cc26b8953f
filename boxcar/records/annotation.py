"""The content of an annotation of any format, and the checks of its boxes.

A box consists of the edges of a rectangle in pixels. The top left corner of the image is (0, 0).
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from boxcar.config.class_choice import ClassChoice
from boxcar.records.faults import FaultyError, Kind
from boxcar.records.outline import Outline, restored

if TYPE_CHECKING:
    from boxcar.records.masks import OutlineCheck

CLIPPED = 2.0  # a box that extends this many pixels beyond its image is clipped, not refused
# Of a side that was a share, in pixels: files keep six digits of a share, so that the third digit of a pixel is noise, and the
# same boxes in another format would be another data set.
_DIGITS = 2
SIDES = ("xmin", "ymin", "xmax", "ymax")

Side = float | str | None  # a text has yet to be parsed; None if the side is missing


class RawObject(NamedTuple):
    """One object as its annotation describes it, before any check."""

    name: str  # of its class; empty if there is none
    sides: tuple[Side, Side, Side, Side]  # xmin, ymin, xmax, ymax in pixels
    difficult: int = 0
    truncated: int = 0
    pose: str = "Unspecified"
    outline: Outline | None = None  # in the unit of the sides; masks in pixels


@dataclass(frozen=True)
class Annotation:
    """The annotation of one image."""

    image: str | None  # the image's name without folders; it may be wrong
    size: tuple[int, int] | None  # (width, height) in pixels; None if the annotation has none
    objects: Sequence[RawObject]
    relative: bool = False  # sides are shares of the upright image's width and height
    crowds: int = 0  # regions with many objects, which are left out


class LabeledObject(NamedTuple):
    """One object whose box is inside its image: its class, its box in pixels, and its outline if it has one."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: int
    truncated: int
    pose: str
    outline: Outline | None = None


def pack(objects: Sequence[LabeledObject]) -> bytes:
    """Encodes objects as bytes, which are stored until the records are written."""
    return json.dumps([item[:-1] if item.outline is None else item for item in objects]).encode()


def unpack(packed: bytes) -> list[LabeledObject]:
    """Decodes the objects that `pack` encoded."""
    outline = len(LabeledObject._fields) - 1
    return [LabeledObject(*item[:outline], *map(restored, item[outline:])) for item in json.loads(packed)]


def objects_digest(sha256: bytes, objects: Sequence[LabeledObject]) -> bytes:
    """The hash of an image, given its own, and of its objects, in any order. Outlines count only where there are any."""
    content = repr(sorted(item[:5] for item in objects))
    if outlines := sorted(json.dumps((*item[:5], item.outline)) for item in objects if item.outline is not None):
        content += repr(outlines)
    return hashlib.sha256(sha256 + content.encode()).digest()


class CheckedObjects(NamedTuple):
    """The objects of an annotation, checked.

    Attributes:
        sound: those whose boxes fit the image, each once.
        clipped: how many of them were clipped.
        repeated: how many were left out because the same class and box stood there before.
        problems: the kind and the reason of every problem. An object with a problem is not sound.
        unused: why outlines of sound objects cannot be used.
    """

    sound: list[LabeledObject]
    clipped: int
    repeated: int
    problems: list[tuple[Kind, str]]
    unused: list[str]


def checked_objects(annotation: Annotation, width: int, height: int, classes: ClassChoice | None = None) -> CheckedObjects:
    """Checks the objects of an annotation against its image's size in pixels, and gives them the names that were chosen.

    Those of dropped classes are neither sound nor a problem, whatever their boxes are.
    """
    sound, clipped, repeated = [], 0, 0
    seen = set[tuple[str, tuple[float, float, float, float]]]()
    problems: list[tuple[Kind, str]] = []
    scale = (width, height) if annotation.relative else None
    outlines: OutlineCheck | None = None
    for number, (name, sides, difficult, truncated, pose, outline) in enumerate(annotation.objects, start=1):
        label = f"box {number} ({name})" if name else f"box {number}"
        if name and classes is not None:
            chosen = classes.name_of(name)
            if chosen is None:
                continue
            name = chosen
        if not name:
            problems.append(("no_class_name", f"{label} has no class name"))
        try:
            box, was_clipped = _checked_box(sides, width, height, scale)
        except FaultyError as error:
            problems.append((error.kind, f"{label} {error.reason}"))
            continue
        if (name, box) in seen:
            repeated += 1
        elif name:
            seen.add((name, box))
            checked = None
            if outline is not None:
                if outlines is None:
                    from boxcar.records import masks  # which loads NumPy

                    outlines = masks.OutlineCheck(width, height, scale)
                checked = outlines.checked(outline, box, label)
            sound.append(LabeledObject(name, *box, difficult, truncated, pose, checked))
            clipped += was_clipped
    if outlines is not None:
        problems += outlines.problems(len(sound))
    return CheckedObjects(sound, clipped, repeated, problems, [] if outlines is None else outlines.unused)


def _checked_box(
    sides: Sequence[Side], width: int, height: int, scale: tuple[int, int] | None
) -> tuple[tuple[float, float, float, float], bool]:
    """The box inside the image, and whether it was clipped. Sides that are shares are multiplied by `scale`."""
    numbers = []
    for name, side in zip(SIDES, sides, strict=True):
        if side is None:
            raise FaultyError("box_incomplete", f"has no {name}")
        number = parsed_number(side) if isinstance(side, str) else side
        if number is None:
            raise FaultyError("box_incomplete", f"has {str(side).strip()[:40]!r} as its {name}")
        numbers.append(number)
    if scale is not None:
        # Without the sign of -0.0, by which the same boxes would be another data set.
        numbers = [round(number * scale[at % 2], _DIGITS) + 0.0 for at, number in enumerate(numbers)]
    xmin, ymin, xmax, ymax = numbers
    place = f"[{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}]"
    if not all(map(math.isfinite, numbers)):
        raise FaultyError("box_not_finite", f"{place} is not finite")
    if scale is None and width > 1 and height > 1 and all(0 <= number <= 1 for number in numbers) and xmin < xmax:
        raise FaultyError("box_not_pixels", f"{place} is in shares of the image, not in pixels")
    if xmin > xmax or ymin > ymax:
        raise FaultyError("box_upside_down", f"{place} is upside down")
    if xmin == xmax or ymin == ymax:
        raise FaultyError("box_without_area", f"{place} has no area")
    box = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height)))
    overhang = max(-xmin, -ymin, xmax - width, ymax - height)
    if overhang > CLIPPED or box[0] >= box[2] or box[1] >= box[3]:
        raise FaultyError("box_outside", f"{place} is outside the image of {width}×{height}")
    return box, overhang > 0


def parsed_number(text: str | None) -> float | None:
    """Parses a number; None if the text is not one."""
    if text is None or "_" in text:  # which Python's `float` accepts
        return None
    try:
        return float(text)
    except ValueError:
        return None
