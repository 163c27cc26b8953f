"""Conversion: a frozen detector becomes files for phones and browsers, each of which is run before anyone believes it."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from boxcar.detectors.architecture import CONVERSIONS
from boxcar.detectors.embedded import LABELS, check_labels, differing_labels, read_embedded
from boxcar.detectors.label_map import labels_text, read_label_map
from boxcar.detectors.registry import find_architecture
from boxcar.detectors.runners import HeadsRunner, Runner, open_runner
from boxcar.detectors.runners_tfjs import find_node
from boxcar.detectors.specification import SPECIFICATION, Specification, read_specification, specification_json
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import Child, run_children
from boxcar.export.parity import Verdict, compare
from boxcar.export.pictures import count_pictures, sample_pictures
from boxcar.export.provenance import Provenance, read_provenance
from boxcar.export.tflite_postprocess import USE_REGULAR_NMS
from boxcar.run.configuration import DEFAULT_FORMATS
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, Step, require_commit
from boxcar.storage import file_sha256, folder_sha256, local_path, make_folder, remove_tree, replace_json, replace_text
from boxcar.storage.local import surroundings

_SLOW = frozenset({"tflite_int8", "tflite_int8_nms", "tfjs_float32", "tfjs_float16", "tfjs_uint8"})  # these are begun first
THREADS = 2  # that the files are timed with
TEST_PICTURES = 200  # that they are compared on, at most
CONVERTER_SECONDS = 900.0

MANIFEST = "manifest.json"
_WORK = ".work"  # where converters write, until they ended well


def convert(saved_model: str, records: str, output: str, *, formats: Sequence[str] = DEFAULT_FORMATS) -> Committed:
    """Writes `tflite/`, `tfjs/` and `manifest.json` into `output`, every file compared with the SavedModel on test pictures.

    Args:
        saved_model: the folder (URI) that `freeze` wrote.
        records: the folder (URI) that `records` wrote. INT8 is calibrated on pictures of its train split, files are compared
            on pictures of its test split.
        output: folder (URI); what `freeze` wrote may lie in it too.
        formats: which files to write, of `architecture.CONVERSIONS`. The SavedModel is always measured, and always in the
            manifest.

    Returns:
        The finished step; without any work where it was done before from the same inputs.

    Raises:
        BoxcarError: 1 where a file does not agree with the SavedModel, with one line a broken limit in `details`, and
            nothing is left of it; 64 for an unknown format, one that the architecture has not, or an unfinished step; 65 for
            a SavedModel that does not fit its `detector.json`, and for records with other labels or none to test on; 69 where
            something is not installed, memory runs out or `output` cannot be written; 70 where a converter crashes, hangs or
            writes what cannot be run.
    """
    started = time.monotonic()
    kinds = _check_formats(formats)
    frozen = require_commit(local_path(saved_model), "freeze")
    labelled = require_commit(local_path(records), "records")
    specification = read_specification(frozen.folder)
    provenance = _check_model(specification, frozen.folder, kinds)
    _check_labels(specification, labelled.folder)
    folder = local_path(output)
    # Relative, so that a run that was moved as a whole is still done.
    path = Path(os.path.relpath(frozen.folder, folder)).as_posix()
    step = Step(
        "convert",
        folder,
        {"freeze": frozen.digest, "records": labelled.digest},
        {"formats": kinds, "saved_model": path},
        owns=("tflite", "tfjs", MANIFEST, _WORK),
        started=started,
    )
    if committed := step.done():
        return committed
    if any(kind.startswith("tfjs") for kind in kinds):
        find_node()  # asked before the conversions, which take a while
    with step.writing():
        # TensorFlow starts, and the SavedModel is loaded, while the converters run.
        with ThreadPoolExecutor(1) as loader:
            loading = loader.submit(open_runner, frozen.folder, THREADS)
            try:
                _run_converters(kinds, frozen.folder, labelled.folder, folder)
            except BoxcarError:
                loading.result()  # what is wrong with the SavedModel says more than what its conversions came to
                raise
        _describe(kinds, specification, folder)
        model, verdicts = _compare_all(loading.result(), kinds, labelled.folder, folder)
        _refuse_strangers(_failures(verdicts, provenance, folder))
        entries = [_entry(path, "saved_model", frozen.folder, model)]
        entries += [_entry(place_of(kind), kind, folder / place_of(kind), verdicts[kind]) for kind in kinds]
        manifest = {
            "files": entries,
            "architecture": specification.architecture,
            "image_size": specification.image_size,
            "labels": specification.labels,
            "checkpoint": frozen.parameters["checkpoint"],
            "initial_checkpoint": specification.model_dump(mode="json")["initial_checkpoint"],
            "dataset_version": specification.dataset_version,
            "provenance": provenance.model_dump(mode="json"),
            "threads": THREADS,
            "milliseconds": "Median of a picture: from its bytes' pixels to detections for the SavedModel, "
            "from preprocessed pixels to detections for the other files.",
        }
        replace_json(folder / MANIFEST, manifest)
    return require_commit(folder, "convert")


def place_of(kind: str) -> str:
    """Where a format's file or folder lies, relative to `export/`."""
    family, _, stored = kind.partition("_")
    return f"tflite/detector_{stored}.tflite" if family == "tflite" else f"tfjs/{stored}"


