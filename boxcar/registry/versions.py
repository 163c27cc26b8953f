"""A version of a model: a copy of a run's results in the registry. It is never changed."""

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from boxcar.data.label_map import differing_ids, read_label_map
from boxcar.detectors.checkpoint_sources import find_checkpoint
from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.inference.specification import InitialCheckpoint, Specification, read_specification
from boxcar.registry.aliases import Aliases, begin, change, read_aliases, step_back
from boxcar.registry.held_out import keep_test
from boxcar.registry.model import FORMAT, Model, check_format
from boxcar.run import layout
from boxcar.run.step import Committed, Step, changed_file, require_commit
from boxcar.storage import ABSENT, Changed, Missing, list_files, make_folder, replace_json, replace_text
from boxcar.sync.mirror import Mirror

STEP = "models add"
VERSION, TRAINED_ON = "version.json", "trained-on.txt"
# Further files of the run that are kept if they exist.
_KEPT = (
    f"{layout.EVAL}/{layout.TEST_SCORES}",
    f"{layout.EVAL}/{layout.SCORES}",
    f"{layout.RECORDS}/{layout.DATASET}",
    f"{layout.RECORDS}/{layout.LABEL_MAP}",
    layout.CONFIGURATION,
)
_STEPS = {step: folder for step, folder in layout.STEPS.items() if step != "train"}  # the sources of a version


