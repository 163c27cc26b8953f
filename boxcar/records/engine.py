"""What does the work on the images: processes on this machine, or another engine such as Apache Beam."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from boxcar.config.class_choice import ClassChoice
from boxcar.config.run_settings import Difficult, LabelFormat
from boxcar.records.check import Unlabeled
from boxcar.records.checked import CheckedBatch
from boxcar.records.data_folder import data_folder
from boxcar.records.duplicates import Duplicates
from boxcar.records.source import Source, check_all, find_labels, opened_source
from boxcar.records.table import Images
from boxcar.sync.mirror import Mirror


@dataclass(frozen=True)
class Settings:
    """How images are checked and split: arguments of `build_records`, read and validated."""

    on_fault: Literal["stop", "skip"]
    unlabeled: Unlabeled
    classes: ClassChoice | None
    label_map: dict[int, str]  # the classes that have an id already
    frozen: frozenset[str]  # as `held_out` of `assign_splits`
    group_by: str | None
    validation_fraction: float
    test_fraction: float
    seed: int
    full_decode: bool
    difficult: Difficult
    max_megapixels: int

    def without_decoding(self) -> "Settings":
        return dataclasses.replace(self, full_decode=False)


class Plan(NamedTuple):
    """What to write: arguments of `write_files`."""

    images: Images
    labels: dict[int, str]
    found: CheckedBatch
    warnings: list[str]
    alike: dict[str, Any]
    duplicates: Duplicates


# Decides from all checked images what to write. Raises BoxcarError for faults.
MakePlan = Callable[[Source, CheckedBatch, Settings], Plan]


class Checked(NamedTuple):
    """A data folder whose images have been checked."""

    files_digest: str  # as `ImageTable.files_digest`
    plan: Callable[[], Plan]  # raises what `MakePlan` does; called at most once


class Engine(Protocol):
    """Reads, checks, splits and writes. `Source.workers` of what it opens does the writing."""

    def data(self, data: str) -> AbstractContextManager[Path]:
        """The data folder, as `data_folder`."""

    def working(self, output: str) -> AbstractContextManager[Path]:
        """The step's folder, as `Mirror.working`."""

    def find_labels(self, root: Path, output: Path) -> tuple[dict[int, str], list[str]]:
        """As `source.find_labels`."""

    def opened(self, root: Path, output: Path, wanted: LabelFormat | None) -> AbstractContextManager[Source]:
        """As `opened_source`."""

    def check(self, source: Source, settings: Settings, make_plan: MakePlan) -> Checked:
        """Checks all images."""


class LocalEngine:
    """Processes on this machine."""

    def data(self, data: str) -> AbstractContextManager[Path]:
        return data_folder(data)

    def working(self, output: str) -> AbstractContextManager[Path]:
        return Mirror(output).working()

    def find_labels(self, root: Path, output: Path) -> tuple[dict[int, str], list[str]]:
        return find_labels(root, output)

    def opened(self, root: Path, output: Path, wanted: LabelFormat | None) -> AbstractContextManager[Source]:
        return opened_source(root, output, wanted)

    def check(self, source: Source, settings: Settings, make_plan: MakePlan) -> Checked:
        choice = settings.full_decode, settings.unlabeled, settings.classes, settings.group_by == "time"
        found = check_all(source, *choice, settings.max_megapixels)
        return Checked(source.table.files_digest(), partial(make_plan, source, found, settings))


LOCAL = LocalEngine()
