"""A model's held-out test split: images with their boxes, kept in the registry, so that all versions are compared on them."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from boxcar.data.example import Example, read_examples
from boxcar.data.held_out_list import FROZEN_TEST, frozen_test_text
from boxcar.data.label_map import read_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.model import TESTS, Model
from boxcar.run.layout import COMMIT, LABEL_MAP
from boxcar.run.step import Step, read_commit, require_commit
from boxcar.storage import Missing, file_sha256, replace_text
from boxcar.storage.cache import uri_of

STEP = "models retest"
_IDENTITY = 12  # hexadecimal digits of its name
# With fewer images with labeled objects, the bootstrap's bounds are too narrow: with one image, for example, all of its samples
# are equal. From eight images on, the rate of errors in simulated comparisons is the requested one.
FEWEST_PICTURES = 8
_MEND = "Restore that folder from a backup, or give the model another test split with `boxcar models retest`."


class Summary(NamedTuple):
    """What a test split contains.

    Attributes:
        names: the file names of its images by SHA-256.
        with_objects: the number of its records with a labeled box.
        objects: the number of labeled boxes.
        classes: the ids of its boxes' classes.
    """

    names: dict[str, str]
    with_objects: int
    objects: int
    classes: frozenset[int]


@dataclass(frozen=True)
class HeldOutTest:
    """A held-out test split on this machine.

    Attributes:
        split: its name, a hash over its images and boxes.
        folder: its folder on this machine.
        labels: its class names by id.
        names, with_objects, objects, classes: as in `Summary`.
    """

    split: str
    folder: Path
    labels: dict[int, str]
    names: dict[str, str]
    with_objects: int
    objects: int
    classes: frozenset[int]

    def examples(self) -> Iterator[Example]:
        """Its images, always in the same order."""
        return read_examples(_shards(self.folder))


def keep_test(model: Model, records: Path) -> HeldOutTest:
    """Copies the test split of records into the registry. The model's aliases determine which split is in use.

    Args:
        model: the model.
        records: the folder of finished records.

    Raises:
        BoxcarError: 65 if the test split contains no labeled object.
    """
    require_commit(records, "records")
    files = [*_shards(records), records / LABEL_MAP]
    digest = hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()
    split = digest[:_IDENTITY]
    with model.test(split).working() as folder:
        step = Step(STEP, folder, {"test": digest}, {})
        if step.done() is None:
            found = _summarize(records)
            if found.objects == 0:
                what = f"The test split of the records in {uri_of(records)} contains no labeled object to compare versions on."
                raise BoxcarError(ExitCode.DATA, what, "Build records with labeled test images.")
            with step.writing():
                for path in files:
                    shutil.copyfile(path, folder / path.name)
                replace_text(folder / FROZEN_TEST, frozen_test_text(found.names))
    return read_held_out(model, split)


def read_held_out(model: Model, split: str) -> HeldOutTest:
    """A held-out test split, downloaded if it is in a bucket.

    Raises:
        BoxcarError: 65 if it is missing or was changed.
    """
    place = model.test(split)
    try:
        committed = read_commit(place.fetch(), STEP)
    except Missing:
        committed = None
    if committed is None:
        what = f"The held-out test split {split} of {model.name} is missing or was changed: see {place.uri}."
        raise BoxcarError(ExitCode.DATA, what, _MEND)
    folder = committed.folder
    return HeldOutTest(split, folder, read_label_map(folder / LABEL_MAP), *_summarize(folder))


def shortage(with_objects: int) -> str | None:
    """That a test split has too few images with objects to compare versions on, in sentences; None if it has enough."""
    if with_objects >= FEWEST_PICTURES:
        return None
    images = "1 image" if with_objects == 1 else f"{with_objects} images"
    return (
        f"The held-out test split has {images} with objects, and comparing versions takes at least {FEWEST_PICTURES}, so no "
        "version can replace a champion. Give the model more test images with `boxcar models retest`."
    )


def gone(model: Model, split: str) -> str | None:
    """That a test split is not in the registry, in sentences; None if it is. Does not look at its files."""
    if model.store.entry(f"{TESTS}/{split}/{COMMIT}") is not None:
        return None
    return f"The held-out test split {split} of {model.name} is gone. {_MEND}"


def held_out_list(model: Model, split: str) -> str:
    """URI of the list of a split's images, for `records --frozen-test`."""
    return f"{model.uri}/{TESTS}/{split}/{FROZEN_TEST}"


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("test-*-of-*.tfrecord"))


def _summarize(folder: Path) -> Summary:
    names, with_objects, objects, classes = dict[str, str](), 0, 0, set[int]()
    for example in read_examples(_shards(folder)):
        names[example.sha256] = example.filename
        with_objects += len(example.labels) > 0
        objects += len(example.labels)
        classes.update(example.labels.tolist())
    return Summary(names, with_objects, objects, frozenset(classes))
