"""The step itself: check every image once, decide, then write."""

import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from boxcar.config.class_choice import ClassChoice, class_choice
from boxcar.config.run_settings import Difficult, LabelFormat
from boxcar.data.held_out_list import frozen_test_digest, read_frozen_test
from boxcar.data.label_map import label_map_text, read_given_label_map, with_classes
from boxcar.data.trainable import require_training_objects
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.records.check import Unlabeled
from boxcar.records.checked import NAMED, CheckedBatch
from boxcar.records.chosen_classes import check_chosen, emptied_warning
from boxcar.records.data_folder import refuse_own_folder
from boxcar.records.duplicates import (
    Duplicates,
    different_labels_warning,
    find_duplicates,
    near_duplicates_json,
    near_duplicates_warning,
)
from boxcar.records.engine import LOCAL, Checked, Engine, Plan, Settings
from boxcar.records.faults import grouped, shown
from boxcar.records.frames import frame_warnings
from boxcar.records.groups import find_groups
from boxcar.records.near_duplicates import find_near_duplicates
from boxcar.records.source import Source
from boxcar.records.split import assign_splits
from boxcar.records.split_names import SPLITS, is_misunderstood_split
from boxcar.records.table import Images
from boxcar.records.writing import write_files
from boxcar.run.layout import COMMIT
from boxcar.run.step import Committed, Step, read_commit
from boxcar.storage import fetch_file
from boxcar.storage.cache import uri_of

_EXAMPLES = 3  # that a warning names


def build_records(
    data: str,
    output: str,
    *,
    format: LabelFormat | None = None,
    on_fault: Literal["stop", "skip"] = "stop",
    unlabeled: Unlabeled = "stop",
    classes: Sequence[str] | None = None,
    label_map: str | None = None,
    frozen_test: str | None = None,
    group_by: str | None = None,
    difficult: Difficult = "score",
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
    max_megapixels: int = MOST_MEGAPIXELS,
    full_decode: bool = True,
    replace: bool = True,
    engine: Engine = LOCAL,
) -> Committed:
    """Makes TFRecord shards, `label_map.pbtxt` and `dataset.json` from labeled images.

    Does nothing if `output` already contains the records of the same images and settings.

    Args:
        data: folder (URI) or archive of the images and their label files, in any nesting; see `boxcar.records.data_folder`.
        output: the step's own folder (URI).
        format: of the labels; by default it is recognized.
        on_fault: stop at faulty images, or leave them out and list them in `dataset.json`.
        unlabeled: what becomes of images that no label describes: a fault of each, none is used, or each is an image without
            objects. Those in a folder named `negatives` or `background` have no objects in any case.
        classes: words for `boxcar.config.class_choice`; by default all classes are used.
        label_map: a `label_map.pbtxt` (URI) whose ids are kept; by default the one in `data`, if any, to which the choice of
            classes is applied. Classes that it lacks are appended.
        frozen_test: a list (URI) of the images that make up the test split, see `boxcar.data.held_out_list`; None if there is
            none.
        group_by: which images are in one split, as for `boxcar.records.groups`.
        difficult: whether objects that are marked so, on which a detector is trained in any case, count in scores.
        validation_fraction, test_fraction: shares in (0, 1) of the images for a split that no folder defines, chosen by hash.
        seed: seed of that hash.
        max_megapixels: of an image; larger ones are faults.
        full_decode: decode every image to its end, so that a damaged one is found here and not in training.
        replace: whether finished records of other images or settings in `output` are replaced, or an error.
        engine: what does the work on the images. All write the same bytes.

    Raises:
        BoxcarError: 64 for a wrong argument, such as a class that no object has, and for labels of several formats; 65 for
            faulty data, with one line per fault in `details`, and for a train split without an object; 69 if something cannot
            be read or written.
    """
    parameters: dict[str, Any] = {
        "on_fault": on_fault,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "seed": seed,
        "full_decode": full_decode,
    }
    if format is not None:
        parameters["format"] = format
    if unlabeled != "stop":
        parameters["unlabeled"] = unlabeled
    if classes is not None:
        parameters["classes"] = list(classes)
    if group_by is not None:
        parameters["group_by"] = group_by
    if difficult != "score":
        parameters["difficult"] = difficult
    if max_megapixels != MOST_MEGAPIXELS:
        parameters["max_megapixels"] = max_megapixels
    choice = None if classes is None else class_choice(classes)
    started = time.monotonic()
    _check_arguments(on_fault, validation_fraction, test_fraction)
    given, label_notes = (None, []) if label_map is None else read_given_label_map(fetch_file(label_map))
    frozen = frozenset[str]() if frozen_test is None else read_frozen_test(fetch_file(frozen_test))
    with engine.data(data) as root, engine.working(output) as folder:
        refuse_own_folder(root, folder)
        Step("records", folder, {}, parameters).check_folder()  # before minutes of checking
        if given is None:
            given, label_notes = engine.find_labels(root, folder)
            given = given if choice is None else choice.applied_to(given)
        inputs = {"label_map": hashlib.sha256(label_map_text(given).encode()).hexdigest()}
        if frozen:
            inputs["frozen_test"] = frozen_test_digest(frozen)
        settings = Settings(
            on_fault,
            unlabeled,
            choice,
            given,
            frozen,
            group_by,
            validation_fraction,
            test_fraction,
            seed,
            full_decode,
            difficult,
            max_megapixels,
        )

        def step_for(checked: Checked) -> Step:
            return Step("records", folder, {"data": checked.files_digest, **inputs}, parameters, started=started)

        if full_decode and (folder / COMMIT).is_file():
            # To see that nothing has changed, the images need not be decoded.
            with engine.opened(root, folder, format) as opened:
                committed = step_for(engine.check(opened, settings.without_decoding(), make_plan)).done()
            if committed is not None:
                return committed
        with engine.opened(root, folder, format) as opened:
            checked = engine.check(opened, settings, make_plan)
            step = step_for(checked)
            committed = step.done()
            if committed is not None:
                return committed
            if not replace and read_commit(folder, "records") is not None:
                changed = f"The images in {uri_of(root)}, the label map, or the settings"
                what = f"{changed} have changed since {uri_of(folder)} was made."
                raise BoxcarError(ExitCode.USAGE, what, "Choose another --output for a new run.")
            plan = checked.plan()
            warnings = label_notes + plan.warnings
            ignores = difficult == "ignore"
            with step.writing():
                write_files(
                    opened,
                    step,
                    plan.images,
                    plan.labels,
                    plan.found,
                    warnings,
                    plan.alike,
                    plan.duplicates,
                    ignores_difficult=ignores,
                )
        assert step.committed is not None
        return step.committed


