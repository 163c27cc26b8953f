"""The labeled boxes that detections are scored against, and those that are left out of scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxcar.inference.boxes import iou_matrix
from boxcar.inference.detections import Detections

_IOU = 0.5  # from which a detection is one of an ignored object, as in Pascal VOC


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The labeled boxes of one image, of which there may be none.

    Raises:
        ValueError: if shapes do not fit together, a size is not positive or a coordinate is not finite.
    """

    width: int  # pixels of the stored image
    height: int
    boxes: NDArray[np.float32]  # [N, 4]: ymin, xmin, ymax, xmax, normalized by height and width
    labels: NDArray[np.int64]  # [N], from 1
    is_crowd: NDArray[np.bool_]  # [N]: a box around many objects; detections in it do not count
    is_ignored: NDArray[np.bool_] | None = None  # [N]: objects that `without_ignored` leaves out; None if there is none

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.labels.shape != (count,) or self.boxes.shape != (count, 4) or self.is_crowd.shape != (count,):
            shapes = f"boxes {self.boxes.shape}, labels {self.labels.shape}, is_crowd {self.is_crowd.shape}"
            raise ValueError(f"GroundTruth needs boxes [N, 4], labels [N] and is_crowd [N], not {shapes}.")
        if self.is_ignored is not None and self.is_ignored.shape != (count,):
            raise ValueError(f"GroundTruth needs is_ignored [N], not {self.is_ignored.shape}.")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"An image cannot be {self.width} by {self.height} pixels.")
        if not np.isfinite(self.boxes).all():
            raise ValueError("GroundTruth contains a coordinate that is not finite.")


def has_scored_object(truth: GroundTruth) -> bool:
    """Whether an image has an object that scores do not ignore."""
    return len(truth.labels) > 0 if truth.is_ignored is None else not truth.is_ignored.all()


def without_ignored(
    truths: Sequence[GroundTruth], detections: Sequence[Detections]
) -> tuple[Sequence[GroundTruth], Sequence[Detections]]:
    """Ground truth and detections of images without the ignored objects and without the detections of these.

    A detection is one of an ignored object if that is the object of its class which it overlaps most, by an IoU of 0.5 or
    more, as in VOCdevkit's VOCevaldet.m. So it is neither right nor wrong, and nor is an ignored object missed.

    Args:
        truths: one per image.
        detections: one per image, in the same order.

    Raises:
        ValueError: if the two sequences differ in length.
    """
    if not any(truth.is_ignored is not None and truth.is_ignored.any() for truth in truths):
        return truths, detections
    pairs = [_without(truth, found) for truth, found in zip(truths, detections, strict=True)]
    return [truth for truth, _ in pairs], [found for _, found in pairs]


def _without(truth: GroundTruth, found: Detections) -> tuple[GroundTruth, Detections]:
    ignored = truth.is_ignored
    if ignored is None or not ignored.any():
        return truth, found
    overlaps = iou_matrix(found.boxes, truth.boxes)
    overlaps[found.classes[:, None] != truth.labels] = 0
    kept = ~((overlaps.max(axis=1, initial=0) >= _IOU) & ignored[overlaps.argmax(axis=1)])
    counts = ~ignored
    return (
        GroundTruth(truth.width, truth.height, truth.boxes[counts], truth.labels[counts], truth.is_crowd[counts]),
        Detections(found.boxes[kept], found.scores[kept], found.classes[kept]),
    )


def count_ignored(truths: Sequence[GroundTruth]) -> int:
    """The number of ignored objects."""
    return sum(int(np.count_nonzero(truth.is_ignored)) for truth in truths if truth.is_ignored is not None)
