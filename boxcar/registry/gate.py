"""The gate: a challenger and the champion meet on the frozen test split, with the files that ship, and the better one stays."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boxcar.config.gate_settings import GateSettings
from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.aliases import Aliases, change, promoted, read_aliases
from boxcar.registry.decision import Answers, Decided, decide
from boxcar.registry.held_out import HeldOutTest, held_out_list, read_held_out
from boxcar.registry.measure import Measured, find_file, measure
from boxcar.registry.model import FORMAT, Model
from boxcar.registry.promotions import decision_name, tell_run
from boxcar.registry.versions import Version, fetch_version, read_trained_on, read_version
from boxcar.run.progress import Progress
from boxcar.scoring.bootstrap import RESAMPLES
from boxcar.storage import Changed
from boxcar.sync.mirror import Mirror

_MOST_NAMED = 5


@dataclass(frozen=True)
class Compared:
    """Two versions, compared.

    Attributes:
        challenger, champion: their numbers; None where there is no champion yet.
        decided: the outcome.
        record: all of it, as `decision.json` has it.
    """

    challenger: str
    champion: str | None
    decided: Decided
    record: dict[str, Any]


def gate(model: Model, challenger: str, settings: GateSettings) -> Compared:
    """Compares a version with the champion and makes it the champion where it is not worse.

    The decision is in the model's `decisions/` before the champion changes, and in the run's `decision.json` after that.

    Args:
        model: which.
        challenger: number of the version.
        settings: what it is held to.

    Raises:
        Changed: 69 where another version became the champion meanwhile.
        BoxcarError: as `compare`, and 64 where it is the champion already; 69 where the registry fails.
    """
    state = read_aliases(model)
    if state.champion == challenger:
        what = f"Version {challenger} of {model.name} is the champion."
        do = "Give another version, or restore the previous champion with `boxcar models rollback`."
        raise BoxcarError(ExitCode.USAGE, what, do)
    compared = compare(model, challenger, state.champion, settings)
    _keep(model, compared, state.test)
    if compared.decided.verdict == "promoted":
        _promote(model, compared, state)
    tell_run(Mirror(read_version(model, challenger).run), compared.record)
    print(f"{compared.decided.verdict}: {compared.decided.reason}", file=sys.stderr, flush=True)  # noqa: T201
    return compared


def compare(model: Model, challenger: str, champion: str | None, settings: GateSettings) -> Compared:
    """Compares two versions on the model's frozen test split, and changes nothing.

    Args:
        model: which.
        challenger, champion: numbers of the versions; None where there is no champion.
        settings: what the challenger is held to.

    Raises:
        BoxcarError: 64 where a version is not there or has no file of that format; 65 where one is partly uploaded, has seen
            images of the test split, or calls an id by another name.
    """
    numbers = [challenger] if champion is None else [challenger, champion]
    versions = [read_version(model, number) for number in numbers]
    folders = [fetch_version(model, number) for number in numbers]
    test = read_held_out(model, read_aliases(model).test)
    for number, folder in zip(numbers, folders, strict=True):
        refuse_seen(model, number, folder, test)
    files = [
        find_file(folder, settings.format, f"Version {number} of {model.name}")
        for number, folder in zip(numbers, folders, strict=True)
    ]
    with Progress("Comparing on the test images", len(test.names), "pictures") as progress:
        truths, measured = measure(files, test, settings.threads, progress.advance)
    answers = [Answers(one.labels, one.detections, one.milliseconds, one.file.bytes / 1e6) for one in measured]
    decided = decide(truths, test.labels, answers[0], answers[1] if champion is not None else None, settings)
    record = _record(model, numbers, versions, measured, test, decided, settings)
    return Compared(challenger, champion, decided, record)


def refuse_seen(model: Model, number: str, folder: Path, test: HeldOutTest) -> None:
    """Refuses a version that was trained on test images, or chosen by them: it would look better than it is.

    Raises:
        BoxcarError: 65, with the images.
    """
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


def _promote(model: Model, compared: Compared, seen: Aliases) -> None:
    """Makes the challenger the champion where what it was compared with still counts; raises Changed where it does not."""

    def next_state(state: Aliases) -> Aliases:
        if (state.champion, state.test) != (seen.champion, seen.test):
            raise Changed(f"The champion of {model.name}")
        return promoted(state, compared.challenger, compared.decided.reason)

    change(model, next_state)


def _record(
    model: Model,
    numbers: Sequence[str],
    versions: Sequence[Version],
    measured: Sequence[Measured],
    test: HeldOutTest,
    decided: Decided,
    settings: GateSettings,
) -> dict[str, Any]:
    told = [
        {
            "version": number,
            "run": version.run,
            "architecture": version.architecture,
            "dataset_version": version.dataset_version,
            "file": one.file.name,
            "sha256": one.file.sha256,
            "bytes": one.file.bytes,
            "milliseconds": one.milliseconds,
            "AP50": scores["AP50"],
            "AP": scores["AP"],
            "per_class": {name: score["AP50"] for name, score in scores["per_class"].items()},
        }
        for number, version, one, scores in zip(numbers, versions, measured, decided.scores, strict=False)
        if scores is not None
    ]
    difference = decided.difference
    return {
        "format_version": FORMAT,
        "decision": decided.verdict,
        "reason": decided.reason,
        "models": model.models,
        "model": model.name,
        "challenger": told[0],
        "champion": told[1] if len(told) > 1 else None,
        "test": {"split": test.split, "pictures": len(test.names), "objects": test.objects},
        "difference": None
        if difference is None
        else {**asdict(difference), "confidence": settings.confidence, "resamples": RESAMPLES},
        "pictures_needed": decided.pictures_needed,
        "classes": list(decided.classes),
        "new_classes": list(decided.new_classes),
        "lost_classes": list(decided.lost_classes),
        "broken": list(decided.broken),
        "settings": settings.model_dump(mode="json"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _keep(model: Model, compared: Compared, split: str) -> None:
    """Writes the decision into the registry."""
    name = decision_name(compared.challenger, compared.champion, split)
    text = json.dumps(compared.record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    model.store.write(name, text.encode())
