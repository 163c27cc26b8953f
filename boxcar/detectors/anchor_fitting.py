"""Chooses the anchors' scale from the boxes that a detector is trained on."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from boxcar.inference.anchors import feature_sizes
from boxcar.inference.specification import Anchors

MATCHED_IOU = 0.5  # from which training matches an anchor to a box

# Of the architecture's scale, below it, by thirds of an octave: sixths would be decided by a few boxes more or less. They are
# rounded to sixteenths, which every decoder represents exactly: for 4, to 3.1875, 2.5, 2, and 1.5625.
SHARES = tuple(2 ** (-thirds / 3) for thirds in range(1, 5))
TOLERANCE = 0.0075  # a larger scale wins over one that fits better by no more than this
MOST_LOST = 0.05  # share of a class's boxes that a scale may leave unmatched although the architecture's matches them
POSITIONS = 16  # at which a box is tried

Floats = npt.NDArray[np.float64]


def fit_anchors(shapes: Mapping[str, Sequence[tuple[float, float, int]]], image_size: int, default: Anchors) -> Anchors:
    """The anchors with the largest scale that fits the boxes about as well as any.

    Training learns most from a box that anchors overlap by an IoU of 0.5 or more, because it matches all of them to it, and
    else only one. So such a box counts 1 for a scale, and any other one its highest IoU. Every class counts the same.

    The largest scale is preferred because with it, a box belongs to a finer level, which has more anchors near it. Levels,
    aspect ratios, and scales per octave stay, so that trained heads fit.

    Args:
        shapes: for each class, the (height, width, count) of its boxes as shares of the image's sides.
        image_size: side of the network's input, in pixels.
        default: the architecture's anchors.

    Returns:
        Anchors with a scale of at most the default's; the default's own if there are no boxes.
    """
    classes = [shapes[name] for name in sorted(shapes) if shapes[name]]
    if not classes:
        return default
    table = np.array([(number, *shape) for number, rows in enumerate(classes) for shape in rows], np.float64)
    sides, place = np.unique(table[:, 1:3], axis=0, return_inverse=True)  # classes share most shapes
    # [classes, shapes]: which part of a class's boxes has which shape.
    weights = np.zeros((len(classes), len(sides)))
    np.add.at(weights, (table[:, 0].astype(int), place.ravel()), table[:, 3])
    weights /= weights.sum(axis=1, keepdims=True)

    smaller = (round(16 * share * default.anchor_scale) / 16 for share in SHARES)
    candidates = [default, *(default.model_copy(update={"anchor_scale": scale}) for scale in smaller)]
    overlaps = [best_overlaps(sides * image_size, image_size, anchors) for anchors in candidates]
    matched = [weights @ (overlap >= MATCHED_IOU).mean(axis=1) for overlap in overlaps]  # [classes] each
    fits = [(weights @ np.where(overlap >= MATCHED_IOU, 1.0, overlap).mean(axis=1)).mean() for overlap in overlaps]
    covering = [index for index, share in enumerate(matched) if (share >= matched[0] - MOST_LOST).all()]
    best = max(fits[index] for index in covering)
    return next(candidates[index] for index in covering if fits[index] >= best - TOLERANCE)


def best_overlaps(sides: Floats, image_size: int, anchors: Anchors) -> Floats:
    """The highest IoU of each box with an anchor, [N, 16]: at 16 positions, evenly spread over those inside the image.

    Args:
        sides: [N, 2], height and width, in pixels of the input.
        image_size: side of the input, in pixels.
        anchors: the grid.
    """
    found = np.zeros((len(sides), POSITIONS))
    centers = sides[:, None] / 2 + _positions() * np.maximum(image_size - sides, 0)[:, None]  # [N, 16, 2], y and x
    for level, size in enumerate(feature_sizes(image_size, anchors), start=anchors.min_level):
        stride = 2.0**level
        corner = stride / 2 if image_size % stride == 0 else 0.0  # as `make_anchors` places them
        # Of a level's anchors of one shape, the one with the nearest center overlaps the most.
        nearest = np.clip(np.round((centers - corner) / stride), 0, size - 1) * stride + corner
        distance = np.abs(centers - nearest)
        for ratio in anchors.aspect_ratios:
            for step in range(anchors.scales_per_octave):
                side = anchors.anchor_scale * stride * 2 ** (step / anchors.scales_per_octave)
                anchor = np.array([side / np.sqrt(ratio), side * np.sqrt(ratio)])
                shared = np.minimum(np.minimum(sides, anchor)[:, None], (sides + anchor)[:, None] / 2 - distance)
                common = np.maximum(shared, 0).prod(axis=2)
                found = np.maximum(found, common / (sides.prod(axis=1)[:, None] + anchor.prod() - common))
    return found


def _positions() -> Floats:
    """[16, 2] in (0, 1): the first points of a sequence that covers the square evenly (Roberts's R2)."""
    plastic = 1.324717957244746  # x^3 = x + 1
    result: Floats = (0.5 + np.arange(1, POSITIONS + 1)[:, None] / plastic ** np.array([1, 2])) % 1
    return result
