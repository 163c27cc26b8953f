"""Runs the shipped files of versions on a held-out test split."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from boxcar.config.gate_settings import GateSettings
from boxcar.data.ground_truth import ground_truth_of
from boxcar.data.pixels import decode_picture
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.detections import Detections
from boxcar.inference.open_runner import open_runner
from boxcar.inference.preprocessing import preprocess
from boxcar.registry.decision import Measured
from boxcar.registry.held_out import HeldOutTest, held_out_list
from boxcar.registry.model import Model
from boxcar.registry.versions import fetch_version, read_trained_on
from boxcar.run.layout import EXPORT, MANIFEST
from boxcar.run.progress import Progress
from boxcar.scoring import GroundTruth

_MOST_NAMED = 5


class ShippedFile(NamedTuple):
    """The file of one format in a version's folder."""

    path: Path
    name: str  # relative to `export/`
    bytes: int
    sha256: str


def measure_versions(
    model: Model, numbers: Sequence[str], test: HeldOutTest, settings: GateSettings, title: str
) -> tuple[list[GroundTruth], list[tuple[ShippedFile, Measured]]]:
    """The ground truth of a test split, and for each version its file and what the file detects.

    Args:
        model: the model.
        numbers: of the versions.
        test: the test split.
        settings: the format of the files, and the number of threads.
        title: of the progress display.

    Raises:
        BoxcarError: 64 if a version does not exist or has no file of that format; 65 if one is partly uploaded or was trained
            on images of the test split, or if a file or an image cannot be used.
    """
    folders = [fetch_version(model, number) for number in numbers]
    for number, folder in zip(numbers, folders, strict=True):
        _refuse_trained_on(model, number, folder, test)
    files = [
        _find_file(folder, settings.format, f"Version {number} of {model.name}")
        for number, folder in zip(numbers, folders, strict=True)
    ]
    with Progress(title, len(test.names), "images") as progress:
        truths, measured = _measure(files, test, settings.threads, progress.advance)
    return truths, list(zip(files, measured, strict=True))


def _refuse_trained_on(model: Model, number: str, folder: Path, test: HeldOutTest) -> None:
    """Refuses a version that was trained or chosen on test images, because its scores would be too high."""
    seen = sorted(test.names[sha256] or sha256 for sha256 in read_trained_on(folder) & test.names.keys())
    if not seen:
        return
    named = ", ".join(seen[:_MOST_NAMED]) + (", ..." if len(seen) > _MOST_NAMED else "")
    pictures = "1 image" if len(seen) == 1 else f"{len(seen)} images"
    raise BoxcarError(
        ExitCode.DATA,
        f"Version {number} of {model.name} was trained on {pictures} of the test split {test.split}: {named}.",
        f"Build its records with --frozen-test {held_out_list(model, test.split)}, or choose test images that it has not "
        "seen with `boxcar models retest`.",
        tuple(seen) if len(seen) > _MOST_NAMED else (),
    )


def _find_file(folder: Path, kind: str, version: str) -> ShippedFile:
    """The file of a format in a version's folder. `version` names it in the error message."""
    files: list[dict[str, Any]] = json.loads((folder / EXPORT / MANIFEST).read_text(encoding="utf-8"))["files"]
    for entry in files:
        if entry["format"] == kind:
            return ShippedFile(folder / EXPORT / entry["path"], entry["path"], entry["bytes"], entry["sha256"])
    what = f"{version} has no {kind} file. It has {', '.join(entry['format'] for entry in files)}."
    raise BoxcarError(ExitCode.USAGE, what, "Give another --format, or export that format.")


def _measure(
    files: Sequence[ShippedFile], test: HeldOutTest, threads: int, advance: Callable[[], None]
) -> tuple[list[GroundTruth], list[Measured]]:
    """Runs all files on one image and then on the next, so that changes in the machine's load affect them equally."""
    truths: list[GroundTruth] = []
    with ExitStack() as opened:
        runners = [opened.enter_context(open_runner(file.path, threads)) for file in files]
        detections: list[list[Detections]] = [[] for _ in files]
        seconds: list[list[float]] = [[] for _ in files]
        for example in test.examples():
            truths.append(ground_truth_of(example))
            picture = decode_picture(example)
            for place, runner in enumerate(runners):
                pixels = preprocess(picture, runner.specification)
                began = time.perf_counter()
                detections[place].append(runner.find(pixels))
                seconds[place].append(time.perf_counter() - began)
            advance()
        return truths, [
            Measured(runner.specification.labels, found, round(float(np.median(took)) * 1000, 2), file.bytes / 1e6)
            for file, runner, found, took in zip(files, runners, detections, seconds, strict=True)
        ]
