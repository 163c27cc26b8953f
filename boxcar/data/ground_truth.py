"""What detections in a labeled image are scored against. Not in `example.py`, which is used where hotcoco is missing."""

from boxcar.data.example import Example
from boxcar.scoring import GroundTruth


def ground_truth_of(example: Example) -> GroundTruth:
    """The labeled boxes of an image."""
    return GroundTruth(example.width, example.height, example.boxes, example.labels, example.is_crowd, example.is_ignored)
