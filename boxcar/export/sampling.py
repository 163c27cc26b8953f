"""Images from the records, for INT8 calibration and parity."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from boxcar.data.example import Example, index_shard, read_examples
from boxcar.data.pixels import decode_picture
from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.cache import uri_of

FEW_IMAGES = 50  # with fewer test images, validation images are added up to this number


def find_shards(records: Path, split: str) -> list[Path]:
    """A split's shards, in order."""
    return sorted(records.glob(f"{split}-*-of-*.tfrecord"))


def count_images(records: Path, split: str) -> int:
    """How many images a split has.

    Raises:
        BoxcarError: 65 if a shard is damaged, 69 if it cannot be read.
    """
    return sum(len(index_shard(shard)) for shard in find_shards(records, split))


def sample_images(records: Path, split: str, most: int) -> Iterator[tuple[Example, npt.NDArray[np.uint8]]]:
    """At most `most` of a split's labeled images, evenly spaced, with their pixels, uint8 RGB [H, W, 3].

    Evenly spaced, because images that follow each other in the records are often similar.

    Raises:
        BoxcarError: 65 if a shard is damaged, or an image in it, 69 if it cannot be read.
    """
    count = count_images(records, split)
    chosen = {place * count // most for place in range(most)} if count > most else set(range(count))
    for place, example in enumerate(read_examples(find_shards(records, split))):
        if place in chosen:
            yield example, decode_picture(example)


class ParityImages:
    """The images that exported files are compared on: test images, and validation images if there are few.

    An iterable of examples with their pixels.

    Args:
        records: the folder that `records` wrote.
        most: the maximum number of images.

    Attributes:
        splits: how many images of each split.

    Raises:
        BoxcarError: 65 if there are none; during iteration, as `sample_images`.
    """

    def __init__(self, records: Path, most: int) -> None:
        self._records = records
        self.splits = {"test": min(count_images(records, "test"), most)}
        if (missing := min(FEW_IMAGES, most) - self.splits["test"]) > 0:
            self.splits["validation"] = min(count_images(records, "validation"), missing)
        if not len(self):
            raise BoxcarError(
                ExitCode.DATA, f"{uri_of(records)} contains no test images to compare the files on.", "Add images to the data."
            )

    def __len__(self) -> int:
        return sum(self.splits.values())

    def __iter__(self) -> Iterator[tuple[Example, npt.NDArray[np.uint8]]]:
        for split, count in self.splits.items():
            yield from sample_images(self._records, split, count)
