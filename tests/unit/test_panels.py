"""The images that TensorBoard shows."""

from pathlib import Path

import numpy as np
import pytest

from boxcar.data.example import read_examples
from boxcar.evaluation.panels import MOST, Panels, draw_confusion
from boxcar.inference.detections import Detections
from boxcar.inference.drawing import FOUND, TRUE
from boxcar.scoring import GroundTruth

LABELS = {1: "circle", 2: "square", 3: "triangle"}


def pixels(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(axis=-1).sum())


def test_labelled_boxes_stand_above_those_that_were_found(shapes_records: Path) -> None:
    shards = sorted(shapes_records.glob("train-*.tfrecord"))
    truths = [GroundTruth(e.width, e.height, e.boxes, e.labels, e.is_crowd) for e in read_examples(shards)]
    panels = Panels(shards, truths, LABELS)
    found = [Detections(t.boxes, np.linspace(0.9, 0.5, len(t.labels), dtype=np.float32), t.labels) for t in truths]
    weak = [Detections(one.boxes, one.scores * np.float32(0.3), one.classes) for one in found]
    drawn, faint = panels.draw(found), panels.draw(weak)
    assert len(drawn) == MOST
    for panel, other in zip(drawn, faint, strict=True):
        assert panel.dtype == np.uint8
        assert panel.shape[1] <= 350, "TensorBoard shrinks what is wider"
        half = panel.shape[0] // 2
        assert pixels(panel[:half], TRUE) > 100 < pixels(panel[half:], FOUND)
        assert pixels(panel[:half], FOUND) == pixels(panel[half:], TRUE) == 0
        np.testing.assert_array_equal(panel[:half], other[:half])
        assert pixels(other[half + 22 :], FOUND) == 0  # the words above it aside


def test_where_nothing_is_labelled_no_image_is_shown(shapes_records: Path) -> None:
    shards = sorted(shapes_records.glob("train-*.tfrecord"))
    empty = GroundTruth(96, 96, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert Panels(shards, [empty] * 3, LABELS).draw([nothing] * 3) == []


@pytest.mark.parametrize("classes", [1, 3, 20, 90])
def test_a_confusion_matrix_is_green_where_it_should_be(classes: int) -> None:
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    counts[np.arange(classes), np.arange(classes)] = 7
    right = draw_confusion(counts, ["a name that is long, and then goes on for longer than anybody reads"] * classes, "A\nB")
    assert pixels(right, TRUE) > 50 * classes
    assert pixels(right, FOUND) == 0
    wrong = draw_confusion(np.roll(counts, 1, axis=1), ["n"] * classes, "A\nB")
    assert pixels(wrong, FOUND) > 50 * classes
    assert pixels(wrong, TRUE) == 0
