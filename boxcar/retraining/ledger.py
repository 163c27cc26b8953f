"""What every retraining of a model came to: one small file each, in the model's folder."""

import json
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.model import FORMAT, RETRAININGS, check_format
from boxcar.run.layout import HISTORY, TRAIN
from boxcar.storage import Changed, Missing, Store, open_store

_HISTORY = f"{TRAIN}/{HISTORY}"

Outcome = Literal["promoted", "kept", "undecided", "failed"]


class Entry(BaseModel):
    """One retraining.

    Attributes:
        run: URI of its run.
        begun_at: when, by the clock of whoever began it.
        changes: what was new, in words.
        start: weights that its run starts from, as the configuration has them: settled when it was begun.
        label_map, frozen_test: URIs; None for a model's first run.
        outcome: None while it is at work, or where it was killed.
        reason: of the outcome, in a sentence or two.
        version: the number of the version that came of it.
        gpu_hours: for which its run has trained, times GPUs, as far as it was looked.
        months: those hours, by the months (`2026-11`) that they count for; nothing stands there before any was looked at.
        told: whether the webhook has taken the outcome; True where there is nobody to tell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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
        """Whether it need not be gone on with."""
        return self.outcome not in (None, "failed")

    def hours_in(self, month: str) -> float:
        """The GPU hours that count for a month."""
        if self.months:
            return self.months.get(month, 0.0)
        return self.gpu_hours if self.begun_at.startswith(month) else 0.0


def begin(run: str, changes: str, start: str | None, label_map: str | None, frozen_test: str | None) -> Entry:
    """The entry of a retraining that begins now."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")  # their order is told by it
    return Entry(run=run, begun_at=now, changes=changes, start=start, label_map=label_map, frozen_test=frozen_test)


def read_entries(model: Store) -> dict[str, Entry]:
    """All retrainings of a model, by their identity, oldest first.

    Raises:
        BoxcarError: 65 where one cannot be understood, or a newer Boxcar wrote it.
    """
    names = [entry.name.removeprefix(f"{RETRAININGS}/") for entry in model.entries(RETRAININGS)]
    found = {name.removesuffix(".json"): _read(model, name) for name in names if name.endswith(".json")}
    return dict(sorted(found.items(), key=lambda item: item[1].begun_at))


def write_entry(model: Store, identity: str, entry: Entry) -> None:
    """Keeps a retraining as it stands."""
    model.write(f"{RETRAININGS}/{identity}.json", _content(entry))


def note_told(model: Store, identity: str, heard: Entry) -> None:
    """Remembers that an outcome was heard. Another one, to which the retraining has come meanwhile, is still to be told."""
    name = f"{RETRAININGS}/{identity}.json"
    try:
        content, tag = model.read_tagged(name)
        entry = _understood(content, f"{model.uri}/{name}")
        if (entry.outcome, entry.reason, entry.version) == (heard.outcome, heard.reason, heard.version):
            model.write(name, _content(entry.model_copy(update={"told": True})), tag)
    except (Missing, Changed):
        # Removed by a person, or gone on with by another process, which tells what that comes to.
        return


def with_hours(entry: Entry, run: Store, gpus: int) -> Entry:
    """An entry with the hours that its run has trained by its own account, over all its starts; starting up is left out.

    What has come since the last look counts for the month in which the run trained last. What was looked at once stays, also
    where the run is gone or has gone back to a checkpoint.

    Args:
        entry: of the retraining.
        run: its run's folder.
        gpus: that it trains on.
    """
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


def _seconds(history: bytes) -> float:
    """What the last whole line says that can be understood and says it."""
    for line in reversed(history[: history.rfind(b"\n") + 1].splitlines()):
        try:
            return float(json.loads(line)["seconds"])
        except (ValueError, TypeError, KeyError):
            continue  # torn where the disk was full, or of another Boxcar
    return 0.0


def note_hours(model: Store, entries: dict[str, Entry], gpus: int) -> dict[str, Entry]:
    """The entries, with the hours of those that are not over as they are now; they are kept, since a run may be removed.

    Raises:
        BoxcarError: 69 where a run or the ledger cannot be reached.
    """
    noted = {
        identity: entry if entry.is_over else with_hours(entry, open_store(entry.run), gpus)
        for identity, entry in entries.items()
    }
    for identity, entry in noted.items():
        if entry != entries[identity]:
            write_entry(model, identity, entry)
    return noted


def check_budget(entries: dict[str, Entry], gpu_hours: float | None) -> None:
    """Refuses to train in a month in which retrainings have taken so many GPU hours already.

    Raises:
        BoxcarError: 76.
    """
    month = f"{datetime.now(UTC):%Y-%m}"
    used = sum(entry.hours_in(month) for entry in entries.values())
    if gpu_hours is not None and used >= gpu_hours:
        raise BoxcarError(
            ExitCode.STOPPED,
            f"Retrainings have taken {used:.2f} GPU hours in {month}, and retraining.gpu_hours allows {gpu_hours:g}.",
            "Raise it, or wait for the next month. The new images are kept until then.",
        )


def _read(model: Store, name: str) -> Entry:
    return _understood(model.read(f"{RETRAININGS}/{name}"), f"{model.uri}/{RETRAININGS}/{name}")


def _content(entry: Entry) -> bytes:
    return (entry.model_dump_json(indent=2) + "\n").encode()


def _understood(content: bytes, where: str) -> Entry:
    try:
        found = json.loads(content)
        check_format(found.get("format_version"), where)
        return Entry.model_validate(found)
    except (ValueError, AttributeError, ValidationError) as error:
        what = f"{where} cannot be understood."
        raise BoxcarError(
            ExitCode.DATA, what, "Remove it. This loses only the GPU hours and the outcome of that retraining."
        ) from error
