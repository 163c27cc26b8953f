"""The geometry of charts: everything is inside, in the right place, and described as text."""

import re

import pytest

from boxcar.report.charts import MOST_POINTS, Chart, Line, line_chart


def points(chart: Chart, line: int = 0) -> list[tuple[float, float]]:
    path = chart.paths[line][2]
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", path)]


def test_a_line_runs_from_corner_to_corner() -> None:
    chart = line_chart("AP", [Line("AP", [(0, 0.0), (50, 0.5), (100, 1.0)], "one")], y_range=(0, 1))
    assert chart
    assert points(chart) == [
        (chart.left, chart.bottom),
        ((chart.left + chart.right) / 2, (chart.top + chart.bottom) / 2),
        (chart.right, chart.top),
    ]
    assert [tick.text for tick in chart.x_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [tick.text for tick in chart.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert chart.y_ticks[-1].position == chart.top
    assert chart.description == "AP: 0 at step 0, 1 at step 100."


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(
    "values",
    [[3.0, 2.0, 2.5], [1e-5, 3e-5], [0.0, 0.0], [7.0], [1200.0, 0.3], [1e6, 1e-6], [5.0, 5.0], [0.0, 1e9], [-2.0, 3.0]],
)
def test_everything_is_inside(values: list[float], logarithmic: bool) -> None:
    chart = line_chart("loss", [Line("loss", list(enumerate(values, 1)), "one")], logarithmic=logarithmic)
    assert chart
    for x, y in points(chart):
        assert chart.left <= x <= chart.right
        assert chart.top <= y <= chart.bottom
    assert 2 <= len(chart.y_ticks) <= 14
    positions = [tick.position for tick in chart.y_ticks]
    assert positions == sorted(positions, reverse=True)
    assert chart.top <= positions[-1] and positions[0] <= chart.bottom
    assert len({tick.text for tick in chart.y_ticks}) == len(chart.y_ticks)


def test_the_axis_of_a_wide_range_is_logarithmic() -> None:
    wide = line_chart("loss", [Line("loss", [(1, 1.0), (2, 10.0), (3, 100.0)], "one")], logarithmic=True)
    assert wide and wide.logarithmic
    heights = [y for _, y in points(wide)]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    narrow = line_chart("loss", [Line("loss", [(1, 1.0), (2, 10.0)], "one")], logarithmic=True)
    assert narrow and not narrow.logarithmic
    linear = line_chart("rate", [Line("rate", [(1, 1.0), (2, 100.0)], "one")])
    assert linear and not linear.logarithmic


def test_many_points_are_thinned_and_keep_their_order() -> None:
    chart = line_chart("loss", [Line("loss", [(float(i), float(i)) for i in range(10_000)], "one")])
    assert chart
    drawn = points(chart)
    assert len(drawn) == MOST_POINTS
    assert drawn == sorted(drawn)
    assert drawn[-1][0] == pytest.approx(chart.right, abs=2)


def test_a_mark_is_at_its_point_and_its_text_is_inside() -> None:
    line = Line("AP", [(0, 0.2), (100, 0.4)], "one")
    for x, anchor in ((5, "start"), (50, "middle"), (100, "end")):
        chart = line_chart("AP", [line], y_range=(0, 1), mark=(x, 0.2 + x / 500, "chosen"))
        assert chart and chart.mark
        assert (chart.mark.anchor, chart.mark.text) == (anchor, "chosen")
        assert chart.mark.x == pytest.approx(chart.left + (chart.right - chart.left) * x / 100, abs=0.1)
        assert "Marked: chosen." in chart.description


def test_there_is_no_chart_without_points() -> None:
    assert line_chart("loss", [Line("loss", [], "one")]) is None
