"""The anchors' scale follows the boxes: small ones lower it, large ones keep it, and nothing else of the grid changes."""

import itertools
import time

import numpy as np
import pytest

from boxcar.detectors.anchor_fitting import MATCHED_IOU, best_overlaps, fit_anchors
from boxcar.inference.anchors import make_anchors
from boxcar.inference.boxes import iou_matrix
from boxcar.inference.specification import Anchors

Shape = tuple[float, float, int]
SCALES = (4.0, 3.1875, 2.5, 2.0, 1.5625)
GRIDS = (Anchors(), Anchors(aspect_ratios=(0.5, 1.0, 2.0), scales_per_octave=3))
CHANCE = np.random.default_rng(0)


def pixels(low: float, high: float, count: int = 40, input_size: int = 320) -> list[Shape]:
    """Boxes with sides between `low` and `high` pixels of the input."""
    return [(float(h), float(w), 1) for h, w in CHANCE.uniform(low, high, (count, 2)) / input_size]


def scale(size: int = 320, default: Anchors = GRIDS[0], **shapes: list[Shape]) -> float:
    found = fit_anchors(shapes, size, default)
    # Heads that were trained with the default fit.
    assert found.model_copy(update={"anchor_scale": default.anchor_scale}) == default
    return found.anchor_scale


@pytest.mark.parametrize("size", [64, 100, 320, 352])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_overlaps_are_those_of_the_anchors_themselves(size: int, grid: Anchors) -> None:
    sides = CHANCE.uniform(4, size, (30, 2))
    found = best_overlaps(sides, size, grid)
    # The positions, by way of boxes of no size: the first of a sequence that is known.
    fractions = (0.5 + np.arange(1, 17)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])) % 1
    for side, row in zip(sides, found, strict=True):
        centers = side / 2 + fractions * (size - side)
        boxes = np.concatenate([centers - side / 2, centers + side / 2], axis=1) / size
        assert boxes.min() > -1e-9 and boxes.max() < 1 + 1e-9
        expected = iou_matrix(boxes.astype(np.float32), make_anchors(size, grid)).max(axis=1)
        np.testing.assert_allclose(row, expected, atol=1e-4)


@pytest.mark.parametrize("grid", GRIDS)
def test_large_boxes_keep_the_architecture_s_anchors(grid: Anchors) -> None:
    for low, high in ((60, 120), (93, 281), (200, 320)):
        assert scale(default=grid, raccoon=pixels(low, high)) == 4.0
    assert scale(640, cells=pixels(29, 57, input_size=640), default=grid) == 4.0  # as blood platelets are at 640 pixels


def test_small_boxes_of_one_class_lower_the_scale() -> None:
    # As in blood cells at 320 pixels: platelets, and a hundred times as many larger cells.
    red = [(height, width, 100) for height, width, _ in pixels(39, 63)]
    assert scale(platelet=pixels(14, 29, 60), white=pixels(60, 127, 60), red=red) == 2.5
    assert scale(white=pixels(60, 127, 60), red=red) == 4.0


def test_the_smaller_the_boxes_the_smaller_the_scale_down_to_a_limit() -> None:
    found = [scale(it=pixels(side, 1.3 * side)) for side in (40, 28, 20, 16, 12, 8, 4)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 4.0 and found[-2:] == [1.5625, 1.5625]
    assert scale(it=pixels(0.5, 1)) == 4.0  # no anchor comes near these


def test_the_same_boxes_at_a_larger_input_need_no_smaller_anchors() -> None:
    boxes = pixels(12, 24)
    assert scale(320, it=boxes) < scale(640, it=boxes) == 4.0


def test_boxes_that_anchors_covered_stay_covered() -> None:
    """Whatever the mixture, no class loses more than a twentieth of its matches to another."""
    for seed in range(60):
        chance = np.random.default_rng(seed)
        size = int(chance.choice([128, 320, 640]))
        shapes = {}
        for name in range(chance.integers(1, 5)):
            side, spread = chance.uniform(0.01, 1), chance.uniform(1, 3)
            sides = np.clip(side * spread ** chance.uniform(-1, 1, (chance.integers(1, 30), 2)), 0.001, 1)
            shapes[f"{name}"] = [(float(h), float(w), int(chance.integers(1, 9))) for h, w in sides]
        found = fit_anchors(shapes, size, Anchors())
        assert found.anchor_scale in SCALES
        for rows in shapes.values():
            sides, counts = np.array([row[:2] for row in rows]) * size, [row[2] for row in rows]
            before, after = (
                np.average((best_overlaps(sides, size, anchors) >= MATCHED_IOU).mean(axis=1), weights=counts)
                for anchors in (Anchors(), found)
            )
            assert after >= before - 0.05 - 1e-9


def test_full_frames_hold_the_scale_against_tiny_boxes() -> None:
    # The largest square anchor of scale 2 has sides of 362 pixels, a third of the area of a box of 640; that of 2.5 has half.
    tiny = pixels(8, 12, input_size=640)
    assert scale(640, tiny=tiny) <= 2
    assert scale(640, tiny=tiny, frame=[(1.0, 1.0, 5)]) == 2.5


def test_counts_weigh_boxes_and_classes_weigh_the_same() -> None:
    small, large = (16 / 320, 16 / 320), (150 / 320, 150 / 320)
    assert scale(it=[(*small, 1), (*large, 1000)]) == 4.0  # one box of a thousand
    assert scale(small=[(*small, 1)], large=[(*large, 1000)]) < 4.0  # the only box of its class


def test_the_order_of_classes_and_rows_changes_nothing() -> None:
    rows = {name: pixels(low, 2 * low, 6) for name, low in (("a", 14), ("b", 30), ("c", 90))}
    found = {
        scale(**{name: rows[name][::step] for name in order}) for order in itertools.permutations(rows) for step in (1, -1)
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"a": []},
        {"a": [(1.0, 1.0, 1)]},
        {"a": [(0.5, 0.001, 3), (0.001, 0.5, 3)]},  # lines
        {"a": [(2**-16, 2**-16, 1)], "b": []},
        {"a": [(1.0, 2**-16, 10**9)]},
    ],
)
def test_few_boxes_and_extreme_ones_give_usable_anchors(shapes: dict[str, list[Shape]]) -> None:
    for size, grid in itertools.product((64, 321, 2048), GRIDS):
        assert fit_anchors(shapes, size, grid).anchor_scale in SCALES
    if not any(shapes.values()):
        assert fit_anchors(shapes, 320, GRIDS[0]) == GRIDS[0]


def test_thousands_of_shapes_take_no_time() -> None:
    sides = [2 ** (-step / 8) for step in range(64)]
    shapes = {f"{number}": [(height, width, 1) for height in sides for width in sides] for number in range(20)}
    began = time.process_time()
    fit_anchors(shapes, 640, Anchors())
    assert time.process_time() - began < 5