def _check_formats(formats: Sequence[str]) -> list[str]:
    unknown = [kind for kind in formats if kind not in (*CONVERSIONS, "saved_model")]
    if unknown:
        raise BoxcarError(
            ExitCode.USAGE,
            f"There is no conversion to {', '.join(map(repr, unknown))}.",
            f"Choose of: saved_model, {', '.join(sorted(CONVERSIONS))}.",
        )
    return [kind for kind in CONVERSIONS if kind in formats]


def _check_model(specification: Specification, frozen: Path, kinds: Sequence[str]) -> Provenance:
    """Refuses a SavedModel that is not that of the `detector.json` beside it; its provenance otherwise."""
    has = find_architecture(specification.architecture).exports
    if lacking := [kind for kind in kinds if kind not in has]:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{specification.architecture} cannot be converted to {', '.join(lacking)}.",
            f"Choose of: {', '.join(has)}.",
        )
    provenance = read_provenance(frozen)
    if provenance.architecture != specification.architecture:
        raise BoxcarError(
            ExitCode.DATA,
            f"The SavedModel in {frozen} is of the architecture {provenance.architecture}, "
            f"and by its detector.json of {specification.architecture}.",
            "Run `boxcar freeze` into that folder again.",
        )
    check_labels(frozen / "saved_model", specification)
    return provenance


def _check_labels(specification: Specification, records: Path) -> None:
    """Refuses records that call the model's classes by other names: every number measured on them would be wrong."""
    labels = read_label_map(records / "label_map.pbtxt")
    model = specification.labels
    if labels == model:
        return
    details = tuple(
        f"id {number} is {labels.get(number)} in the records and {model.get(number)} in the model"
        for number in sorted({*labels, *model})
        if labels.get(number) != model.get(number)
    )
    raise BoxcarError(
        ExitCode.DATA,
        f"The labels of the records in {records} are not those of the model: {details[0]}.",
        "Name the records that the model was trained on, or records made with its label map.",
        details,
    )


def _run_converters(kinds: Sequence[str], frozen: Path, records: Path, folder: Path) -> None:
    if not kinds:
        return
    work = make_folder(folder / _WORK)
    with Progress("Converting", len(kinds), "files") as progress:
        begun = sorted(kinds, key=lambda kind: kind not in _SLOW)
        run_children(
            [_child(kind, frozen, records, work) for kind in begun],
            lambda child: progress.advance(note=child.format),
        )
    for kind in kinds:
        written = work / kind
        if not written.exists():
            raise _defect(kind, "it wrote nothing")
        make_folder((folder / place_of(kind)).parent)
        with surroundings(folder):
            written.rename(folder / place_of(kind))
    remove_tree(work)


