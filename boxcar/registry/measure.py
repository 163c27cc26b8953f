"""Runs the files that ship on a frozen test split, all on one image and then on the next, so that they share good and bad
moments of the machine."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxcar.data.pixels import decode_picture
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.detections import Detections
from boxcar.inference.open_runner import open_runner
from boxcar.inference.preprocessing import preprocess
from boxcar.registry.held_out import HeldOutTest
from boxcar.run.layout import EXPORT, MANIFEST
from boxcar.scoring import GroundTruth


@dataclass(frozen=True)
class ShippedFile:
    """The file of one format in a version's folder."""

    path: Path
    name: str  # relative to `export/`
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Measured:
    """What one file answered.

    Attributes:
        file: which.
        labels: its classes.
        detections: one an image, in the split's order.
        milliseconds: from preprocessed pixels to detections, the median.
    """

    file: ShippedFile
    labels: dict[int, str]
    detections: tuple[Detections, ...]
    milliseconds: float


def find_file(folder: Path, kind: str, what: str) -> ShippedFile:
    """The file of a format in a version's folder.

    Args:
        folder: the version's.
        kind: the format.
        what: the version, for the sentence.

    Raises:
        BoxcarError: 64 where it has none.
    """
    files: list[dict[str, Any]] = json.loads((folder / EXPORT / MANIFEST).read_text(encoding="utf-8"))["files"]
    for entry in files:
        if entry["format"] == kind:
            path = folder / EXPORT / entry["path"]
            return ShippedFile(path, entry["path"], entry["bytes"], entry["sha256"])
    has = ", ".join(entry["format"] for entry in files)
    raise BoxcarError(
        ExitCode.USAGE, f"{what} has no {kind} file. It has {has}.", "Give another --format, or export that format."
    )


def measure(
    files: Sequence[ShippedFile], test: HeldOutTest, threads: int, advance: Callable[[], None]
) -> tuple[list[GroundTruth], list[Measured]]:
    """The truths of the test images, and what each file answered on them.

    Args:
        files: to run; one that is there twice is run twice.
        test: the images.
        threads: that each computes with.
        advance: called after each image.

    Raises:
        BoxcarError: 65 where a file or an image cannot be used.
    """
    truths: list[GroundTruth] = []
    with ExitStack() as opened:
        runners = [opened.enter_context(open_runner(file.path, threads)) for file in files]
        detections: list[list[Detections]] = [[] for _ in files]
        seconds: list[list[float]] = [[] for _ in files]
        for example in test.examples():
            truths.append(GroundTruth(example.width, example.height, example.boxes, example.labels, example.is_crowd))
            picture = decode_picture(example)
            for place, runner in enumerate(runners):
                pixels = preprocess(picture, runner.specification)
                began = time.perf_counter()
                detections[place].append(runner.find(pixels))
                seconds[place].append(time.perf_counter() - began)
            advance()
        return truths, [
            Measured(file, runner.specification.labels, tuple(found), round(float(np.median(took)) * 1000, 2))
            for file, runner, found, took in zip(files, runners, detections, seconds, strict=True)
        ]
