"""The runs in a folder, and the state of each."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from boxcar.config.run_settings import Configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import (
    COMMIT,
    CONFIGURATION,
    FAILURE,
    RECORDS,
    REPORT,
    RUN_FILE,
    RUN_NAMES,
    STATUS,
    TRAIN,
)
from boxcar.storage import Missing, Store, StoredObject, bucket_location, local_path
from boxcar.storage.parallel import in_order

_STATUS = f"{TRAIN}/{STATUS}"
SILENT_SECONDS = 15 * 60.0  # after which a trainer that has not said RUNNING again is none

State = Literal["training", "finished", "failed", "started"]


@dataclass(frozen=True)
class FoundRun:
    """A run in a folder of runs.

    Attributes:
        name: of its folder.
        uri: of its folder.
        state: training while the trainer's heartbeat is recent; started if it is neither finished nor failed.
        step: of training, if that has started.
        changed: when any of its files was last written, in seconds since the epoch.
        entries: all its files, by names relative to the folder of runs.
        init: weights that it started from, where they were named.
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
        """Of all its files."""
        return sum(entry.bytes for entry in self.entries)


def find_runs(runs: str, store: Store) -> tuple[list[FoundRun], dict[str, str]]:
    """The runs in a folder of runs.

    Args:
        runs: its URI.
        store: which reads it.

    Returns:
        The runs, the one that changed last first; and by name, why each other folder is none.

    Raises:
        BoxcarError: 64 where the folder is itself a run, 69 where it cannot be read.
    """
    names = store.folders()
    if {RECORDS, TRAIN} & set(names) and any(entry.name == CONFIGURATION for entry in store.entries()):
        raise BoxcarError(ExitCode.USAGE, f"{runs} is itself a run.", "Give the folder that contains it.")
    found: list[FoundRun] = []
    others: dict[str, str] = {}
    for name, one in zip(names, in_order(lambda name: look(runs, store, name), names), strict=True):
        if isinstance(one, str):
            others[name] = one
        else:
            found.append(one)
    return sorted(found, key=lambda run: (-run.changed, run.name)), others


def look(runs: str, store: Store, name: str) -> FoundRun | str:
    """The run in a folder of that name; why it is none, where it is none."""
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
    except Missing:
        return "it changed while it was read"
    try:
        init = Configuration.model_validate(yaml.safe_load(content)).init
        if init:
            place_of(init)  # prune follows it
    except BoxcarError as error:
        return f"its {CONFIGURATION} cannot be read: {error.what.rstrip('.')}"
    except (ValidationError, ValueError, RecursionError, yaml.YAMLError):
        return f"its {CONFIGURATION} does not belong to a run"
    state: State = "started"
    if status.get("state") == "RUNNING":
        # Whichever clock is ahead: that of the trainer or that of the bucket.
        beat = max(_number(status.get("beat")), files[_STATUS].modified)
        state = "training" if time.time() - beat < SILENT_SECONDS else "started"
    if state != "training":
        finished = {RUN_FILE, f"{REPORT}/{COMMIT}"} <= files.keys()
        state = "finished" if finished else "failed" if FAILURE in files else "started"
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
    """What should be a number; 0 where it is none, so that other evidence counts."""
    try:
        return float(found) if isinstance(found, int | float) else 0.0
    except OverflowError:
        return 0.0


def place_of(uri: str) -> str:
    """A URI as it can be compared: in a bucket without a slash at its end, on this machine an absolute path."""
    location = bucket_location(uri)
    return location.uri if location is not None else str(local_path(uri).resolve())


def lies_in(uri: str, folders: Sequence[str]) -> bool:
    """Whether a place, as `place_of` writes it, is one of these folders or is inside one."""
    return any(uri == folder or uri.startswith(f"{folder}/") for folder in folders)
