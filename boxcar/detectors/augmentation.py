"""Small, named changes to a training picture and its boxes.

Each takes `image` float32 [H, W, 3] with values 0 to 255, `boxes` float32 [N, 4] normalised, `labels` [N] and a `seed` [2]
from which all its randomness comes: the same seed gives the same picture, whoever asks and whenever.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

Sample = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # image, boxes, labels
Augmentation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Sample]

MIN_VISIBLE = 0.3  # share of a box's area that must remain inside a crop, else the object counts as gone


def horizontal_flip(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Mirrors every second picture."""

    def flip() -> tuple[tf.Tensor, tf.Tensor]:
        mirrored = tf.stack([boxes[:, 0], 1.0 - boxes[:, 3], boxes[:, 2], 1.0 - boxes[:, 1]], axis=1)
        return tf.reverse(image, [1]), mirrored

    image, boxes = tf.cond(_uniform(seed, 0.0, 1.0) < 0.5, flip, lambda: (image, boxes))
    return image, boxes, labels


def zoom(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Crops to between 60 and 100 % of each side, or pads up to 140 %, with a mild change of aspect; every third picture stays.

    Objects of which less than 30 % remains inside are left out; the others' boxes are clipped to what is left of them.
    """
    seeds = tf.random.split(seed, 5)
    side = _uniform(seeds[0], 0.6, 1.4)
    stretch = tf.exp(_uniform(seeds[1], -0.15, 0.15))
    height, width = side * stretch, side / stretch
    keep = _uniform(seeds[2], 0.0, 1.0) < 1 / 3
    height, width = tf.where(keep, 1.0, height), tf.where(keep, 1.0, width)
    # The window's corner: inside the picture where it is smaller, outside by up to the padding where it is larger.
    top = _uniform(seeds[3], 0.0, 1.0) * (1.0 - height)
    left = _uniform(seeds[4], 0.0, 1.0) * (1.0 - width)
    window = tf.stack([top, left, top + height, left + width])
    moved = (boxes - tf.stack([top, left, top, left])) / tf.stack([height, width, height, width])
    clipped = tf.clip_by_value(moved, 0.0, 1.0)
    visible = _area(clipped) >= MIN_VISIBLE * _area(moved)
    size = tf.shape(image)[:2]
    # Outside of the picture the mean grey, as a letterbox would be.
    cut = tf.image.crop_and_resize(image[None], window[None], [0], size, extrapolation_value=127.5)[0]
    image = tf.cond(keep, lambda: image, lambda: cut)
    return image, tf.boolean_mask(clipped, visible), tf.boolean_mask(labels, visible)


def colour(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Brightness by up to 12 %, contrast and saturation by a factor of 0.7 to 1.3."""
    seeds = tf.random.split(seed, 3)
    image = image + 255.0 * _uniform(seeds[0], -0.12, 0.12)
    image = (image - 127.5) * _uniform(seeds[1], 0.7, 1.3) + 127.5
    grey = tf.reduce_mean(image, axis=-1, keepdims=True)
    image = grey + (image - grey) * _uniform(seeds[2], 0.7, 1.3)
    return tf.clip_by_value(image, 0.0, 255.0), boxes, labels


AUGMENTATIONS: dict[str, Augmentation] = {"horizontal_flip": horizontal_flip, "zoom": zoom, "colour": colour}


def augment(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, names: Sequence[str]) -> Sample:
    """Applies the named augmentations one after the other, each with a seed of its own."""
    if names:
        for name, own_seed in zip(names, tf.unstack(tf.random.split(seed, len(names))), strict=True):
            image, boxes, labels = AUGMENTATIONS[name](image, boxes, labels, own_seed)
    return image, boxes, labels


def _uniform(seed: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, low, high)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
