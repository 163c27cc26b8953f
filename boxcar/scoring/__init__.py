"""How good detections are: COCO average precision against ground truth, and matching of one detector with another."""

from boxcar.scoring.average_precision import Truth, score
from boxcar.scoring.bootstrap import Difference, ap50_difference, one_sided
from boxcar.scoring.confusion import confusion
from boxcar.scoring.curves import Curve, curves
from boxcar.scoring.matching import Matches, match

__all__ = ["Curve", "Difference", "Matches", "Truth", "ap50_difference", "confusion", "curves", "match", "one_sided", "score"]
