"""The geometry of line charts. `chart.html.jinja` draws them as SVG."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 48  # room for the axes' labels
MOST_POINTS = 240  # of one line; more are not visible
LOG_FROM = 30.0  # the axis is logarithmic from this ratio of the largest to the smallest value on

Points = Sequence[tuple[float, float]]  # x, y


class Line(NamedTuple):
    """One line: its name in the legend, its points in the data's units, and its style."""

    name: str
    points: Points
    style: str  # one, two, or three


class Tick(NamedTuple):
    """A mark on an axis."""

    position: float
    text: str


class Mark(NamedTuple):
    """A highlighted point."""

    x: float
    y: float
    text: str
    anchor: str  # SVG's text-anchor


class Chart(NamedTuple):
    """A chart in the units of its SVG view box."""

    title: str
    description: str  # for screen readers
    paths: tuple[tuple[str, str, str], ...]  # name, style, SVG path data
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    mark: Mark | None
    logarithmic: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    y_range: tuple[float, float] | None = None,
    logarithmic: bool = False,
    mark: tuple[float, float, str] | None = None,
) -> Chart | None:
    """A chart over training steps; None if no line has points.

    Args:
        title: of the chart.
        lines: those without points are left out.
        y_range: lowest and highest value of the y-axis; None for that of the data.
        logarithmic: make the y-axis logarithmic if the ratio of the values is above `LOG_FROM`.
        mark: x, y, and the text of a point to highlight.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    logarithmic = logarithmic and y_range is None and min(ys) > 0 and max(ys) / min(ys) > LOG_FROM
    x_ticks = [x for x in _linear_ticks(0, max(xs), 5) if x <= max(xs)]
    if y_range:
        low, high = y_range
        y_ticks = _linear_ticks(low, high, 6)
    elif logarithmic:
        y_ticks = _log_ticks(min(ys), max(ys))
        low, high = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)
    else:
        y_ticks = _linear_ticks(min(0.0, *ys), max(*ys, 0.0) or 1.0, 5)
        low, high = y_ticks[0], y_ticks[-1]

    def across(x: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * x / (max(xs) or 1), 1)

    def down(y: float) -> float:
        share = math.log(y / low) / math.log(high / low) if logarithmic else (y - low) / (high - low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    return Chart(
        title=title,
        description=" ".join(_in_words(line) for line in lines) + (f" Marked: {mark[2]}." if mark else ""),
        paths=tuple(
            (line.name, line.style, "M" + "L".join(f"{across(x)} {down(y)}" for x, y in _thinned(line.points)))
            for line in lines
        ),
        x_ticks=tuple(Tick(across(x), f"{x:,.0f}") for x in x_ticks),
        y_ticks=tuple(Tick(down(y), f"{y:.5g}") for y in y_ticks),
        mark=Mark(across(mark[0]), down(mark[1]), mark[2], _anchor(mark[0] / (max(xs) or 1))) if mark else None,
        logarithmic=logarithmic,
    )


def _in_words(line: Line) -> str:
    (first, start), (last, end) = line.points[0], line.points[-1]
    return f"{line.name}: {start:.3g} at step {first:,.0f}, {end:.3g} at step {last:,.0f}."


def _anchor(share: float) -> str:
    return "start" if share < 0.2 else "end" if share > 0.8 else "middle"


def _thinned(points: Points) -> Points:
    """At most `MOST_POINTS` points, as averages of neighbors."""
    if len(points) <= MOST_POINTS:
        return points
    edges = [round(i * len(points) / MOST_POINTS) for i in range(MOST_POINTS + 1)]
    groups = [points[start:end] for start, end in pairwise(edges)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers that enclose low to high, at most `most` + 1 of them."""
    rough = max(high - low, 1e-12) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade, or the decades alone if there are many; the outer two enclose low to high."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors]
    below, above = [t for t in ticks if t <= low], [t for t in ticks if t >= high]
    return [t for t in ticks if below[-1] <= t <= above[0]]
