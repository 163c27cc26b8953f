"""The step itself: check every image once, decide, then write."""

import hashlib
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from boxcar.config.run_settings import LabelFormat
from boxcar.data.held_out_list import frozen_test_digest, read_frozen_test
from boxcar.data.label_map import label_map_text, read_label_map
from boxcar.data.trainable import require_training_objects
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.check import SPLITS, CheckedBatch
from boxcar.records.faults import shown
from boxcar.records.source import Source, check_all, find_labels, opened_source
from boxcar.records.split import assign_splits
from boxcar.records.table import Images
from boxcar.records.writing import write_files
from boxcar.run.layout import COMMIT
from boxcar.run.step import Committed, Step, read_commit
from boxcar.storage import fetch_file
from boxcar.storage.cache import uri_of
from boxcar.sync.mirror import Mirror


def build_records(
    data: str,
    output: str,
    *,
    format: LabelFormat | None = None,
    on_fault: Literal["stop", "skip"] = "stop",
    label_map: str | None = None,
    frozen_test: str | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
    full_decode: bool = True,
    replace: bool = True,
) -> Committed:
    """Makes TFRecord shards, `label_map.pbtxt` and `dataset.json` from images with Pascal VOC annotations.

    Does nothing if `output` already contains the records of the same images and settings.

    Args:
        data: folder (URI) of the images and their XML files, in any nesting; see `boxcar.records.pairing`.
        output: the step's own folder (URI).
        format: of the labels; by default it is recognized.
        on_fault: stop at faulty images, or leave them out and list them in `dataset.json`.
        label_map: a `label_map.pbtxt` (URI) whose ids are kept; by default the one in `data`, if any. Classes
            that it lacks are appended.
        frozen_test: a list (URI) of the images that make up the test split, see `boxcar.data.held_out_list`; None if there is
            none.
        validation_fraction, test_fraction: shares in (0, 1) of the images for a split that no folder defines, chosen by hash.
        seed: seed of that hash.
        full_decode: decode every image to its end, so that a damaged one is found here and not in training.
        replace: whether finished records of other images or settings in `output` are replaced, or an error.

    Raises:
        BoxcarError: 64 for a wrong argument, and for labels of several formats; 65 for faulty data, with one line per fault in
            `details`, and for a train split without an object; 69 if something cannot be read or written.
    """
    parameters: dict[str, str | float] = {
        "on_fault": on_fault,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "seed": seed,
        "full_decode": full_decode,
    }
    if format is not None:
        parameters["format"] = format
    started = time.monotonic()
    source, result = Mirror(data), Mirror(output)
    if not source.remote:
        _check_folder(source.folder)
    _check_arguments(on_fault, validation_fraction, test_fraction)
    given = None if label_map is None else read_label_map(fetch_file(label_map))
    frozen = frozenset[str]() if frozen_test is None else read_frozen_test(fetch_file(frozen_test))
    with result.working() as folder:
        root = source.fetch()
        if given is None:
            given = find_labels(root, folder)
        inputs = {"label_map": hashlib.sha256(label_map_text(given).encode()).hexdigest()}
        if frozen:
            inputs["frozen_test"] = frozen_test_digest(frozen)

        def step_for(opened: Source) -> Step:
            return Step("records", folder, {"data": opened.table.files_digest(), **inputs}, parameters, started=started)

        if full_decode and (folder / COMMIT).is_file():
            # To see that nothing has changed, the images need not be decoded.
            with opened_source(root, folder, format) as opened:
                check_all(opened, full_decode=False)
                committed = step_for(opened).done()
            if committed is not None:
                return committed
        with opened_source(root, folder, format) as opened:
            found = check_all(opened, full_decode)
            step = step_for(opened)
            committed = step.done()
            if committed is not None:
                return committed
            if not replace and read_commit(folder, "records") is not None:
                changed = f"The images in {uri_of(root)}, the label map, or the settings"
                what = f"{changed} have changed since {uri_of(folder)} was made."
                raise BoxcarError(ExitCode.USAGE, what, "Choose another --output for a new run.")
            _check_found(root, found, on_fault)
            images = _split_images(opened, found, validation_fraction, test_fraction, seed, frozen)
            labels, new_labels = _labels(given, found.classes)
            with step.writing():
                write_files(
                    opened, step, images, labels, found, _left_out(opened) + _warnings(images, found, frozen) + new_labels
                )
        assert step.committed is not None
        return step.committed


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        what = f"{uri_of(root)} is not a folder." if root.exists() else f"There is no folder {uri_of(root)}."
        raise BoxcarError(ExitCode.USAGE, what, "Give the folder of your labeled images as --data.")


