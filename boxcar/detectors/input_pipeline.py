"""Records as tensors: batches for training, pictures for evaluation.

Training reads examples in an order that is a function of the seed and the step alone, so a resumed run sees the very
batches that an undisturbed one would have seen.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from boxcar.detectors import augmentation, graph
from boxcar.detectors.anchors import make_anchors
from boxcar.detectors.examples import index_shard
from boxcar.detectors.specification import Specification
from boxcar.detectors.targets import assign_targets

_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    **{f"image/object/bbox/{side}": tf.io.VarLenFeature(tf.float32) for side in ("ymin", "xmin", "ymax", "xmax")},
    "image/object/class/label": tf.io.VarLenFeature(tf.int64),
}


class Split:
    """Random access to the examples of a split, which stays on disk.

    Args:
        shards: its TFRecord files.

    Raises:
        BoxcarError: 65 for a shard that is cut short.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._maps: list[mmap.mmap] = []
        self._places: list[tuple[int, int, int]] = []  # shard, offset, length
        for shard in shards:
            places = index_shard(shard)
            if places:
                with shard.open("rb") as file:
                    self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                self._places += [(len(self._maps) - 1, offset, length) for offset, length in places]

    def __len__(self) -> int:
        return len(self._places)

    def payload(self, index: int) -> bytes:
        """The serialised `tf.train.Example` at a position."""
        shard, offset, length = self._places[index]
        return self._maps[shard][offset : offset + length]


def training_batches(
    split: Split,
    specification: Specification,
    batch_size: int,
    augmentations: Sequence[str],
    seed: int,
    first_step: int,
) -> tf.data.Dataset:
    """Endless batches, beginning with the one of step `first_step` (from 0).

    Returns:
        Dictionaries of `image` [B, S, S, 3] float32 in [-1, 1], `box_targets` [B, A, 4] and `class_targets` [B, A] int32,
        0 where an anchor is background. Every epoch goes through the split in an order of its own.
    """
    anchors = make_anchors(specification.image_size, specification.anchors)
    count = len(split)

    def sample(position: tf.Tensor) -> dict[str, tf.Tensor]:
        epoch, index = position // count, position % count
        order = tf.stack([tf.constant(seed, tf.int64), epoch])
        index = tf.random.experimental.index_shuffle(index, order, count - 1)
        image, boxes, labels = _parse(_payload(split, index))
        image = graph.resize(image, specification.image_size)
        image.set_shape([specification.image_size, specification.image_size, 3])
        own_seed = tf.stack([tf.constant(seed, tf.int64), position])
        image, boxes, labels = augmentation.augment(image, boxes, labels, own_seed, augmentations)
        box_targets, class_targets = assign_targets(boxes, labels, anchors, specification.box_coder)
        return {
            "image": tf.ensure_shape(graph.normalise(image), [specification.image_size, specification.image_size, 3]),
            "box_targets": box_targets,
            "class_targets": class_targets,
        }

    positions = tf.data.Dataset.range(first_step * batch_size, np.iinfo(np.int64).max)
    samples = positions.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return samples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(split: Split, image_size: int, batch_size: int) -> tf.data.Dataset:
    """The split once, in its order: float32 [B, S, S, 3] in [-1, 1]; the last batch may be smaller."""

    def sample(index: tf.Tensor) -> tf.Tensor:
        image, _, _ = _parse(_payload(split, index))
        return tf.ensure_shape(graph.normalise(graph.resize(image, image_size)), [image_size, image_size, 3])

    indices = tf.data.Dataset.range(len(split))
    return indices.map(sample, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(2)


def _payload(split: Split, index: tf.Tensor) -> tf.Tensor:
    def read(position: Any) -> bytes:
        return split.payload(int(position))

    return tf.ensure_shape(tf.numpy_function(read, [index], tf.string), [])


def _parse(payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A serialised example to its picture (uint8 [H, W, 3]), boxes [N, 4] normalised and labels [N] int64."""
    features = tf.io.parse_single_example(payload, _FEATURES)
    picture = graph.decode_picture(features["image/encoded"])
    sides = [tf.sparse.to_dense(features[f"image/object/bbox/{side}"]) for side in ("ymin", "xmin", "ymax", "xmax")]
    return picture, tf.stack(sides, axis=1), tf.sparse.to_dense(features["image/object/class/label"])
