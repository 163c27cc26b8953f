"""The ledger of a model's retrainings: one small JSON file for each, in the model's folder."""

import json
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.model import FORMAT, RETRAININGS, check_format
from boxcar.run.layout import HISTORY, TRAIN
from boxcar.storage import Missing, Store, open_store

_HISTORY = f"{TRAIN}/{HISTORY}"

Outcome = Literal["promoted", "kept", "undecided", "failed"]


class Entry(BaseModel):
    """One retraining.

    Attributes:
        identity: the name of its file, without the ending.
        run: URI of its run.
        begun_at: when it started, by the clock of the machine that started it.
        changes: what was new, as text.
        start: the initial weights of its run, as in the configuration. They are fixed when the retraining starts.
        label_map, frozen_test: URIs; None for a model's first run.
        outcome: None while it is running or if it was killed.
        reason: for the outcome, in one or two sentences.
        version: the number of the version that was made from its run.
        gpu_hours: training time of its run times GPUs, as of the last measurement.
        months: those hours by month (`2026-11`); empty before the first measurement.
        told: whether the webhook has accepted the outcome; also True if no webhook is set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: str = Field(exclude=True)
    format_version: Literal[1] = FORMAT
    run: str
    begun_at: str
    changes: str
    start: str | None
    label_map: str | None
    frozen_test: str | None
    outcome: Outcome | None = None
    reason: str = ""
    version: str | None = None
    gpu_hours: float = 0.0
    months: dict[str, float] = {}
    told: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it must not be resumed."""
        return self.outcome not in (None, "failed")

    def hours_in(self, month: str) -> float:
        """The GPU hours that count for a month."""
        if self.months:
            return self.months.get(month, 0.0)
        return self.gpu_hours if self.begun_at.startswith(month) else 0.0


def new_entry(
    identity: str, run: str, changes: str, start: str | None, label_map: str | None, frozen_test: str | None
) -> Entry:
    """The entry of a retraining that starts now."""
    return Entry(
        identity=identity,
        run=run,
        begun_at=datetime.now(UTC).isoformat(timespec="microseconds"),  # entries are sorted by it
        changes=changes,
        start=start,
        label_map=label_map,
        frozen_test=frozen_test,
    )


def read_entries(model: Store) -> list[Entry]:
    """All retrainings of a model, oldest first.

    Raises:
        BoxcarError: 65 if one cannot be read, or a newer Boxcar wrote it.
    """
    names = [entry.name for entry in model.entries(RETRAININGS) if entry.name.endswith(".json")]
    return sorted((_read(model, name) for name in names), key=lambda entry: entry.begun_at)


def write_entry(model: Store, entry: Entry) -> None:
    """Creates or replaces the file of a retraining."""
    model.write(f"{RETRAININGS}/{entry.identity}.json", (entry.model_dump_json(indent=2) + "\n").encode())


def with_hours(entry: Entry, gpus: int) -> Entry:
    """An entry with the hours that its run has trained by its own history, over all its starts, without the time to start up.

    Hours since the last measurement count for the month in which the run trained last. Hours that were measured stay, even
    if the run was removed or has gone back to a checkpoint.
    """
    run = open_store(entry.run)
    try:
        content, found = run.read(_HISTORY), run.entry(_HISTORY)
    except Missing:
        return entry
    grown = _seconds(content) / 3600 * gpus - entry.gpu_hours
    if found is None or grown <= 0:
        return entry
    month = f"{datetime.fromtimestamp(found.modified, UTC):%Y-%m}"
    months = entry.months or ({entry.begun_at[:7]: entry.gpu_hours} if entry.gpu_hours else {})
    months = months | {month: months.get(month, 0.0) + grown}
    return entry.model_copy(update={"gpu_hours": entry.gpu_hours + grown, "months": months})


def measure_hours(model: Store, entries: list[Entry], gpus: int) -> list[Entry]:
    """The entries, with the present hours of those that are not over. They are written, because a run may be removed.

    Raises:
        BoxcarError: 69 if a run or the ledger cannot be reached.
    """
    measured = [entry if entry.is_over else with_hours(entry, gpus) for entry in entries]
    for before, after in zip(entries, measured, strict=True):
        if after != before:
            write_entry(model, after)
    return measured


def check_budget(entries: list[Entry], gpu_hours: float | None) -> None:
    """Refuses to train if this month's retrainings have used the GPU hours of a month.

    Raises:
        BoxcarError: 76.
    """
    month = f"{datetime.now(UTC):%Y-%m}"
    used = sum(entry.hours_in(month) for entry in entries)
    if gpu_hours is not None and used >= gpu_hours:
        raise BoxcarError(
            ExitCode.STOPPED,
            f"Retrainings have taken {used:.2f} GPU hours in {month}, and retraining.gpu_hours allows {gpu_hours:g}.",
            "Raise it, or wait for the next month. The new images are kept until then.",
        )


def _read(model: Store, name: str) -> Entry:
    where = f"{model.uri}/{name}"
    try:
        found = json.loads(model.read(name))
        check_format(found.get("format_version"), where)
        return Entry.model_validate(found | {"identity": name.removeprefix(f"{RETRAININGS}/").removesuffix(".json")})
    except (ValueError, AttributeError, TypeError, ValidationError) as error:
        do = "Remove it. This loses only the GPU hours and the outcome of that retraining."
        raise BoxcarError(ExitCode.DATA, f"{where} is not valid.", do) from error


def _seconds(history: bytes) -> float:
    """The training seconds in the last complete line that has them."""
    for line in reversed(history[: history.rfind(b"\n") + 1].splitlines()):
        try:
            return float(json.loads(line)["seconds"])
        except (ValueError, TypeError, KeyError):
            continue  # cut short by a full disk, or from another version of Boxcar
    return 0.0
