"""The geometry of the health page's charts. `health_charts.html.jinja` draws them as SVG."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from boxcar.records.health import GRID, RATIO_BARS, SIZE_BARS, SMALL, Health

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 48  # room for the axes' labels
_GAP = 3  # between bars
_STEPS = (1, 2, 5, 10, 20, 25, 50)  # percent, of the y-axis
_MOST_TICKS = 5


class Tick(NamedTuple):
    """A mark on an axis."""

    position: float
    text: str


class Bar(NamedTuple):
    """A bar in the units of the view box."""

    x: float
    y: float
    width: float
    height: float
    style: str  # part, or small
    text: str  # shown where the pointer rests


class Histogram(NamedTuple):
    """A histogram in the units of its SVG view box. Its y-axis is in percent of the boxes."""

    title: str
    unit: str  # of the x-axis
    description: str  # for screen readers
    bars: Sequence[Bar]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


class Cell(NamedTuple):
    """A field of the map of box centers that has any."""

    x: int
    y: int
    strength: float  # in (0, 1], of the fullest field
    text: str


def size_histogram(health: Health, pixels: int) -> Histogram:
    """Boxes by their size at an input of `pixels`; those under `SMALL` are marked."""
    title, unit = f"Box sizes at {pixels} px", "pixels, square root of the area"
    ticks = [(number - SIZE_BARS.start, f"{2 ** (number // 2)}") for number in SIZE_BARS if number % 2 == 0][1:]

    def name(place: int) -> str:
        low, high = 2 ** (SIZE_BARS[place] / 2), 2 ** ((SIZE_BARS[place] + 1) / 2)
        if place == 0:
            return f"under {high:.0f} px"
        return f"from {low:.0f} px" if place == len(SIZE_BARS) - 1 else f"{low:.0f} to {high:.0f} px"

    small = sum(2 ** (number / 2) < SMALL for number in SIZE_BARS)
    return _histogram(title, unit, health.size_counts, ticks, name, small)


def ratio_histogram(health: Health) -> Histogram:
    """Boxes by their width to their height."""
    ticks = [
        (number - RATIO_BARS.start + 0.5, f"{2 ** (number // 2)}:1" if number >= 0 else f"1:{2 ** (-number // 2)}")
        for number in RATIO_BARS
        if number % 2 == 0
    ]

    def name(place: int) -> str:
        ratio = 2 ** (RATIO_BARS[place] / 2)
        text = f"{ratio:.2g} times as wide as high" if ratio >= 1 else f"{1 / ratio:.2g} times as high as wide"
        beyond = " or more" if place in (0, len(RATIO_BARS) - 1) else ""
        return "about as wide as high" if ratio == 1 else f"{text}{beyond}"

    return _histogram("Aspect ratios of boxes", "width : height", health.ratio_counts, ticks, name, 0)


def _histogram(
    title: str, unit: str, counts: Sequence[int], ticks: Sequence[tuple[float, str]], name: Callable[[int], str], small: int
) -> Histogram:
    """The histogram of bars of equal width. Ticks are in bars from the left; the first `small` bars are marked."""
    total = sum(counts) or 1
    most = 100 * max(counts) / total
    step = next((step for step in _STEPS if step * _MOST_TICKS >= most), _STEPS[-1])
    top = step * max(1, -int(-most // step))
    wide = (WIDTH - LEFT - RIGHT) / len(counts)

    def down(percent: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * percent / top, 1)

    bars = [
        Bar(
            x=round(LEFT + place * wide + _GAP / 2, 1),
            y=down(100 * count / total),
            width=round(wide - _GAP, 1),
            height=round(HEIGHT - BOTTOM - down(100 * count / total), 1),
            style="small" if place < small else "part",
            text=f"{name(place)}: {count:,} boxes, {count / total:.1%}",
        )
        for place, count in enumerate(counts)
        if count
    ]
    return Histogram(
        title=title,
        unit=unit,
        description=". ".join(bar.text for bar in bars),
        bars=bars,
        x_ticks=[Tick(round(LEFT + at * wide, 1), text) for at, text in ticks],
        y_ticks=[Tick(down(percent), f"{percent}%") for percent in range(0, top + 1, step)],
    )


def center_cells(health: Health) -> list[Cell]:
    """The fields of the map of box centers."""
    most = int(health.centers.max()) or 1
    return [
        Cell(across, down, round(count / most, 3), f"{count:,} boxes")
        for down, counts in enumerate(health.centers.tolist())
        for across, count in enumerate(counts)
        if count
    ]


def center_words(health: Health) -> str:
    """Where the boxes are, as a sentence."""
    quarter = GRID // 4
    middle = int(health.centers[quarter:-quarter, quarter:-quarter].sum())
    return f"{middle / health.boxes:.0%} of the boxes have their center in the middle quarter of the image."
