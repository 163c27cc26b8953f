"""COCO average precision and recall, by hotcoco, to the numbers that pycocotools gives.

The protocol is that of https://cocodataset.org/#detection-eval: ten IoU thresholds from 0.50 to 0.95, 101 recall
points, at most 100 detections per image and class, sizes divided at areas of 32 * 32 and 96 * 96 pixels. If an image has more
than 100 objects, AP counts as many detections, because COCO's limit would leave out objects that are found.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import hotcoco
import numpy as np
from numpy.typing import NDArray

from boxcar.inference.detections import Detections
from boxcar.scoring.ground_truth import GroundTruth, count_ignored, without_ignored

# Indices into the arrays of an evaluation: IoU threshold, area range, limit of detections.
IOU_50, IOU_75 = 0, 5
AREAS = {"all": 0, "small": 1, "medium": 2, "large": 3}
LIMITS = {1: 0, 10: 1, 100: 2}


def score(truths: Sequence[GroundTruth], detections: Sequence[Detections], labels: Mapping[int, str]) -> dict[str, Any]:
    """Scores detections against ground truth.

    Args:
        truths: one per image.
        detections: one per image, in the same order.
        labels: the label map, id to name; every id in truths and detections is in it.

    Returns:
        `AP`, `AP50`, `AP75`, `AP_small`, `AP_medium`, `AP_large`, `AR_1`, `AR_10`, `AR_100`, `AR_small`, `AR_medium`,
        `AR_large`, each 0 to 1, or None if there is no ground truth to measure it by; and `per_class`, name to
        `{"AP", "AP50", "boxes"}`, where `boxes` counts the ground truth boxes that are no crowds. If two ids have
        one name, the later one's key is `<name> (id <id>)`. `ignored`, if there are any, counts the objects that were left
        out.

    Raises:
        ValueError: if the two sequences differ in length or an id is not in the label map.
    """
    if len(truths) != len(detections):
        raise ValueError(f"There is ground truth for {len(truths)} images, but there are detections for {len(detections)}.")
    ignored = count_ignored(truths)
    truths, detections = without_ignored(truths, detections)
    ids = sorted(labels)
    truth_labels = _joined((truth.labels for truth in truths), np.int64)
    found_classes = _joined((found.classes for found in detections), np.int64)
    unknown = sorted({*truth_labels.tolist(), *found_classes.tolist()} - set(ids))
    if unknown:
        raise ValueError(f"The label map has no id {unknown[0]}.")

    is_crowd = _joined((truth.is_crowd for truth in truths), np.bool_)
    precision, recall = _accumulate(truths, detections, labels, truth_labels, found_classes, is_crowd)
    result: dict[str, Any] = {
        "AP": _mean(precision[..., AREAS["all"]]),
        "AP50": _mean(precision[IOU_50, ..., AREAS["all"]]),
        "AP75": _mean(precision[IOU_75, ..., AREAS["all"]]),
    }
    for name in ("small", "medium", "large"):
        result[f"AP_{name}"] = _mean(precision[..., AREAS[name]])
    for limit, place in LIMITS.items():
        result[f"AR_{limit}"] = _mean(recall[..., AREAS["all"], place])
    for name in ("small", "medium", "large"):
        result[f"AR_{name}"] = _mean(recall[..., AREAS[name], LIMITS[100]])
    per_class: dict[str, dict[str, float | int | None]] = {}
    for place, label in enumerate(ids):
        name = labels[label]
        while name in per_class:
            name = f"{name} (id {label})"
        of_class = precision[:, :, place, AREAS["all"]]
        boxes = int(np.count_nonzero((truth_labels == label) & ~is_crowd))
        per_class[name] = {"AP": _mean(of_class), "AP50": _mean(of_class[IOU_50]), "boxes": boxes}
    return result | ({"ignored": ignored} if ignored else {}) | {"per_class": per_class}


def detection_limit(truths: Sequence[GroundTruth]) -> int:
    """How many detections per image and class count: COCO's 100, or as many as the image with the most objects has."""
    return max(max(LIMITS), *(len(truth.labels) for truth in truths), 0)


def _accumulate(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    labels: Mapping[int, str],
    truth_labels: NDArray[np.int64],
    found_classes: NDArray[np.int64],
    is_crowd: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision [IoU threshold, recall point, class, area] at `detection_limit`, and recall [threshold, class, area, limit].

    Classes are in ascending order of id. -1 means that there is no ground truth.
    """
    images = [{"id": i, "width": truth.width, "height": truth.height} for i, truth in enumerate(truths, 1)]
    # A record's float32 coordinates miss the whole pixels that were labeled by up to half a thousandth in images of
    # 8,000 pixels. Rounded back, a box of 32 by 32 is small and medium, as in COCO's own files, and not one by chance.
    truth_boxes = _joined((pixel_boxes(truth.boxes, truth).round(3) for truth in truths), np.float64, 4)
    reference = hotcoco.COCO.from_arrays(
        images,
        [{"id": label, "name": labels[label]} for label in sorted(labels)],
        np.repeat(np.arange(1, len(truths) + 1), [len(truth.labels) for truth in truths]),
        truth_labels,
        truth_boxes,
        area=truth_boxes[:, 2] * truth_boxes[:, 3],
        iscrowd=is_crowd.astype(np.int64),
    )
    results = np.column_stack(
        [
            np.repeat(np.arange(1, len(detections) + 1), [len(found.scores) for found in detections]),
            _joined((pixel_boxes(found.boxes, truth) for found, truth in zip(detections, truths, strict=True)), np.float64, 4),
            _joined((found.scores for found in detections), np.float64),
            found_classes,
        ]
    )
    evaluation = hotcoco.COCOeval(reference, reference.load_res(results), "bbox")
    if (limit := detection_limit(truths)) > max(LIMITS):
        evaluation.params.max_dets = [*LIMITS, limit]
    evaluation.evaluate()
    evaluation.accumulate()
    arrays: Any = evaluation.eval
    return arrays["precision"][..., -1], arrays["recall"]


def pixel_boxes(boxes: NDArray[np.float32], truth: GroundTruth) -> NDArray[np.float64]:
    """[N, 4] normalized (ymin, xmin, ymax, xmax) to COCO's (x, y, width, height) in pixels."""
    ymin, xmin, ymax, xmax = (boxes * np.array([truth.height, truth.width] * 2, np.float64)).T
    return np.stack([xmin, ymin, np.maximum(xmax - xmin, 0), np.maximum(ymax - ymin, 0)], axis=1)


def _joined(arrays: Iterable[NDArray[Any]], kind: type, columns: int | None = None) -> NDArray[Any]:
    """The rows of all images; there may be no images."""
    empty: NDArray[Any] = np.zeros((0,) if columns is None else (0, columns), kind)
    return np.concatenate([empty, *arrays], dtype=kind)


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean over what could be measured; the protocol has -1 for the rest."""
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else None
