"""`convert`: turns a frozen detector into files for phones and browsers, and compares each file with it before it ships."""

import dataclasses
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from boxcar.config.conversion_settings import Conversion
from boxcar.data.label_map import differing_ids, read_label_map
from boxcar.detectors.architecture import CONVERSIONS
from boxcar.detectors.catalog import find_architecture
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import Child, run_children
from boxcar.export.file_checks import THREADS, CheckedFile, FileToCheck, check_files, defect, measure, refuse
from boxcar.export.provenance import Provenance, read_provenance
from boxcar.export.sampling import ParityImages
from boxcar.export.sbom import make_sbom
from boxcar.export.selective import SECONDS_PER_IMAGE, keep_layers_in_float
from boxcar.export.tflite_postprocess import USE_REGULAR_NMS
from boxcar.export.verdict import Failure
from boxcar.inference.embedded import LABELS, check_labels, labels_text, read_embedded
from boxcar.inference.open_runner import open_runner
from boxcar.inference.runner import HeadsRunner
from boxcar.inference.specification import SPECIFICATION, Specification, read_specification, specification_json
from boxcar.inference.tfjs import find_node
from boxcar.run.layout import LABEL_MAP, MANIFEST, SBOM, TFJS, TFLITE
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, Step, require_commit
from boxcar.storage import make_folder, remove_tree, replace_json, replace_text
from boxcar.storage.cache import uri_of
from boxcar.storage.local_files import os_errors
from boxcar.sync.mirror import Mirror

_SLOW = frozenset({"tflite_int8", "tflite_int8_nms", "tfjs_float32", "tfjs_float16", "tfjs_uint8"})  # start first
CONVERTER_SECONDS = 3600.0

_WORK = ".work"  # where converters write until they have succeeded
_OWNS = (TFLITE, TFJS, MANIFEST, SBOM)  # in a folder that may also contain what `freeze` wrote


def convert(saved_model: str, records: str, output: str, conversion: Conversion | None = None) -> Committed:
    """Writes `tflite/`, `tfjs/`, `manifest.json` and `sbom.cdx.json` into `output`.

    Every file is compared with the SavedModel on test images.

    Args:
        saved_model: the folder (URI) that `freeze` wrote.
        records: the folder (URI) that `records` wrote. INT8 is calibrated on images of its train split. Files are compared
            on images of its test split, and of its validation split if there are few.
        output: folder (URI); it may also contain what `freeze` wrote.
        conversion: which files to write, and their limits; None for the defaults. The manifest always contains the
            SavedModel.

    Returns:
        The finished step. If it was finished with the same inputs before, nothing is done.

    Raises:
        BoxcarError: 1 if a file does not agree with the SavedModel: `details` is a table of the broken limits, and all files
            are removed; 64 for a format that the architecture does not have, an unfinished step, settings of another detector,
            or records with other labels; 65 for a SavedModel that does not fit its `detector.json`, and for records without
            images to compare on; 69 if something is not installed, memory runs out, or `output` cannot be written; 70 if a
            converter crashes, hangs, or writes a file that cannot be run.
    """
    started = time.monotonic()
    with Mirror(output).working(_OWNS) as folder:
        frozen = require_commit(Mirror(saved_model).fetch(), "freeze")
        labeled = require_commit(Mirror(records).fetch(), "records")
        return _convert(frozen, labeled, folder, conversion or Conversion(), started)