def make_plan(source: Source, found: CheckedBatch, settings: Settings) -> Plan:
    """Refuses faults, unless they are to be skipped; splits the images, and gives each class an id.

    Raises:
        BoxcarError: 64 if the choice of classes does not fit the objects; 65.
    """
    check_found(source, found, settings.on_fault, settings.classes)
    images, said, alike, duplicates = _split_images(source, found, settings)
    labels = with_classes(settings.label_map, found.classes)
    had = settings.label_map
    new_labels = _appended({number: name for number, name in labels.items() if had and number not in had})
    warnings = _left_out(source) + said + _warnings(images, found, settings.frozen, settings.difficult) + new_labels
    return Plan(images, labels, found, warnings, alike, duplicates)


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


def check_found(source: Source, found: CheckedBatch, on_fault: str, classes: ClassChoice | None = None) -> None:
    """Refuses faults, unless they are to be skipped, and data without a box.

    Raises:
        BoxcarError: 64 if the choice of classes does not fit the objects; 65.
    """
    if classes is not None:
        check_chosen(classes, found)
    unlabeled = [fault.file for fault in found.faults if fault.kind == "unlabeled"]
    if not found.classes and len(unlabeled) == len(found.faults):
        error = _without_boxes(source.root, found)
        error.what += _likely_reason(unlabeled, source)
        raise error
    if found.faults and on_fault == "stop":
        faults = "1 fault" if len(found.faults) == 1 else f"{len(found.faults)} faults"
        what = f"The labeled images in {uri_of(source.root)} have {faults}."
        do = "Correct what is listed above, or leave those images out with --on-fault skip."
        if unlabeled:
            what += _likely_reason(unlabeled, source)
            do += " Images that show no object need no label with --unlabeled background."
        raise BoxcarError(ExitCode.DATA, what, do, tuple(grouped(found.faults)))
    if not found.classes:
        raise _without_boxes(source.root, found)


def _likely_reason(unlabeled: list[str], source: Source) -> str:
    """Why images have no label, if files that were not read have their names; a sentence, or nothing."""
    stems = {name.rpartition("/")[2].rpartition(".")[0].lower() for name in unlabeled}
    beside = [name for name in source.unread if {part.lower() for part in _stems(name)} & stems]
    if not beside:
        return ""
    others = f" and {len(beside) - 1} other files" if len(beside) > 1 else ""
    return f" Files with their names were not recognized as {source.reader.title} labels: {shown(beside[0])}{others}."


def _stems(name: str) -> tuple[str, str]:
    """A file's name without folders, with and without its suffix."""
    base = name.rpartition("/")[2]
    return base, base.rpartition(".")[0]


def _without_boxes(root: Path, found: CheckedBatch) -> BoxcarError:
    left = " without a fault" if found.faults else ""
    return BoxcarError(
        ExitCode.DATA,
        f"{uri_of(root)} contains no labeled box{left}.",
        "Label your images, for example with labelImg, or give the folder that also holds the label files as --data.",
        tuple(grouped(found.faults)),
    )


