"""A model's frozen test split: its images with their boxes, kept in the registry, so that every version meets the same."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boxcar.data.example import Example, read_examples
from boxcar.data.held_out_list import FROZEN_TEST, frozen_test_text
from boxcar.data.label_map import read_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.model import TESTS, Model
from boxcar.run.layout import LABEL_MAP
from boxcar.run.step import Step, require_commit
from boxcar.storage import file_sha256, replace_text
from boxcar.storage.cache import uri_of
from boxcar.sync.mirror import Mirror

STEP = "models retest"
_IDENTITY = 12  # hexadecimal digits of its name


@dataclass(frozen=True)
class HeldOutTest:
    """A held-out test split on this machine.

    Attributes:
        split: its name, which is made of its content: images and boxes.
        folder: where it is on this machine.
        labels: the names of its boxes' ids.
        names: of its images, by their SHA-256.
        objects: how many labeled boxes there are.
    """

    split: str
    folder: Path
    labels: dict[int, str]
    names: dict[str, str]
    objects: int

    def examples(self) -> Iterator[Example]:
        """Its images, always in the same order."""
        return read_examples(_shards(self.folder))


def keep_test(model: Model, records: Path) -> HeldOutTest:
    """Keeps the test split of records in the registry; whether it counts is for the model's aliases to say.

    Args:
        model: whose it is to be.
        records: the folder that `records` wrote.

    Raises:
        BoxcarError: 65 where the records' test split holds no labeled object.
    """
    require_commit(records, "records")
    shards = _shards(records)
    label_map = records / LABEL_MAP
    digest = hashlib.sha256("".join(file_sha256(path) for path in (*shards, label_map)).encode()).hexdigest()
    split = digest[:_IDENTITY]
    with model.test(split).working() as folder:
        step = Step(STEP, folder, {"test": digest}, {})
        if step.done() is None:
            names = {example.sha256: example.filename for example in read_examples(shards)}
            if not any(len(example.labels) for example in read_examples(shards)):
                what = f"The test split of the records in {uri_of(records)} contains no labeled object to compare versions on."
                raise BoxcarError(ExitCode.DATA, what, "Build records with labeled test images.")
            with step.writing():
                for path in (*shards, label_map):
                    shutil.copyfile(path, folder / path.name)
                replace_text(folder / FROZEN_TEST, frozen_test_text(names))
    return read_held_out(model, split)


def read_held_out(model: Model, split: str) -> HeldOutTest:
    """A held-out test split, fetched if it is in a bucket.

    Raises:
        BoxcarError: 64 where there is none of this name, 65 where it is damaged.
    """
    folder = require_commit(model.test(split).fetch(), STEP).folder
    examples = list(read_examples(_shards(folder)))
    return HeldOutTest(
        split,
        folder,
        read_label_map(folder / LABEL_MAP),
        {example.sha256: example.filename for example in examples},
        sum(len(example.labels) for example in examples),
    )


def held_out_list(model: Model, split: str) -> str:
    """URI of the list that `records --frozen-test` takes."""
    return f"{model.uri}/{TESTS}/{split}/{FROZEN_TEST}"


def fetch_records(uri: str) -> Path:
    """The folder of records, on this machine."""
    return require_commit(Mirror(uri).fetch(), "records").folder


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("test-*-of-*.tfrecord"))
