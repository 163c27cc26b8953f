"""Small, named changes to a training image and its boxes.

Each takes a `seed` int64 [2] from which all its randomness comes: the same seed always gives
the same image. What moves or scales an image changes only the window through which it is seen; `cut` then samples its pixels
once, from the image as it was read, so that an enlarged part is as sharp as the photograph.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from boxcar.inference import graph

MIN_VISIBLE = 0.3  # share of a box's area that must remain in view, else the object counts as gone
GRAY = 127.5  # around an image that does not fill its window: 0 once normalized, as a letterbox would be


class Sample(NamedTuple):
    """An image, its objects, and what of it is in view."""

    image: tf.Tensor  # uint8 or float32 [H, W, 3], 0 to 255
    boxes: tf.Tensor  # float32 [N, 4] (ymin, xmin, ymax, xmax), normalized by the image's sides
    labels: tf.Tensor  # int64 [N]
    # float32 [4] (top, left, bottom, right), normalized like the boxes; it may reach beyond the image, and where left is
    # larger than right the image is seen mirrored. None: the whole image.
    window: tf.Tensor | None = None


Augmentation = Callable[[Sample, tf.Tensor], Sample]


def horizontal_flip(sample: Sample, seed: tf.Tensor) -> Sample:
    """Mirrors every second image."""
    window = _window(sample)
    flip = tf.random.stateless_uniform([], seed) < 0.5
    return sample._replace(window=tf.where(flip, tf.gather(window, [0, 3, 2, 1]), window))


def crop(sample: Sample, seed: tf.Tensor) -> Sample:
    """Cuts out 75 to 100 % of the image's area, 0.75 to 3 times as wide as high.

    This is how the zoo's detectors were trained: `random_crop_image` of the Object Detection API (core/preprocessor.py) as
    ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8 sets it. Objects of which anything is left stay, clipped to what is left of
    them. An image too narrow for any such window stays whole.
    """
    window = _window(sample)
    sides = tf.cast(tf.shape(sample.image)[:2], tf.float32) * tf.abs(window[2:] - window[:2])
    _, _, part = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([tf.maximum(tf.cast(tf.round(sides), tf.int32), 1), [3]], axis=0),
        tf.clip_by_value(_seen(sample.boxes, window), 0.0, 1.0)[None],
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(0.75, 3.0),
        area_range=(0.75, 1.0),
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    return _through(sample, part[0, 0], 0.0)


def scale_jitter(sample: Sample, seed: tf.Tensor) -> Sample:
    """Cuts out 60 to 100 % of each side, or pads up to 140 %, with a mild change of aspect; every third image stays.

    Objects of which less than 30 % remains in view are left out; the others' boxes are clipped to what is left of them.
    """
    side, stretch, stay, top, left = tf.unstack(tf.random.stateless_uniform([5], seed))
    side = 0.6 + 0.8 * side
    stretch = tf.exp(0.3 * stretch - 0.15)
    sides = tf.where(stay < 1 / 3, 1.0, tf.stack([side * stretch, side / stretch]))
    # The window's corner: inside the image where it is smaller, outside by up to the padding where it is larger.
    corner = tf.stack([top, left]) * (1.0 - sides)
    return _through(sample, tf.concat([corner, corner + sides], axis=0), MIN_VISIBLE)


def color(sample: Sample, seed: tf.Tensor) -> Sample:
    """Brightness by up to 12 %, contrast and saturation by a factor of 0.7 to 1.3."""
    brightness, contrast, saturation = tf.unstack(tf.random.stateless_uniform([3], seed))
    contrast, saturation = 0.7 + 0.6 * contrast, 0.7 + 0.6 * saturation
    shift = contrast * 255.0 * (0.24 * brightness - 0.12) + 127.5 * (1.0 - contrast)
    # All three in one product a pixel: each channel is drawn towards the mean of the three, or away from it.
    mix = contrast * (saturation * tf.eye(3) + (1.0 - saturation) / 3.0)
    image = tf.tensordot(tf.cast(sample.image, tf.float32), mix, 1) + shift
    return sample._replace(image=tf.raw_ops.ClipByValue(t=image, clip_value_min=0.0, clip_value_max=255.0))


def mosaic(four: Sequence[Sample], image_size: int, seed: tf.Tensor) -> Sample:
    """One square image of four, which meet in a point 30 to 70 % down and across it (YOLOv4, arXiv 2004.10934, section 3.3).

    Of each a part is seen, at 50 to 100 % of the size that it would have alone, or less where its place is larger than that.
    Objects of which less than 30 % remains in view are left out, as in `scale_jitter`.
    """
    draws = tf.random.stateless_uniform([14], seed)
    middle = tf.cast(tf.round((0.3 + 0.4 * draws[:2]) * image_size), tf.int32)
    sides = tf.stack([middle, image_size - middle])  # of the upper left and of the lower right place, in pixels
    cuts = []
    for number, sample in enumerate(four):
        row, column = divmod(number, 2)
        place = tf.stack([sides[row, 0], sides[column, 1]])
        scale, corner = 0.5 + 0.5 * draws[2 + 3 * number], draws[3 + 3 * number : 5 + 3 * number]
        part = tf.minimum(tf.cast(place, tf.float32) / (scale * image_size), 1.0)
        corner = corner * (1.0 - part)
        seen = cut(_through(sample, tf.concat([corner, corner + part], axis=0), MIN_VISIBLE), place)
        offset = tf.cast(tf.stack([row * middle[0], column * middle[1]]), tf.float32)
        boxes = seen.boxes * tf.tile(tf.cast(place, tf.float32), [2]) + tf.tile(offset, [2])
        cuts.append(seen._replace(boxes=boxes / image_size))
    rows = [tf.concat([left.image, right.image], axis=1) for left, right in (cuts[:2], cuts[2:])]
    image = tf.ensure_shape(tf.concat(rows, axis=0), [image_size, image_size, 3])
    return Sample(image, tf.concat([one.boxes for one in cuts], axis=0), tf.concat([one.labels for one in cuts], axis=0))


MOVES: dict[str, Augmentation] = {"horizontal_flip": horizontal_flip, "crop": crop, "scale_jitter": scale_jitter}
PAINTS: dict[str, Augmentation] = {"colour": color}
MOSAIC = "mosaic"  # needs three more images, which `input_pipeline` reads


def augment(sample: Sample, image_size: int, seed: tf.Tensor, names: Sequence[str]) -> Sample:
    """Applies the named augmentations (but `mosaic`) one after the other, each with a seed of its own.

    What changes colors changes those of the image as it is then in view, float32 [S, S, 3].
    """
    if names:
        for name, own_seed in zip(names, tf.unstack(tf.random.split(seed, len(names))), strict=True):
            sample = PAINTS[name](cut(sample, image_size), own_seed) if name in PAINTS else MOVES[name](sample, own_seed)
    return sample


def cut(sample: Sample, size: int | tf.Tensor) -> Sample:
    """What is in view, as an image of its own.

    Args:
        sample: the image and its window.
        size: sides of what is returned, in pixels: one number or int32 [2], height and width.

    Returns:
        `image` float32 [*size, 3], gray where the window is outside the image; `boxes` normalized by its sides and
        clipped to it.
    """
    if sample.window is None:
        if isinstance(size, int) and sample.image.dtype == tf.float32 and sample.image.shape[:2] == [size, size]:
            return sample
        return sample._replace(image=graph.resize(sample.image, size))
    sides = tf.shape(sample.image)[:2]
    goal = tf.broadcast_to(size, [2])
    # In whole pixels of the image; boxes are moved by what comes of the rounding, so that nothing shifts against them.
    pixels = tf.cast(tf.round(sample.window * tf.cast(tf.tile(sides, [2]), tf.float32)), tf.int32)
    low = tf.minimum(pixels[:2], pixels[2:])
    high = tf.maximum(tf.maximum(pixels[:2], pixels[2:]), low + 1)
    first = tf.clip_by_value(low, 0, sides - 1)
    count = tf.clip_by_value(high, first + 1, sides) - first
    scale = goal / (high - low)
    inner = tf.clip_by_value(tf.cast(tf.round(tf.cast(count, tf.float64) * scale), tf.int32), 1, goal)
    before = tf.clip_by_value(tf.cast(tf.round(tf.cast(first - low, tf.float64) * scale), tf.int32), 0, goal - inner)
    part = tf.slice(sample.image, tf.concat([first, [0]], axis=0), tf.concat([count, [3]], axis=0))
    mirrored = sample.window[1] > sample.window[3]
    part = tf.cond(mirrored, lambda: tf.reverse(part, [1]), lambda: part)
    before_columns = tf.where(mirrored, goal[1] - inner[1] - before[1], before[1])
    resized = graph.resize(part, inner)
    around = tf.stack([before[0], goal[0] - inner[0] - before[0], before_columns, goal[1] - inner[1] - before_columns])
    image = tf.cond(
        tf.reduce_any(inner < goal),
        lambda: tf.pad(resized, tf.concat([tf.reshape(around, [2, 2]), [[0, 0]]], axis=0), constant_values=GRAY),
        lambda: resized,
    )
    moved = tf.cast(before, tf.float32) + (
        tf.reshape(sample.boxes, [-1, 2, 2]) * tf.cast(sides, tf.float32) - tf.cast(first, tf.float32)
    ) * tf.cast(inner / count, tf.float32)
    boxes = tf.clip_by_value(tf.reshape(moved / tf.cast(goal, tf.float32), [-1, 4]), 0.0, 1.0)
    boxes = tf.where(mirrored, _mirrored(boxes), boxes)
    image.set_shape([size, size, 3] if isinstance(size, int) else [None, None, 3])
    return Sample(image, boxes, sample.labels)


_WHOLE = np.array([0.0, 0.0, 1.0, 1.0], np.float32)


def _window(sample: Sample) -> tf.Tensor:
    return tf.constant(_WHOLE) if sample.window is None else sample.window


def _through(sample: Sample, part: tf.Tensor, least: float) -> Sample:
    """Narrows the view to a part [4] of it, leaving out objects of which no more than a share `least` is in it."""
    window = _window(sample)
    corner, sides = tf.tile(window[:2], [2]), tf.tile(window[2:] - window[:2], [2])
    window = corner + part * sides
    seen = _seen(sample.boxes, window)
    keep = _area(tf.clip_by_value(seen, 0.0, 1.0)) > least * _area(seen)
    return sample._replace(
        boxes=tf.boolean_mask(sample.boxes, keep), labels=tf.boolean_mask(sample.labels, keep), window=window
    )


def _seen(boxes: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Boxes [N, 4] as they lie in a window, normalized by its sides; not clipped."""
    moved = (boxes - tf.tile(window[:2], [2])) / tf.tile(window[2:] - window[:2], [2])
    return tf.concat([tf.minimum(moved[:, :2], moved[:, 2:]), tf.maximum(moved[:, :2], moved[:, 2:])], axis=1)


def _mirrored(boxes: tf.Tensor) -> tf.Tensor:
    return tf.stack([boxes[:, 0], 1.0 - boxes[:, 3], boxes[:, 2], 1.0 - boxes[:, 1]], axis=1)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
