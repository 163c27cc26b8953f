"""COCO scores, matching, and bootstrap: how good detections are. May import `inference` and what is below; never TensorFlow."""

from boxcar.scoring.average_precision import score
from boxcar.scoring.bootstrap import Difference, ap50_difference, one_sided
from boxcar.scoring.confusion import confusion_matrix
from boxcar.scoring.curves import Curve, precision_recall_curves
from boxcar.scoring.ground_truth import GroundTruth, has_scored_object
from boxcar.scoring.matching import Matches, greedy_partners, match

__all__ = [
    "Curve",
    "Difference",
    "GroundTruth",
    "Matches",
    "ap50_difference",
    "confusion_matrix",
    "greedy_partners",
    "has_scored_object",
    "match",
    "one_sided",
    "precision_recall_curves",
    "score",
]