class Version(BaseModel):
    """`version.json`: what a version contains, and its provenance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT
    run: str  # URI of the run's folder
    architecture: str
    image_size: int
    labels: dict[int, str]
    dataset_version: str | None
    frozen_test: str  # the held-out test split in use when it was added
    checkpoint_step: int | None
    checkpoint_sha256: str
    weights_sha256: str  # of the checkpoint in `export/saved_model`
    initial_checkpoint: InitialCheckpoint | None
    ancestor: str | None  # the version whose weights were the initial ones
    code_version: str
    code_revision: str | None
    image: str | None
    pipeline_version: str | None
    AP: float | None  # on the run's own test images
    AP50: float | None


class Listed(NamedTuple):
    """A version in a list. If it is incomplete, `version` is None, and `trouble` says why."""

    number: str
    version: Version | None
    trouble: str = ""


def add_version(model: Model, run: str) -> str:
    """Adds a run to a model as a version. The first run's test split becomes the model's held-out one.

    Does nothing if the run is a version already. Completes the version if its upload was interrupted, or if files were lost or
    changed.

    Args:
        model: the model, which is created if it does not exist.
        run: URI of a run's folder, finished up to `convert`.

    Returns:
        The version's number.

    Raises:
        BoxcarError: 64 if a step of the run is missing, 65 if its files were changed or its steps do not belong together, 69 if
            the registry fails or another process is adding to the model.
    """
    folder, steps = _fetch_run(run)
    identity = {name: committed.digest for name, committed in steps.items()}
    with model.owned():
        state = begin(model, keep_test(model, folder / layout.RECORDS).split)
        number = _take_number(model, identity)
        if _trouble(model, number) is not None:
            place = model.version(number)
            _write(model, run, Step(STEP, make_folder(place.folder), identity, {}), folder, state.test)
            place.send()
    return number


def list_versions(model: Model) -> list[Listed]:
    """All versions, ascending, with those that are partly uploaded.

    Raises:
        BoxcarError: 65 if a newer Boxcar wrote one.
    """
    return [_look(model, number) for number in model.numbers()]


def read_version(model: Model, number: str) -> Version:
    """A finished version.

    Raises:
        BoxcarError: 64 if there is none; 65 if it is gone although it was a champion, is partly uploaded, has lost a file, or a
            newer Boxcar wrote it.
    """
    found = _look(model, number)
    if found.version is None:
        raise _unusable(model, number, found.trouble)
    return found.version


def fetch_version(model: Model, number: str) -> Path:
    """A finished version's folder, downloaded if it is in a bucket.

    Raises:
        BoxcarError: as `read_version`, and 65 if a file was changed since it was added.
    """
    if (trouble := _trouble(model, number)) is not None:
        raise _unusable(model, number, trouble)
    return model.version(number).folder


def promote_regardless(model: Model, number: str, reason: str) -> Aliases:
    """Makes a version the champion without a comparison.

    Raises:
        BoxcarError: 64 if it is already the champion; else as `fetch_version`.
    """
    fetch_version(model, number)

    def next_state(state: Aliases) -> Aliases:
        if state.champion == number:
            raise BoxcarError(ExitCode.USAGE, f"Version {number} of {model.name} is the champion.", "Give another version.")
        return state.promoted(number, reason)

    return change(model, next_state)


def rollback(model: Model) -> Aliases:
    """Makes the previous champion the champion again, if it is still whole. Repeated calls go further back.

    Raises:
        BoxcarError: as `step_back` and `fetch_version`.
    """
    for number in read_aliases(model).champions[-2:-1]:
        fetch_version(model, number)
    return step_back(model)


def read_trained_on(folder: Path) -> frozenset[str]:
    """SHA-256 of the images that a version was trained or chosen on, with those of its ancestors."""
    return frozenset((folder / TRAINED_ON).read_text(encoding="ascii").split())


def find_version(model: Model, run: str) -> str | None:
    """The number of the finished version that was made from a run; None if there is none.

    Raises:
        BoxcarError: 65 if a newer Boxcar wrote a version, 69 if the registry cannot be reached.
    """
    uri = _full_uri(run)
    return next((one.number for one in list_versions(model) if one.version is not None and one.version.run == uri), None)


def _full_uri(run: str) -> str:
    place = Mirror(run)
    return place.uri if place.remote else str(place.folder.absolute())


def _fetch_run(run: str) -> tuple[Path, dict[str, Committed]]:
    """A finished run on this machine."""
    place = Mirror(run)
    if place.remote:
        for name in _STEPS.values():
            with contextlib.suppress(Missing):  # `require_commit` names the missing step
                place.below(name).fetch()
        place.take_files([layout.CONFIGURATION])
    return place.folder, {step: require_commit(place.folder / name, step) for step, name in _STEPS.items()}


def _take_number(model: Model, identity: dict[str, str]) -> str:
    """The number of the version with these inputs, or a new number."""
    store, numbers = model.store, model.numbers()
    for number in numbers:
        for marker in (layout.COMMIT, layout.UNFINISHED):
            with contextlib.suppress(Missing, ValueError, KeyError, TypeError):
                if json.loads(store.read(f"{number}/{marker}"))["inputs"] == identity:
                    return number
    number = str(max(map(int, numbers), default=0) + 1)
    started = json.dumps({"step": STEP, "inputs": identity, "parameters": {}}).encode()
    taken = Refused(
        ExitCode.ENVIRONMENT,
        f"Another process is adding version {number} of {model.name}.",
        "Run this again when it has finished.",
    )
    try:
        store.write(f"{number}/{layout.UNFINISHED}", started, expected=ABSENT)
    except Changed:
        raise taken from None
    if store.entry(f"{number}/{layout.COMMIT}") is not None:  # finished since the versions were listed
        store.delete([f"{number}/{layout.UNFINISHED}"])
        raise taken
    return number


def _write(model: Model, run: str, step: Step, folder: Path, test: str) -> None:
    """Writes a version of the run in `folder` unless this machine has it already."""
    if step.done() is not None:
        return
    with step.writing() as place:
        # A version is signed as a whole. The run's signature is left out, because it would be nearer to the files.
        exported = [name for name in list_files(folder / layout.EXPORT) if name.rpartition("/")[2] != layout.SIGNATURE]
        for name in [*(f"{layout.EXPORT}/{name}" for name in exported), *_KEPT]:
            if (folder / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, place / name)
        version = _describe(model, run, place, test)
        trained = _trained_on(model, place, version.ancestor)
        replace_text(place / TRAINED_ON, "".join(f"{sha256}\n" for sha256 in sorted(trained)))
        replace_json(place / VERSION, version.model_dump(mode="json"))


def _describe(model: Model, run: str, place: Path, test: str) -> Version:
    manifest = json.loads((place / layout.EXPORT / layout.MANIFEST).read_text(encoding="utf-8"))
    specification = read_specification(place / layout.SAVED_MODEL)
    scores = json.loads((place / layout.EVAL / layout.TEST_SCORES).read_text(encoding="utf-8"))
    origin = manifest["provenance"]
    _check_origin(run, place, specification, scores["step"], origin["checkpoint_step"])
    initial = specification.initial_checkpoint
    return Version(
        run=_full_uri(run),
        architecture=specification.architecture,
        image_size=specification.image_size,
        labels=specification.labels,
        dataset_version=specification.dataset_version,
        frozen_test=test,
        checkpoint_step=origin["checkpoint_step"],
        checkpoint_sha256=origin["checkpoint_sha256"],
        weights_sha256=find_checkpoint(str(place / layout.SAVED_MODEL / "checkpoint")).sha256,
        initial_checkpoint=initial,
        ancestor=None if initial is None else _ancestor(model, initial.sha256),
        code_version=origin["code_version"],
        code_revision=origin["code_revision"],
        image=origin["image"],
        pipeline_version=origin["pipeline_version"],
        AP=scores["AP"],
        AP50=scores["AP50"],
    )


def _check_origin(run: str, place: Path, specification: Specification, scored: int, exported: int | None) -> None:
    """Refuses a run whose steps do not belong together.

    Args:
        run: its URI.
        place: its copy in the version's folder.
        specification: of the exported files.
        scored: the step of the checkpoint that was scored on the test images.
        exported: the step of the checkpoint that was exported; None if its name has none.

    Raises:
        BoxcarError: 65.
    """
    labels = read_label_map(place / layout.RECORDS / layout.LABEL_MAP)
    if labels != specification.labels:
        number = differing_ids(labels, specification.labels)[0]
        what = (
            f"id {number} is {labels.get(number)} in its records, but {specification.labels.get(number)} in its exported files."
        )
    elif exported not in (None, scored):
        what = f"its scores are those of step {scored}, but its exported files are from step {exported}."
    else:
        return
    do = "Freeze and convert the chosen checkpoint again, or add another run."
    raise BoxcarError(ExitCode.DATA, f"The steps of {run} do not belong together: {what}", do)


def _ancestor(model: Model, sha256: str) -> str | None:
    """The version that has these weights; None if no version has them."""
    for found in list_versions(model):
        if found.version is not None and sha256 in (found.version.checkpoint_sha256, found.version.weights_sha256):
            return found.number
    return None


def _trained_on(model: Model, place: Path, ancestor: str | None) -> set[str]:
    splits: dict[str, Any] = json.loads((place / layout.RECORDS / layout.DATASET).read_text(encoding="utf-8"))["splits"]
    # Validation images are included because the checkpoint was chosen on them.
    own = {sha256 for split in ("train", "validation") for sha256 in splits[split]["images"]}
    if ancestor is not None:
        own.update(model.store.read(f"{ancestor}/{TRAINED_ON}").decode("ascii").split())
    return own


def _trouble(model: Model, number: str) -> str | None:
    """Why a version cannot be used, as a clause; None if all its files are those that were added. Downloads it if it is in a
    bucket."""
    found = _look(model, number)
    if found.version is None:
        return found.trouble
    folder = model.version(number).fetch()
    files: dict[str, Any] = json.loads((folder / layout.COMMIT).read_text(encoding="utf-8"))["files"]
    changed = changed_file(folder, files)
    return None if changed is None else f"{changed} was changed"


def _unusable(model: Model, number: str, trouble: str) -> BoxcarError:
    """The error for a version that is not there or not whole: 64 if it never was, else 65 with what is broken."""
    there = model.numbers()
    if number not in there:
        champions = read_aliases(model).champions
        if number not in champions:
            what = f"{model.name} has no version {number}; it has: {', '.join(there) or 'none'}."
            return BoxcarError(ExitCode.USAGE, what, "Give one of them.")
        role = "the champion" if number == champions[-1] else "which was champion before"
        return BoxcarError(
            ExitCode.DATA,
            f"Version {number} of {model.name}, {role}, is gone: there is no {model.uri}/{number}.",
            "Restore that folder from a backup, or make another version the champion with `boxcar models promote --version N "
            "--without-gate REASON`.",
        )
    state = "is partly uploaded" if model.store.entry(f"{number}/{layout.COMMIT}") is None else "is damaged"
    return BoxcarError(
        ExitCode.DATA,
        f"Version {number} of {model.name} {state}: {trouble}.",
        "Add its run again with `boxcar models add` to complete it.",
    )


def _look(model: Model, number: str) -> Listed:
    """A version. It is complete if it has all files that its `step.json` lists."""
    store, where = model.store, f"{model.uri}/{number}/{VERSION}"
    there = {entry.name.removeprefix(f"{number}/"): entry.bytes for entry in store.entries(number)}
    if layout.COMMIT not in there:
        return Listed(number, None, f"its {layout.COMMIT} is missing")
    try:
        files = json.loads(store.read(f"{number}/{layout.COMMIT}"))["files"]
        for name, entry in files.items():
            if there.get(name) != entry["bytes"]:
                return Listed(number, None, f"{name} is missing or was changed")
        content = store.read(f"{number}/{VERSION}")
        found = json.loads(content)
        check_format(found.get("format_version"), where)
        if hashlib.sha256(content).hexdigest() != files[VERSION]["sha256"]:
            return Listed(number, None, f"{VERSION} was changed")
        return Listed(number, Version.model_validate(found))
    except Missing:
        return Listed(number, None, "it is being written or removed")
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else type(error).__name__
        return Listed(number, None, f"{VERSION} or {layout.COMMIT} is not valid ({reason})")
