"""The runs in a folder, and the state of each."""

import json
import time
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from boxcar.config.run_settings import Configuration
from boxcar.config.yaml_text import load_yaml
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import COMMIT, CONFIGURATION, FAILURE, RECORDS, REPORT, RUN_FILE, RUN_NAMES, STATUS, TRAIN
from boxcar.storage import Missing, Store, StoredObject, bucket_location, local_path
from boxcar.storage.parallel import in_order

_STATUS = f"{TRAIN}/{STATUS}"
SILENT_SECONDS = 15 * 60.0  # a trainer without a heartbeat for this long is not running

State = Literal["training", "finished", "failed", "stopped", "started"]


@dataclass(frozen=True)
class FoundRun:
    """A run in a folder of runs.

    Attributes:
        name, uri: of its folder.
        state: training while the trainer's heartbeat is recent; failed after an error, and stopped after a signal; started if
            nothing says why it is not finished.
        step: the last training step; None if training has not started.
        changed: when one of its files was last written, in seconds since the epoch.
        entries: all its files, with names relative to the folder of runs.
        init: the initial weights in its configuration.
    """

    name: str
    uri: str
    state: State
    step: int | None
    changed: float
    entries: tuple[StoredObject, ...]
    init: str | None

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(entry.bytes for entry in self.entries)


def find_runs(runs: str, store: Store) -> tuple[list[FoundRun], dict[str, str]]:
    """The runs in a folder of runs.

    Args:
        runs: its URI.
        store: its store.

    Returns:
        The runs, the latest change first; and for each other folder, why it is not a run.

    Raises:
        BoxcarError: 64 if the folder is itself a run, 69 if it cannot be read.
    """
    names = store.folders()
    if {RECORDS, TRAIN} & set(names) and any(entry.name == CONFIGURATION for entry in store.entries()):
        raise BoxcarError(ExitCode.USAGE, f"{runs} is itself a run.", "Give the folder that contains it.")
    found: list[FoundRun] = []
    others: dict[str, str] = {}
    for name, one in zip(names, in_order(lambda name: inspect(runs, store, name), names), strict=True):
        if isinstance(one, str):
            others[name] = one
        else:
            found.append(one)
    return sorted(found, key=lambda run: (-run.changed, run.name)), others


def inspect(runs: str, store: Store, name: str) -> FoundRun | str:
    """The run in the folder of this name, or why it is not a run."""
    uri = f"{runs.rstrip('/')}/{name}"
    if bucket_location(runs) is None and local_path(uri).is_symlink():
        return "it is a link"
    entries = store.entries(name)
    files = {entry.name.removeprefix(f"{name}/"): entry for entry in entries}
    strange = sorted({file.split("/")[0] for file in files} - RUN_NAMES)
    if CONFIGURATION not in files:
        return f"it has no {CONFIGURATION}"
    if strange:
        return f"it holds {strange[0]}, which is not a file of a run"
    try:
        content = store.read(f"{name}/{CONFIGURATION}")
        status = _read(store, f"{name}/{_STATUS}") if _STATUS in files else {}
        failure = _read(store, f"{name}/{FAILURE}") if FAILURE in files else {}
    except Missing:
        return "it changed while it was read"
    try:
        init = Configuration.model_validate(load_yaml(content)).init
        if init:
            place_of(init)  # raises if `plan_prune` could not use it
    except BoxcarError as error:
        return f"its {CONFIGURATION} cannot be read: {error.what.rstrip('.')}"
    except (ValidationError, ValueError, RecursionError, yaml.YAMLError):
        return f"its {CONFIGURATION} does not belong to a run"
    state: State = "started"
    if status.get("state") == "RUNNING":
        # The trainer's clock or the bucket's, whichever is ahead.
        beat = max(_number(status.get("beat")), files[_STATUS].modified)
        state = "training" if time.time() - beat < SILENT_SECONDS else "started"
    if state != "training":
        finished = {RUN_FILE, f"{REPORT}/{COMMIT}"} <= files.keys()
        if finished:
            state = "finished"
        elif FAILURE in files:
            state = "stopped" if failure.get("code") in (ExitCode.INTERRUPTED, ExitCode.AGAIN) else "failed"
    changed = max(entry.modified for entry in entries)
    step = status.get("step")
    return FoundRun(name, uri, state, step if isinstance(step, int) else None, changed, tuple(entries), init)


def _read(store: Store, name: str) -> dict[str, Any]:
    try:
        found = json.loads(store.read(name))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(found: object) -> float:
    """A number from a file; 0 if it is not a number."""
    try:
        return float(found) if isinstance(found, int | float) else 0.0
    except OverflowError:
        return 0.0


def place_of(uri: str) -> str:
    """A URI in a form that can be compared: a bucket's without a slash at its end, a local one as an absolute path."""
    location = bucket_location(uri)
    return location.uri if location is not None else str(local_path(uri).resolve())


def is_inside(place: str, folder: str) -> bool:
    """Whether a place is a folder or is inside it; both as from `place_of`."""
    return place == folder or place.startswith(f"{folder}/")
