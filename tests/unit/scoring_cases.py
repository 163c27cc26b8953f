"""Images with ground truth and what a detector finds on them: random cases of all sorts, and the odd ones by name."""

import numpy as np

from boxcar.inference.detections import Detections
from boxcar.scoring import GroundTruth

LABELS = {2: "fork", 5: "spoon", 9: "knife"}


def truth(boxes, labels, crowd=None, size=(320, 240)):
    """From whole pixels (ymin, xmin, ymax, xmax), through float32 as a record holds them."""
    width, height = size
    boxes = np.array(boxes, np.float64).reshape(-1, 4) / [height, width, height, width]
    crowd = np.zeros(len(labels), bool) if crowd is None else np.array(crowd, bool)
    return GroundTruth(width, height, boxes.astype(np.float32), np.array(labels, np.int64), crowd)


def detections(boxes, scores, classes, size=(320, 240)):
    width, height = size
    boxes = (np.array(boxes, np.float64).reshape(-1, 4) / [height, width, height, width]).astype(np.float32)
    order = np.argsort(-np.array(scores, np.float32), kind="stable")
    return Detections(boxes[order], np.array(scores, np.float32)[order], np.array(classes, np.int64)[order])


def random_case(seed):
    """Pictures of all sorts: boxes of all sizes, crowds, near misses, doubles, wrong classes, tied scores."""
    random = np.random.default_rng(seed)
    labels = {int(label): f"class {label}" for label in random.choice(np.arange(1, 40), random.integers(1, 5), False)}
    ids = list(labels)
    truths, found = [], []
    for _ in range(random.integers(1, 8)):
        width, height = random.integers(40, 500, 2).tolist()
        count = int(random.choice([0, 1, 3, 12]))
        side = np.minimum(random.choice([8, 32, 40, 96, 130, 400], (count, 2)), [height, width])
        corner = (random.random((count, 2)) * ([height, width] - side)).astype(int)
        boxes = np.concatenate([corner, corner + side], axis=1)
        classes = random.choice(ids, count)
        image = truth(boxes, classes, random.random(count) < 0.15, (width, height))
        seen = random.integers(0, count, random.integers(0, 25)) if count else np.zeros(0, int)
        shift = random.normal(0, 1, (len(seen), 4)) * random.choice([0, 1, 4, 15], (len(seen), 1))
        stray = random.random((random.integers(0, 6), 4)) * ([height / 2, width / 2] * 2)
        stray[:, 2:] += stray[:, :2]
        guessed = np.concatenate([boxes[seen] + shift, stray])
        guessed[:, 2:] = np.maximum(guessed[:, 2:], guessed[:, :2])
        named = np.where(random.random(len(guessed)) < 0.1, random.choice(ids, len(guessed)), 0)
        named[: len(seen)] = np.where(named[: len(seen)], named[: len(seen)], classes[seen])
        named = np.where(named == 0, ids[0], named)
        scores = random.random(len(guessed)).round(int(random.choice([1, 2, 7])))
        truths.append(image)
        found.append(detections(guessed, scores, named, (width, height)))
    return truths, found, labels


NOTHING_FOUND = detections([], [], [])
NO_TRUTH = truth([], [])
TWO = truth([[10, 10, 110, 110], [10, 150, 60, 200]], [2, 5])
ODD_CASES = {
    "no pictures": ([], []),
    "no truth, nothing found": ([NO_TRUTH], [NOTHING_FOUND]),
    "no truth, something found": ([NO_TRUTH], [detections([[1, 1, 50, 50]], [0.9], [2])]),
    "truth, nothing found": ([TWO, TWO], [NOTHING_FOUND, NOTHING_FOUND]),
    "false alarms on an image without truth": (
        [TWO, NO_TRUTH],
        [
            detections([[10, 10, 110, 110], [10, 150, 60, 200]], [0.8, 0.8], [2, 5]),
            detections([[10, 10, 110, 110]], [0.9], [2]),
        ],
    ),
    "all right": ([TWO], [detections([[10, 10, 110, 110], [10, 150, 60, 200]], [0.9, 0.8], [2, 5])]),
    "the same box many times": ([TWO], [detections([[10, 10, 110, 110]] * 30, [0.5] * 30, [2] * 30)]),
    "more than a hundred of one class": (
        [TWO],
        [detections([[200, 200, 210, 210]] * 100 + [[10, 10, 110, 110]], [0.9] * 100 + [0.1], [2] * 101)],
    ),
    "only a crowd": (
        [truth([[0, 0, 200, 200]], [2], [True])],
        [detections([[0, 0, 50, 50], [50, 50, 90, 90]], [0.9, 0.8], [2, 2])],
    ),
    "a crowd over a box": (
        [truth([[0, 0, 200, 200], [10, 10, 60, 60]], [2, 2], [True, False])],
        [detections([[0, 0, 50, 50], [11, 10, 61, 60], [50, 50, 90, 90]], [0.9, 0.7, 0.8], [2, 2, 2])],
    ),
    "an IoU of exactly one half": (
        [truth([[0, 0, 100, 100]], [2], size=(400, 400))],
        [detections([[0, 0, 100, 50]], [0.9], [2], size=(400, 400))],
    ),
    "tied scores within and across pictures": (
        [TWO, TWO, TWO],
        [
            detections([[100, 100, 150, 150], [10, 10, 110, 110]], [0.5, 0.5], [2, 2]),
            detections([[10, 10, 110, 110], [100, 100, 150, 150]], [0.5, 0.5], [2, 2]),
            detections([[12, 10, 112, 110], [8, 10, 108, 110]], [0.5, 0.5], [2, 2]),
        ],
    ),
    "two truths equally near": (
        [truth([[0, 0, 100, 100], [0, 20, 100, 120]], [2, 2])],
        [detections([[0, 10, 100, 110], [0, 0, 100, 100]], [0.9, 0.8], [2, 2])],
    ),
    "a detection without area": ([TWO], [detections([[10, 10, 10, 110]], [0.9], [2])]),
    "boxes at the bounds of small and of large": (
        [truth([[3, 7, 35, 39], [40, 40, 136, 136]], [2, 2], size=(331, 247))],
        [detections([[3, 7, 35, 39], [40, 40, 136, 137]], [0.9, 0.8], [2, 2], size=(331, 247))],
    ),
}
