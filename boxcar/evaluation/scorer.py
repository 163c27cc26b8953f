"""Runs a checkpoint over a split and scores what it finds."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from boxcar.data.example import Example, read_examples
from boxcar.data.input_pipeline import Split, evaluation_batches
from boxcar.detectors.catalog import build_network
from boxcar.detectors.folding import FoldedNetwork
from boxcar.detectors.network import load_weights
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.decoding import decode
from boxcar.inference.detections import Detections
from boxcar.inference.specification import Specification
from boxcar.run.checkpoints import Checkpoint
from boxcar.scoring import Truth, score

BATCH = 16
KEPT_BYTES = 256 << 20  # of preprocessed pictures that stay in memory from checkpoint to checkpoint: 218 of 320 pixels


@dataclass(frozen=True)
class Described:
    """A picture's identity; its pixels stay in the records."""

    sha256: str
    truth: Truth


@dataclass
class Pictures:
    """A split to score on."""

    examples: Sequence[Described]
    shards: Sequence[Path]
    split: Split
    batches: Sequence[tf.Tensor] | None = None  # float32 [B, S, S, 3], once they have been read and are few enough to be kept

    @property
    def truths(self) -> list[Truth]:
        """The labelled boxes of each picture."""
        return [example.truth for example in self.examples]


class Scorer:
    """One network whose weights are exchanged from checkpoint to checkpoint."""

    def __init__(self, specification: Specification) -> None:
        self.specification = specification
        self._network = build_network(specification)
        self._folded = FoldedNetwork(self._network, specification.image_size)
        self._run = tf.function(
            self._folded.__call__,
            input_signature=[tf.TensorSpec([None, specification.image_size, specification.image_size, 3], tf.float32)],
        )

    def load(self, records: Path, name: str) -> Pictures:
        """A split of the records, its checksums verified."""
        shards = sorted(records.glob(f"{name}-*.tfrecord"))
        return Pictures([_described(example) for example in read_examples(shards)], shards, Split(shards))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Loads a checkpoint's weights; 65 where it is of another data set or does not fit."""
        if checkpoint.dataset_version != self.specification.dataset_version:
            raise BoxcarError(
                ExitCode.DATA,
                f"The checkpoint {checkpoint.prefix} was trained on data version {checkpoint.dataset_version}, "
                f"the records are of {self.specification.dataset_version}.",
                "Score it in the run that it belongs to.",
            )
        load_weights(self._network, checkpoint.prefix, class_predictor=True)
        self._folded.refold()

    def score(self, pictures: Pictures) -> tuple[dict[str, Any], list[Detections]]:
        """COCO scores as `scoring.score` gives them, and each picture's detections."""
        with ThreadPoolExecutor(1) as decoder:  # beside the next batch's run through the network
            batches = [decoder.submit(self._decode, self._run(pixels)) for pixels in self._batches(pictures)]
            found = [detections for batch in batches for detections in batch.result()]
        return score(pictures.truths, found, self.specification.labels), found

    def _batches(self, pictures: Pictures) -> Iterator[tf.Tensor]:
        """The split's pixels; kept where they fit, since every checkpoint is asked about the very same."""
        if pictures.batches is not None:
            yield from pictures.batches
            return
        side = self.specification.image_size
        keep = len(pictures.examples) * side * side * 3 * 4 <= KEPT_BYTES
        kept = []
        for pixels in evaluation_batches(pictures.split, side, BATCH):
            if keep:
                kept.append(pixels)
            yield pixels
        pictures.batches = kept if keep else None

    def _decode(self, heads: Mapping[str, tf.Tensor]) -> list[Detections]:
        each = zip(heads["box_encodings"].numpy(), heads["class_logits"].numpy(), strict=True)
        try:
            return [decode(boxes, logits, self.specification) for boxes, logits in each]
        except ValueError as error:  # finite weights, but so large that what they answer is not
            raise BoxcarError(
                ExitCode.DATA,
                f"The detector's answers cannot be used: {error}.",
                "Training has diverged; start another run with a lower --learning-rate.",
            ) from error


def _described(example: Example) -> Described:
    truth = Truth(
        width=example.width,
        height=example.height,
        boxes=example.boxes,
        labels=example.labels,
        is_crowd=example.is_crowd,
    )
    return Described(example.sha256, truth)
