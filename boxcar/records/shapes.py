"""Turns the shapes that labeling tools draw into boxes and outlines, for the formats that have more shapes than boxes.

Edges are in the unit of the shape's numbers: pixels or shares. Angles are in degrees, clockwise.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import NamedTuple

from boxcar.records.annotation import RawObject, Side, parsed_number
from boxcar.records.faults import FaultyError
from boxcar.records.outline import Outline

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax
Sides = tuple[Side, Side, Side, Side]  # as in `RawObject`

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # what JSON can contain, but no label map
_DIGITS = 2  # of edges that were calculated from an angle: the sine of 180 degrees is not 0 exactly
_ROUGHNESS = 0.1  # the most that the polygon of an ellipse is away from it, pixels
_MOST_CORNERS = 10_000  # of such a polygon


class Shape(NamedTuple):
    """A shape that has a box."""

    sides: Sides
    outline: Outline | None = None  # in the unit of the sides


class Shapes:
    """Collects the objects among one image's shapes."""

    def __init__(self) -> None:
        self._objects: list[RawObject] = []
        self._without_area: Counter[str] = Counter()
        self._count = 0

    def add(self, name: object, shape: Callable[[], Shape], difficult: bool = False) -> None:
        """Adds a shape.

        Args:
            name: of its class.
            shape: calculates its box and its outline.

        Raises:
            FaultyError: what `shape` raises, with the shape in front.
        """
        self._count += 1
        label = class_name(name)
        try:
            sides, outline = shape()
        except FaultyError as error:
            which = f"shape {self._count} ({label})" if label else f"shape {self._count}"
            raise FaultyError(error.kind, f"{which} {error.reason}") from error
        self._objects.append(RawObject(label, sides, int(difficult), outline=outline))

    def leave_out(self, kind: str) -> None:
        """Leaves out a shape without area: points and lines mark something within an object."""
        self._count += 1
        self._without_area[kind] += 1

    def objects(self) -> list[RawObject]:
        """All objects.

        Raises:
            FaultyError: `not_a_box` if every shape was left out: whether the image shows an object is not known.
        """
        if self._without_area and not self._objects:
            counted = " and ".join(f"{count} {kind}" for kind, count in self._without_area.items())
            raise FaultyError("not_a_box", f"it has {counted}, but no box")
        return self._objects


def not_a_box(kind: str) -> FaultyError:
    """The fault of a shape that marks an object, but gives no box."""
    return FaultyError("not_a_box", f"is a {kind}, which gives no box")


def class_name(name: object) -> str:
    """A class's name on one line; empty if it is none."""
    return " ".join(_NO_TEXT.sub(" ", name).split()) if isinstance(name, str) else ""


def number(value: object, what: str) -> float:
    """A number of a shape, which may be infinite or NaN.

    Raises:
        FaultyError: `box_incomplete` if it is missing or not a number.
    """
    if value is None:
        raise FaultyError("box_incomplete", f"has no {what}")
    found: float | None = None
    if isinstance(value, str):
        found = parsed_number(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
    if found is None:
        shown = value.strip() if isinstance(value, str) else type(value).__name__
        raise FaultyError("box_incomplete", f"has {shown[:40]!r} as its {what}")
    return found


def points_of(value: object) -> list[Point]:
    """The points of a list of pairs [x, y].

    Raises:
        FaultyError: `box_incomplete` if it is not one, or is empty.
    """
    pairs = value if isinstance(value, list) else []
    if not pairs or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise FaultyError("box_incomplete", "has no list of points [x, y]")
    return [(number(x, "x"), number(y, "y")) for x, y in pairs]


def polygon(points: Sequence[Point]) -> Shape:
    """A polygon of points, as `points_of` returns them.

    Raises:
        FaultyError: as `around`.
    """
    return Shape(around(points), Outline([[side for point in points for side in point]]))


def around(points: Iterable[Point]) -> Box:
    """The box around points.

    Raises:
        FaultyError: `box_not_finite` if a coordinate is not finite, which `min` and `max` would hide.
    """
    xs, ys = zip(*points, strict=True)
    if not all(map(math.isfinite, (*xs, *ys))):
        raise FaultyError("box_not_finite", "has a coordinate that is not finite")
    return min(xs), min(ys), max(xs), max(ys)


def turned(box: Box, degrees: float, about: Point) -> Box:
    """The hull of a box [xmin, ymin, xmax, ymax] (pixels) that is turned about a point."""
    if degrees == 0:
        return box
    sine, cosine = _direction(degrees)
    corners = [(x - about[0], y - about[1]) for x, y in product(box[::2], box[1::2])]
    return _rounded(around((about[0] + x * cosine - y * sine, about[1] + x * sine + y * cosine) for x, y in corners))


def ellipse(center: Point, radii: Point, degrees: float = 0) -> Shape:
    """An ellipse (pixels) that is turned about its center."""
    return Shape(oval(center, radii, degrees), Outline([oval_polygon(center, radii, degrees)]))


def oval_polygon(center: Point, radii: Point, degrees: float = 0) -> list[float]:
    """A polygon [x, y, x, y, ...] that is nearly the same as an ellipse (pixels)."""
    corners = math.pi * math.sqrt(max(map(abs, radii)) / 2 / _ROUGHNESS)
    number = math.ceil(min(max(12, corners), _MOST_CORNERS))
    sine, cosine = _direction(degrees)
    points: list[float] = []
    for corner in range(number):
        angle = 2 * math.pi * corner / number
        x, y = radii[0] * math.cos(angle), radii[1] * math.sin(angle)
        points += (center[0] + x * cosine - y * sine, center[1] + x * sine + y * cosine)
    return points


def oval(center: Point, radii: Point, degrees: float = 0) -> Box:
    """The hull of an ellipse (pixels) that is turned about its center."""
    sine, cosine = _direction(degrees)
    across = math.hypot(radii[0] * cosine, radii[1] * sine)
    down = math.hypot(radii[0] * sine, radii[1] * cosine)
    x, y = center
    return _rounded(around([(x - across, y - down), (x + across, y + down)]))


def _direction(degrees: float) -> tuple[float, float]:
    """An angle's sine and cosine; NaN if it is not finite."""
    angle = math.radians(degrees % 360)
    return math.sin(angle), math.cos(angle)


def _rounded(box: Box) -> Box:
    xmin, ymin, xmax, ymax = (round(side, _DIGITS) for side in box)
    return xmin, ymin, xmax, ymax