def _convert(frozen: Committed, labeled: Committed, folder: Path, conversion: Conversion, started: float) -> Committed:
    """`convert` with local folders."""
    kinds = [kind for kind in CONVERSIONS if kind in conversion.formats]
    specification = read_specification(frozen.folder)
    _check_asked(conversion, specification)
    provenance = _check_model(specification, frozen.folder, kinds)
    _check_labels(specification, labeled.folder)
    # Relative, so that a run that was moved still counts as done.
    path = Path(os.path.relpath(frozen.folder, folder)).as_posix()
    step = Step(
        "convert",
        folder,
        {"freeze": frozen.digest, "records": labeled.digest},
        {**conversion.model_dump(include=set(Conversion.model_fields)), "formats": kinds, "saved_model": path},
        owns=(*_OWNS, _WORK),
        started=started,
    )
    if committed := step.done():
        return committed
    if any(kind.startswith("tfjs") for kind in kinds):
        find_node()  # before the conversions, which take minutes
    with step.writing():
        # TensorFlow starts, and the SavedModel is loaded, while the converters run.
        with ThreadPoolExecutor(1) as loader:
            loading = loader.submit(open_runner, frozen.folder, THREADS)
            try:
                _run_converters(kinds, frozen.folder, labeled.folder, folder, conversion)
            except BoxcarError:
                loading.result()  # an error in the SavedModel explains the errors of its conversions
                raise
        _describe(kinds, specification, folder)
        images = ParityImages(labeled.folder, conversion.parity_pictures)
        model = loading.result()
        assert isinstance(model, HeadsRunner), model
        work = folder / _WORK

        with model:
            files = [FileToCheck(kind, folder / place_of(kind), place_of(kind)) for kind in kinds]
            check = partial(check_files, model, images, conversion.limits, work)
            verdict, found = check(files, "Comparing with the SavedModel")
            found = keep_layers_in_float(found, frozen.folder, labeled.folder, work, specification, conversion, check)
        refuse({one.file.name: _failures(one, provenance) for one in found})
        saved_model = FileToCheck("saved_model", frozen.folder, path)
        (measured,) = measure([saved_model], work)
        own = CheckedFile(saved_model, measured[0], model.inputs, model.outputs, measured[1], verdict)
        remove_tree(work)
        manifest = {
            "files": [_entry(one) for one in (own, *found)],
            "architecture": specification.architecture,
            "image_size": specification.image_size,
            "labels": specification.labels,
            "checkpoint": frozen.parameters["checkpoint"],
            "initial_checkpoint": specification.model_dump(mode="json")["initial_checkpoint"],
            "dataset_version": specification.dataset_version,
            "provenance": provenance.model_dump(mode="json"),
            "pictures": images.splits,
            "conversion": conversion.model_dump(include=set(Conversion.model_fields), exclude={"formats"}),
            "threads": THREADS,
            "milliseconds": "Median of a picture: from its bytes' pixels to detections for the SavedModel, "
            "from preprocessed pixels to detections for the other files.",
            "peak_memory_bytes": "Of a process that does nothing but run the file, its runtime included.",
        }
        replace_json(folder / SBOM, make_sbom(provenance))
        replace_json(folder / MANIFEST, manifest)
    return require_commit(folder, "convert")


def place_of(kind: str) -> str:
    """The path of a format's file or folder, relative to `export/`."""
    family, _, stored = kind.partition("_")
    return f"{TFLITE}/detector_{stored}.tflite" if family == "tflite" else f"{TFJS}/{stored}"


def _check_asked(conversion: Conversion, specification: Specification) -> None:
    """Refuses the settings of a run, which `conversion` may be, if they name another detector than the SavedModel."""
    for name in conversion.model_fields_set & {"architecture", "image_size"}:
        asked, own = getattr(conversion, name), getattr(specification, name)
        if asked not in (None, own):
            what = f"The SavedModel has {name} {own}, but the settings say {asked}."
            raise BoxcarError(
                ExitCode.USAGE, what, f"Leave {name} out of the settings, or give the SavedModel that they belong to."
            )


def _check_model(specification: Specification, frozen: Path, kinds: Sequence[str]) -> Provenance:
    """Refuses a SavedModel that does not fit its `detector.json`; returns its provenance."""
    supported = find_architecture(specification.architecture).exports
    if lacking := [kind for kind in kinds if kind not in supported]:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{specification.architecture} cannot be converted to {', '.join(lacking)}.",
            f"Choose from: {', '.join(supported)}.",
        )
    provenance = read_provenance(frozen)
    if provenance.architecture != specification.architecture:
        raise BoxcarError(
            ExitCode.DATA,
            f"The SavedModel in {frozen} has the architecture {provenance.architecture}, "
            f"but its detector.json says {specification.architecture}.",
            "Run `boxcar freeze` again for that folder.",
        )
    check_labels(frozen / "saved_model", specification)
    return provenance


