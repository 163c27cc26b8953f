"""Images as training sees them, with their boxes, for people to check."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxcar.inference.anchors import make_anchors
from boxcar.inference.decoding import classes_of, decode_boxes
from boxcar.inference.drawing import draw
from boxcar.inference.preprocessing import to_bytes
from boxcar.inference.specification import Specification

MOST = 8  # images
SIDE = 512  # of what is shown, in pixels: captions in smaller ones cannot be read


def make_panel(batches: tf.data.Dataset, specification: Specification) -> npt.NDArray[np.uint8]:
    """The first images of a training, uint8 [N, 512, 512, 3], with boxes and class names drawn in.

    The boxes are decoded from the targets, so errors in matching or encoding are visible, too.
    """
    anchors = make_anchors(specification.image_size, specification.anchors)
    batch = next(iter(batches))
    panel = []
    for image, targets, classes in zip(
        *(batch[name].numpy() for name in ("image", "box_targets", "class_targets")), strict=True
    ):
        matched = np.flatnonzero(classes)
        boxes = decode_boxes(targets[matched], anchors[matched], specification.box_coder)
        # Each object was given to many anchors: rounded, they all say the same.
        objects = np.unique(np.column_stack([boxes.round(3), classes[matched]]), axis=0)
        names = [specification.labels[label] for label in classes_of(objects[:, 4], specification).tolist()]
        pixels = to_bytes(image, specification)
        panel.append(draw(pixels, objects[:, :4].astype(np.float32), names, side=SIDE))
    return np.stack(panel[:MOST])
