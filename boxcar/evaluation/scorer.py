"""Runs a checkpoint over a split and scores what it finds."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from boxcar.data.example import read_examples
from boxcar.data.ground_truth import ground_truth_of
from boxcar.data.input_pipeline import IndexedSplit, evaluation_batches
from boxcar.detectors.catalog import build_network
from boxcar.detectors.checkpoint_weights import load_weights
from boxcar.detectors.folding import FoldedNetwork
from boxcar.detectors.tasks import find_task
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.detections import Detections
from boxcar.inference.specification import Specification
from boxcar.run.checkpoints import Checkpoint
from boxcar.scoring import GroundTruth
from boxcar.storage.cache import uri_of

BATCH = 16
KEPT_BYTES = 256 << 20  # of preprocessed images that stay in memory from checkpoint to checkpoint: 218 of 320 pixels


@dataclass
class ScoredSplit:
    """A split to score on. Its pixels stay in the records."""

    hashes: Sequence[str]  # SHA-256 of each image's file
    truths: Sequence[GroundTruth]  # one for each image
    shards: Sequence[Path]
    indexed: IndexedSplit
    batches: Sequence[tf.Tensor] | None = None  # float32 [B, S, S, 3], once they have been read and are few enough to be kept


class Scorer:
    """One network whose weights are exchanged from checkpoint to checkpoint."""

    def __init__(self, specification: Specification) -> None:
        self.specification = specification
        self._task = find_task(specification)
        self._network = build_network(specification)
        self._folded = FoldedNetwork(self._network)
        self._run = tf.function(
            self._folded.__call__,
            input_signature=[tf.TensorSpec([None, specification.image_size, specification.image_size, 3], tf.float32)],
        )

    def load(self, records: Path, name: str) -> ScoredSplit:
        """A split of the records, its checksums verified."""
        shards = sorted(records.glob(f"{name}-*.tfrecord"))
        hashes, truths = [], []
        for example in read_examples(shards):
            hashes.append(example.sha256)
            truths.append(ground_truth_of(example))
        return ScoredSplit(hashes, truths, shards, IndexedSplit(shards))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Loads a checkpoint's weights.

        Raises:
            BoxcarError: 65 if the checkpoint is of another data set or does not fit.
        """
        if checkpoint.dataset_version != self.specification.dataset_version:
            raise BoxcarError(
                ExitCode.DATA,
                f"The checkpoint {uri_of(checkpoint.prefix)} was trained on data version {checkpoint.dataset_version}, "
                f"but the records have version {self.specification.dataset_version}.",
                "Score it in the run that it belongs to.",
            )
        load_weights(self._network, checkpoint.prefix)
        self._folded.refold()

    def score(self, images: ScoredSplit) -> tuple[dict[str, Any], list[Detections]]:
        """COCO scores as `scoring.score` gives them, and each image's detections."""
        with ThreadPoolExecutor(1) as decoder:  # while the network computes the next batch
            batches = [decoder.submit(self._decode, self._run(pixels)) for pixels in self._batches(images)]
            found = [detections for batch in batches for detections in batch.result()]
        return self._task.score(images.truths, found, self.specification.labels), found

    def _batches(self, images: ScoredSplit) -> Iterator[tf.Tensor]:
        """The split's pixels. They are kept if they fit into memory, because every checkpoint is scored on them."""
        if images.batches is not None:
            yield from images.batches
            return
        side = self.specification.image_size
        keep = len(images.truths) * side * side * 3 * 4 <= KEPT_BYTES
        kept = []
        for pixels in evaluation_batches(images.indexed, self.specification, BATCH):
            if keep:
                kept.append(pixels)
            yield pixels
        images.batches = kept if keep else None

    def _decode(self, heads: Mapping[str, tf.Tensor]) -> list[Detections]:
        decoder = self._task.decoder
        arrays = {output.name: heads[output.name].numpy() for output in decoder.outputs}
        each = (dict(zip(arrays, answer, strict=True)) for answer in zip(*arrays.values(), strict=True))
        try:
            return [decoder.decode(answer, self.specification) for answer in each]
        except ValueError as error:  # the weights are finite, but so large that the outputs are not
            raise BoxcarError(
                ExitCode.DATA,
                f"The detector's outputs cannot be used: {error}.",
                "Training has diverged; start another run with a lower --learning-rate.",
            ) from error
