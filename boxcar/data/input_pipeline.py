"""Records as tensors: batches for training, images for evaluation.

Training reads examples in an order that is a function of the seed and the step alone, so a resumed run sees the very
batches that an undisturbed one would have seen.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from boxcar.data import augmentation
from boxcar.data.example import Example, decode_example, index_shard
from boxcar.data.tfrecord import HEADER
from boxcar.detectors.task import Task
from boxcar.detectors.tasks import find_task
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference import graph
from boxcar.inference.specification import Specification

_IMAGE = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
_BOX = tuple(f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))


class IndexedSplit:
    """Random access to the examples of a split, which stays on disk.

    Args:
        shards: its TFRecord files.

    Raises:
        BoxcarError: 65 for a shard that is cut short.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards: list[tuple[Path, mmap.mmap]] = []
        self._places: list[tuple[int, int, int]] = []  # shard, offset, length
        for shard in shards:
            places = index_shard(shard)
            if places:
                with shard.open("rb") as file:
                    self._shards.append((shard, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
                self._places += [(len(self._shards) - 1, offset, length) for offset, length in places]

    def __len__(self) -> int:
        return len(self._places)

    def payload(self, index: int) -> bytes:
        """The serialized `tf.train.Example` at a position."""
        shard, offset, length = self._places[index]
        return self._shards[shard][1][offset : offset + length]

    def example(self, index: int) -> Example:
        """The labeled image at a position.

        Raises:
            BoxcarError: 65 where the record there is none.
        """
        shard, offset, _ = self._places[index]
        return decode_example(self.payload(index), self._shards[shard][0], offset - HEADER.size)


def training_batches(
    split: IndexedSplit,
    specification: Specification,
    batch_size: int,
    augmentations: Sequence[str],
    seed: int,
    first_step: int,
    *,
    pipeline: tuple[int, int] = (0, 1),
    replica_batch_size: int | None = None,
) -> tf.data.Dataset:
    """Endless batches, beginning with those of step `first_step` (from 0).

    Every epoch has its own order of the split. What a step's images are, and how they are varied, does not
    depend on how many pipelines read them.

    Args:
        split: what to read.
        specification: input size, anchors and box coder.
        batch_size: images a step, of all pipelines together.
        augmentations: names, applied in this order.
        seed: of the order and of the augmentations.
        first_step: steps that were done before.
        pipeline: which of how many this one is; it reads that one of as many contiguous slices of every step's images.
        replica_batch_size: images in each batch given out, where a pipeline feeds several replicas, one after the other;
            the whole slice if None.

    Returns:
        Dictionaries of `image` [B, S, S, 3] float32 in the value range, and the task's targets: for boxes, `box_targets`
        [B, A, 4] and `class_targets` [B, A] int32, 0 where an anchor is background.

    Raises:
        BoxcarError: 64 where a step's images cannot be divided evenly.
    """
    size, task = specification.image_size, find_task(specification)
    count = len(split)
    number, pipelines = pipeline
    slice_size = batch_size // pipelines
    replica_batch_size = replica_batch_size or slice_size
    if slice_size * pipelines != batch_size or slice_size % replica_batch_size:
        raise BoxcarError(
            ExitCode.USAGE,
            f"A batch of {batch_size} images cannot be divided evenly among {pipelines} workers, {replica_batch_size} per GPU.",
            "Give a --batch-size that is a multiple of the number of GPUs.",
        )
    alone, together = _around_mosaic(augmentations)

    def sample(counter: tf.Tensor) -> dict[str, tf.Tensor]:
        # The counter is of this pipeline's images; the position is the image's place among those of all pipelines.
        position = counter // slice_size * batch_size + number * slice_size + counter % slice_size
        indices = tf.unstack(_members(position, count, seed, augmentations))
        *seeds, mosaic_seed, seed_together = tf.unstack(tf.random.split(_seed(seed, position), len(indices) + 2))
        read = [_parse(_payload(split, index), task) for index in indices]
        varied = [augmentation.augment(one, size, own_seed, alone) for one, own_seed in zip(read, seeds, strict=True)]
        whole = varied[0] if len(varied) == 1 else augmentation.mosaic(varied, size, mosaic_seed)
        image, boxes, labels, _ = augmentation.cut(augmentation.augment(whole, size, seed_together, together), size)
        targets = task.targets({"boxes": boxes, "labels": labels}, specification)
        return {"image": tf.ensure_shape(graph.normalize(image, specification), [size, size, 3])} | targets

    counters = tf.data.Dataset.range(first_step * slice_size, np.iinfo(np.int64).max)
    samples = counters.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return samples.batch(replica_batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def batch_members(split_size: int, batch_size: int, augmentations: Sequence[str], seed: int, step: int) -> list[int]:
    """Positions in the split of the images that `training_batches` reads for a step (from 0), in the batch's order.

    Where `mosaic` is among the augmentations each image of the batch is made of four, which follow one another.
    """
    positions = tf.range(step * batch_size, (step + 1) * batch_size, dtype=tf.int64)
    return [int(index) for position in positions for index in _members(position, split_size, seed, augmentations)]


def _around_mosaic(augmentations: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What is done to each of a mosaic's images, and what to the mosaic; without one, nothing is of the first kind."""
    if augmentation.MOSAIC not in augmentations:
        return (), augmentations
    place = augmentations.index(augmentation.MOSAIC)
    return augmentations[:place], augmentations[place + 1 :]


def _members(position: tf.Tensor, count: int, seed: int, augmentations: Sequence[str]) -> tf.Tensor:
    """Which images are read for a position (int64) of the endless sequence of epochs: int64 [1]; [4] of a mosaic."""
    epoch, index = position // count, position % count
    order = tf.stack([tf.constant(seed, tf.int64), epoch])
    own = tf.random.experimental.index_shuffle(index, order, count - 1)[None]
    if augmentation.MOSAIC not in augmentations:
        return own
    others = tf.random.stateless_uniform([3], _seed(seed, position), maxval=count, dtype=tf.int64)
    return tf.concat([own, others], axis=0)


def _seed(seed: int, position: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.constant(seed, tf.int64), position])


def evaluation_batches(split: IndexedSplit, specification: Specification, batch_size: int) -> tf.data.Dataset:
    """The split once, in its order: float32 [B, S, S, 3] as the network reads them; the last batch may be smaller."""
    size = specification.image_size

    def sample(index: tf.Tensor) -> tf.Tensor:
        image = graph.decode_image(tf.io.parse_single_example(_payload(split, index), _IMAGE)["image/encoded"])
        return tf.ensure_shape(graph.normalize(graph.resize(image, size), specification), [size, size, 3])

    indices = tf.data.Dataset.range(len(split))
    return indices.map(sample, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(2)


def _payload(split: IndexedSplit, index: tf.Tensor) -> tf.Tensor:
    def read(position: Any) -> bytes:
        return split.payload(int(position))

    return tf.ensure_shape(tf.numpy_function(read, [index], tf.string), [])


def _parse(payload: tf.Tensor, task: Task) -> augmentation.Sample:
    """A serialized example as the augmentations take it."""
    lists = {key: tf.io.VarLenFeature(kind) for key, kind in task.features.items()}
    features = tf.io.parse_single_example(payload, _IMAGE | lists)
    image = graph.decode_image(features["image/encoded"])
    objects = {key: tf.sparse.to_dense(features[key]) for key in lists}
    return augmentation.Sample(image, tf.stack([objects[key] for key in _BOX], axis=1), objects["image/object/class/label"])