def _check_arguments(on_fault: str, validation_fraction: float, test_fraction: float) -> None:
    if on_fault not in ("stop", "skip"):
        raise BoxcarError(ExitCode.USAGE, f"--on-fault cannot be {on_fault}.", "Choose stop or skip.")
    fractions = (validation_fraction, test_fraction)
    if not all(math.isfinite(share) and share > 0 for share in fractions) or sum(fractions) >= 1:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{validation_fraction} for validation and {test_fraction} for test leave no usable split.",
            "Choose two fractions above 0 whose sum is below 1.",
        )


def _check_found(root: Path, found: CheckedBatch, on_fault: str) -> None:
    if found.faults and on_fault == "stop":
        faults = "1 fault" if len(found.faults) == 1 else f"{len(found.faults)} faults"
        raise BoxcarError(
            ExitCode.DATA,
            f"The labeled images in {uri_of(root)} have {faults}.",
            "Correct what is listed above, or leave those images out with --on-fault skip.",
            tuple(map(str, found.faults)),
        )
    if not found.classes:
        raise _without_boxes(root, found)


def _without_boxes(root: Path, found: CheckedBatch) -> BoxcarError:
    left = " without a fault" if found.faults else ""
    return BoxcarError(
        ExitCode.DATA,
        f"{uri_of(root)} contains no labeled box{left}.",
        "Label your images with labelImg, and save the labels as Pascal VOC.",
        tuple(map(str, found.faults)),
    )


def _split_images(
    source: Source, found: CheckedBatch, validation_fraction: float, test_fraction: float, seed: int, frozen: frozenset[str]
) -> Images:
    """The images to write, ordered by split, then by hash. Adds a fault for each one that is in no split."""
    images = source.table.images()
    found.faults += assign_splits(images, source.listing.names, validation_fraction, test_fraction, seed, frozen)
    images = images[np.argsort(images["split"], kind="stable")]
    images = images[np.searchsorted(images["split"], 0) :]  # without those of NO_SPLIT, which come first
    if not images["boxes"].any():
        raise _without_boxes(source.root, found)  # the labeled ones were copies of others
    boxes = {name: int(images["boxes"][images["split"] == number].sum()) for number, name in enumerate(SPLITS)}
    require_training_objects(boxes, uri_of(source.root))
    return images


def _left_out(source: Source) -> list[str]:
    """Warnings about files that were not read, or not as they say, one sentence each."""
    warnings = list(source.notes)
    if source.own:
        more = f" and {len(source.own) - 1} other folders were" if len(source.own) > 1 else " was"
        warnings.append(f"The folder {shown(source.own[0])}{more} left out: Boxcar's own outputs are never data.")
    if source.others:
        more = f" and {len(source.others) - 1} other images were" if len(source.others) > 1 else " was"
        warnings.append(f"{shown(source.others[0])}{more} left out: save them as JPEG or PNG to train on them.")
    return warnings


def _warnings(images: Images, found: CheckedBatch, frozen: frozenset[str]) -> list[str]:
    """Warnings about the images, one sentence each."""
    warnings = []
    present = len(np.unique(images["sha256"][images["split"] == SPLITS.index("test")]))
    if frozen and present < len(frozen):
        missing = f"{len(frozen) - present} of {len(frozen)}"
        warnings.append(f"{missing} images of the held-out test split are not in the data.")
    if found.without_annotation:
        reason = "image has no annotation and counts as an image without objects."
        if found.without_annotation > 1:
            reason = "images have no annotation and count as images without objects."
        warnings.append(f"{found.without_annotation} {reason}")
    return warnings


def _labels(given: dict[int, str], classes: Iterable[str]) -> tuple[dict[int, str], list[str]]:
    """All labels, and a warning for each that was appended to given ones."""
    labels, warnings = dict(given), []
    for name in sorted(set(classes) - set(given.values())):
        number = max(labels, default=0) + 1
        labels[number] = name
        if given:
            warnings.append(f"The class {name} was not in the label map and was appended as id {number}.")
    return labels, warnings
