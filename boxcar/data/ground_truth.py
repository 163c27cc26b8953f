"""Labeled images as what detections are scored against. Not in `example.py`, because some container images lack what scoring imports."""

from boxcar.data.example import Example
from boxcar.scoring import GroundTruth


def ground_truth_of(example: Example) -> GroundTruth:
    """The labeled boxes of an image."""
    return GroundTruth(example.width, example.height, example.boxes, example.labels, example.is_crowd)