def _split_images(
    source: Source, found: CheckedBatch, settings: Settings
) -> tuple[Images, list[str], dict[str, Any], Duplicates]:
    """The images to write, ordered by split, then by hash; warnings about images that are alike; what `dataset.json` says about
    these; and what the health page does.

    Adds a fault for each image that is in no split.
    """
    images, names = source.table.images(), source.listing.names
    groups = find_groups(images, names, settings.group_by, found.classes)
    alike = find_near_duplicates(source.table, images)
    together = None if settings.group_by == "none" else alike
    fractions = settings.validation_fraction, settings.test_fraction
    found.faults += assign_splits(images, names, *fractions, settings.seed, settings.frozen, groups, together)
    warnings = [] if groups is None else groups.warnings(images["split"])
    warnings += different_labels_warning(images, names) + near_duplicates_warning(images, names, alike)
    duplicates = find_duplicates(images, alike)
    alike_as = {
        "groups": None if groups is None else groups.as_json(images["split"]),
        "near_duplicates": near_duplicates_json(images, names, alike),
    }
    images = images[np.argsort(images["split"], kind="stable")]
    images = images[np.searchsorted(images["split"], 0) :]  # without those of NO_SPLIT, which come first
    if not images["boxes"].any():
        raise _without_boxes(source.root, found)  # the labeled ones were copies of others
    boxes = {name: int(images["boxes"][images["split"] == number].sum()) for number, name in enumerate(SPLITS)}
    require_training_objects(boxes, uri_of(source.root))
    return images, warnings, {name: said for name, said in alike_as.items() if said is not None}, duplicates


def _left_out(source: Source) -> list[str]:
    """Warnings about files that were not read, or not as they say, one sentence each."""
    warnings = list(source.notes)
    if source.own:
        more = f" and {len(source.own) - 1} other folders were" if len(source.own) > 1 else " was"
        warnings.append(f"The folder {shown(source.own[0])}{more} left out: Boxcar's own outputs are never data.")
    if source.others:
        more = f" and {len(source.others) - 1} other images were" if len(source.others) > 1 else " was"
        warnings.append(f"{shown(source.others[0])}{more} left out: save them as JPEG or PNG to train on them.")
    if source.masks:
        count = f"{len(source.masks)} files" if len(source.masks) > 1 else "1 file"
        warnings.append(f"{count} in folders of masks, such as {shown(source.masks[0])}, were left out.")
    folders = {part for name in source.listing.names for part in name.split("/")[:-1]}
    if odd := sorted(filter(is_misunderstood_split, folders)):
        names = ", ".join(map(shown, odd))
        warnings.append(f"No split was taken from {names}: Boxcar knows names such as train, valid, and test_images.")
    return warnings


def _appended(labels: dict[int, str]) -> list[str]:
    """A warning about the classes that were appended to the label map, by their ids; none if there are none."""
    if len(labels) == 1:
        ((number, name),) = labels.items()
        return [f"The class {name} was not in the label map and was appended as id {number}."]
    listed = ", ".join(f"{name} as {number}" for number, name in list(labels.items())[:NAMED])
    more = ", ..." if len(labels) > NAMED else ""
    return [f"{len(labels)} classes were not in the label map and were appended: {listed}{more}"] if labels else []


def _warnings(images: Images, found: CheckedBatch, frozen: frozenset[str], difficult: Difficult) -> list[str]:
    """Warnings about the images, one sentence each."""
    warnings = []
    present = len(np.unique(images["sha256"][images["split"] == SPLITS.index("test")]))
    if frozen and present < len(frozen):
        missing = f"{len(frozen) - present} of {len(frozen)}"
        warnings.append(f"{missing} images of the held-out test split are not in the data.")
    if count := found.without_annotation.count:
        fate = "has no label and counts as an image" if count == 1 else "have no label and count as images"
        warnings.append(f"{found.without_annotation} {fate} without objects.")
    if found.repeated:
        boxes = "1 box is a copy" if found.repeated == 1 else f"{found.repeated} boxes are copies"
        warnings.append(f"{boxes} of others in the same label file, such as in {shown(found.repeated_in)}, and left out.")
    if found.crowds:
        crowds = "1 crowd was" if found.crowds == 1 else f"{found.crowds} crowds were"
        warnings.append(f"{crowds} left out, such as in {shown(found.crowds_in)}: a region with many objects gives no box.")
    if found.unused_outlines:
        outlines = "1 outline" if found.unused_outlines == 1 else f"{found.unused_outlines} outlines"
        warnings.append(f"{outlines} could not be used, such as in {found.unused_outline}. Only the boxes are used.")
    if odd := sorted(found.odd_orientations):
        warnings.append(f"An EXIF orientation must be 1 to 8. These images are taken as they are stored: {_some(odd)}.")
    warnings += frame_warnings(found)
    if found.skipped.count:
        fate = "has no label and was left out" if found.skipped.count == 1 else "have no label and were left out"
        warnings.append(f"{found.skipped} {fate}.")
    if found.difficult:
        objects = "1 object is" if found.difficult == 1 else f"{found.difficult} objects are"
        fate = "they are left out of scores" if difficult == "ignore" else "--difficult ignore leaves them out of scores"
        warnings.append(f"{objects} marked difficult. Training uses them, and {fate}.")
    return warnings + emptied_warning(found)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (f", and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else "")
