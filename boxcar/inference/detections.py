"""The detections of one image. NumPy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes found in one image, best first.

    Raises:
        ValueError: if shapes do not match, a number is not finite, a class is below 1, or scores are not in descending order.
    """

    boxes: NDArray[np.float32]  # [M, 4]: ymin, xmin, ymax, xmax, normalized by the image's height and width
    scores: NDArray[np.float32]  # [M], descending
    classes: NDArray[np.int64]  # [M], from 1, as in the label map

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.scores.shape != (count,) or self.boxes.shape != (count, 4) or self.classes.shape != (count,):
            shapes = f"boxes {self.boxes.shape}, scores {self.scores.shape}, classes {self.classes.shape}"
            raise ValueError(f"Detections need boxes [M, 4], scores [M] and classes [M], not {shapes}.")
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise ValueError("Detections contain a number that is not finite.")
        if (self.classes < 1).any():
            raise ValueError(f"Detections contain class {self.classes.min()}; classes count from 1.")
        if (self.scores[1:] > self.scores[:-1]).any():
            raise ValueError("Detections must come in descending order of score.")

    def above(self, score: float) -> "Detections":
        """The detections with at least this score."""
        kept = int(np.count_nonzero(self.scores >= score))  # they are sorted
        return Detections(boxes=self.boxes[:kept], scores=self.scores[:kept], classes=self.classes[:kept])