def _check_labels(specification: Specification, records: Path) -> None:
    """Refuses records whose labels differ from the model's: every number measured on them would be wrong."""
    labels = read_label_map(records / LABEL_MAP)
    model = specification.labels
    if labels == model:
        return
    details = tuple(
        f"id {number} is {labels.get(number)} in the records but {model.get(number)} in the model"
        for number in differing_ids(labels, model)
    )
    raise BoxcarError(
        ExitCode.USAGE,
        f"The labels of the records in {uri_of(records)} differ from the model's: {details[0]}.",
        "Give the records that the model was trained on, or records made with its label map.",
        details,
    )


def _run_converters(kinds: Sequence[str], frozen: Path, records: Path, folder: Path, conversion: Conversion) -> None:
    if not kinds:
        return
    work = make_folder(folder / _WORK)
    children = _children(kinds, frozen, records, work, conversion)
    with Progress("Converting", len(children), "conversions") as progress:
        run_children(children, lambda child: progress.advance(note=child.format))
    for kind in kinds:
        written = work / kind
        if not written.exists():
            raise defect(kind, "it wrote nothing")
        make_folder((folder / place_of(kind)).parent)
        with os_errors(folder):
            written.rename(folder / place_of(kind))


def _children(kinds: Sequence[str], frozen: Path, records: Path, work: Path, conversion: Conversion) -> list[Child]:
    """The processes that write the formats into `work`, each file under its format's name; the slow ones come first.

    One process writes the TFLite file with raw heads and the one with detections, because their weights are the same.
    """
    groups: dict[str, list[str]] = {}
    for kind in sorted(kinds, key=lambda kind: kind not in _SLOW):
        groups.setdefault(kind.removesuffix("_nms"), []).append(kind)
    places = (str(frozen), str(records), str(work), str(conversion.int8_pictures), conversion.int8_input)
    seconds = CONVERTER_SECONDS + SECONDS_PER_IMAGE * conversion.int8_pictures
    return [
        Child(group, "boxcar.export.tfjs_child", (group, str(frozen), str(work / group)), CONVERTER_SECONDS)
        if group.startswith("tfjs")
        else Child(group, "boxcar.export.tflite_child", (group, *places), seconds)
        for group in map(",".join, groups.values())
    ]


def _describe(kinds: Sequence[str], specification: Specification, folder: Path) -> None:
    """Writes what a host needs next to the files, so that each folder can be copied alone."""
    for kind in kinds:
        place = folder / place_of(kind)
        replace_text((place.parent if place.is_file() else place) / SPECIFICATION, specification_json(specification))
    if (folder / TFLITE).is_dir():
        replace_text(folder / TFLITE / LABELS, labels_text(specification.labels, dense=specification.dense_slots))


def _failures(found: CheckedFile, provenance: Provenance) -> list[Failure]:
    """The limits that a file broke, and a failure if its provenance differs from the SavedModel's."""
    failures = list(found.verdict.failures)
    if read_embedded(found.file.path).provenance != provenance.model_dump(mode="json"):
        failures.append(Failure("provenance", "the provenance inside it differs from that of the SavedModel"))
    return failures


def _entry(found: CheckedFile) -> dict[str, Any]:
    verdict = found.verdict
    return {
        "path": found.file.name,
        "format": found.file.kind,
        "bytes": found.cost.bytes,
        "sha256": found.sha256,
        "inputs": [dataclasses.asdict(tensor) for tensor in found.inputs],
        "outputs": [dataclasses.asdict(tensor) for tensor in found.outputs],
        "AP50": verdict.scores["AP50"],
        "AP": verdict.scores["AP"],
        "milliseconds": verdict.milliseconds,
        "peak_memory_bytes": found.cost.peak_memory_bytes,
        "agrees": verdict.agrees,
        "judged": verdict.agrees is not None,
        **({"reason": verdict.reason} if verdict.reason else {}),
        **({"use_regular_nms": USE_REGULAR_NMS} if found.file.kind.endswith("_nms") else {}),
        **({"float_layers": found.float_layers} if found.float_layers else {}),
        **({"note": found.note} if found.note else {}),
        "compared": verdict.compared,
    }