def _child(kind: str, frozen: Path, records: Path, work: Path) -> Child:
    """The process that writes a format into `work`, under the format's name."""
    if kind.startswith("tfjs"):
        return Child(kind, "boxcar.export.tfjs_child", (kind, str(frozen), str(work / kind)), CONVERTER_SECONDS)
    arguments = (kind, str(frozen), str(records), str(work / kind))
    return Child(kind, "boxcar.export.tflite_child", arguments, CONVERTER_SECONDS)


def _describe(kinds: Sequence[str], specification: Specification, folder: Path) -> None:
    """Lays beside the files what a host needs to use them; any one folder can be copied away alone."""
    for kind in kinds:
        place = folder / place_of(kind)
        replace_text((place.parent if place.is_file() else place) / SPECIFICATION, specification_json(specification))
    if (folder / "tflite").is_dir():
        replace_text(folder / "tflite" / LABELS, labels_text(specification.labels))


def _compare_all(model: Runner, kinds: Sequence[str], records: Path, folder: Path) -> tuple[Verdict, dict[str, Verdict]]:
    count = count_pictures(records, "test")
    if not count:
        raise BoxcarError(
            ExitCode.DATA, f"{records} holds no test pictures to compare the files on.", "Add pictures to the data."
        )
    assert isinstance(model, HeadsRunner), model
    with ExitStack() as open_files:
        open_files.enter_context(model)
        files = {kind: open_files.enter_context(_open(kind, folder / place_of(kind), model.specification)) for kind in kinds}
        stride = -(-count // TEST_PICTURES)
        progress = open_files.enter_context(Progress("Comparing with the SavedModel", -(-count // stride), "pictures"))
        return compare(model, files, sample_pictures(records, "test", TEST_PICTURES), progress.advance)


def _open(kind: str, path: Path, specification: Specification) -> Runner:
    try:
        return open_runner(path, THREADS)
    except BoxcarError as error:
        if read_embedded(path).labels is not None and (reason := differing_labels(path, specification)):
            _refuse_strangers({kind: [reason]})
        if error.code in (ExitCode.USAGE, ExitCode.DATA):
            raise _defect(kind, f"what it wrote cannot be run ({error.what.rstrip('.')})") from error
        raise


def _failures(verdicts: Mapping[str, Verdict], provenance: Provenance, folder: Path) -> dict[str, list[str]]:
    """What each file got wrong, in words: what it answers, and where it says that it comes from."""
    failures = {kind: list(verdict.failures) for kind, verdict in verdicts.items()}
    for kind in verdicts:
        if read_embedded(folder / place_of(kind)).provenance != provenance.model_dump(mode="json"):
            failures[kind].append("the provenance inside it is not that of the SavedModel")
    return failures


def _refuse_strangers(failures: Mapping[str, Sequence[str]]) -> None:
    lines = [f"{place_of(kind)}: {failure}" for kind, found in failures.items() for failure in found]
    if lines:
        names = [place_of(kind) for kind, found in failures.items() if found]
        raise BoxcarError(
            ExitCode.NO,
            f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} not agree with the SavedModel.",
            "Nothing was exported; leave the format out of --formats, or train longer where it is a quantised one.",
            tuple(lines),
        )


def _entry(path: str, kind: str, place: Path, verdict: Verdict) -> dict[str, Any]:
    sha256, size = folder_sha256(place) if place.is_dir() else (file_sha256(place), place.stat().st_size)
    return {
        "path": path,
        "format": kind,
        "bytes": size,
        "sha256": sha256,
        "AP50": verdict.scores["AP50"],
        "AP": verdict.scores["AP"],
        "milliseconds": verdict.milliseconds,
        "agrees": verdict.agrees,
        "judged": verdict.agrees is not None,
        **({"reason": verdict.reason} if verdict.reason else {}),
        **({"use_regular_nms": USE_REGULAR_NMS} if kind.endswith("_nms") else {}),
        "compared": verdict.compared,
    }


def _defect(kind: str, reason: str) -> BoxcarError:
    return BoxcarError(
        ExitCode.DEFECT,
        f"The converter to {kind} failed: {reason}.",
        f"Report this, or leave {kind} out of --formats.",
    )
