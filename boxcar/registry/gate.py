"""The gate: compares a challenger with the champion on the held-out test split, and promotes it if it is not worse."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from boxcar.config.gate_settings import GateSettings
from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.aliases import Aliases, change, read_aliases
from boxcar.registry.decision import Measured, decide
from boxcar.registry.decision_files import decision_name, write_decision
from boxcar.registry.held_out import read_held_out
from boxcar.registry.measure import ShippedFile, measure_versions
from boxcar.registry.model import FORMAT, Model
from boxcar.registry.versions import Version, read_version
from boxcar.scoring.bootstrap import RESAMPLES
from boxcar.storage import Changed
from boxcar.sync.mirror import Mirror


def gate(model: Model, challenger: str, settings: GateSettings) -> dict[str, Any]:
    """Compares a version with the champion, and makes it the champion if it is not worse.

    The decision is written into the model's `decisions/` before the champion changes, and into the run's `decision.json`
    after that.

    Args:
        model: the model.
        challenger: number of the version.
        settings: the gate's requirements.

    Returns:
        The content of `decision.json`.

    Raises:
        Changed: 69 if another version became the champion meanwhile.
        BoxcarError: as `compare`, and 64 if the version is already the champion; 69 if the registry fails.
    """
    state = read_aliases(model)
    if state.champion == challenger:
        what = f"Version {challenger} of {model.name} is the champion."
        do = "Give another version, or restore the previous champion with `boxcar models rollback`."
        raise BoxcarError(ExitCode.USAGE, what, do)
    decision = compare(model, challenger, state.champion, settings)
    text = json.dumps(decision, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    model.store.write(decision_name(challenger, state.champion, state.test), text.encode())
    if decision["decision"] == "promoted":

        def next_state(now: Aliases) -> Aliases:
            if (now.champion, now.test) != (state.champion, state.test):
                raise Changed(f"The champion of {model.name}")
            return now.promoted(challenger, decision["reason"])

        change(model, next_state)
    write_decision(Mirror(decision["challenger"]["run"]), decision)
    print(f"{decision['decision']}: {decision['reason']}", file=sys.stderr, flush=True)  # noqa: T201
    return decision


def compare(model: Model, challenger: str, champion: str | None, settings: GateSettings) -> dict[str, Any]:
    """Compares two versions on the model's held-out test split, and changes nothing.

    Args:
        model: the model.
        challenger, champion: numbers of the versions; None if there is no champion.
        settings: the gate's requirements.

    Returns:
        What `gate` would write as `decision.json`.

    Raises:
        BoxcarError: as `measure_versions`; 64 if both are the same version; 65 if an id means another class in one of them.
    """
    if challenger == champion:
        what = f"Version {challenger} of {model.name} cannot be compared with itself."
        raise BoxcarError(ExitCode.USAGE, what, "Give two versions. `boxcar models list` shows them.")
    numbers = [challenger] if champion is None else [challenger, champion]
    versions = [read_version(model, number) for number in numbers]
    test = read_held_out(model, read_aliases(model).test)
    truths, measured = measure_versions(model, numbers, test, settings, "Comparing on the test images")
    ours, theirs = measured[0][1], measured[1][1] if champion is not None else None
    decided = decide(truths, test.labels, ours, theirs, settings, unchanged=_is_unchanged(*versions))
    contenders = [
        _contender(number, version, file, measurement, scores)
        for number, version, (file, measurement), scores in zip(numbers, versions, measured, decided.scores, strict=False)
        if scores is not None
    ]
    difference = decided.difference
    return {
        "format_version": FORMAT,
        "decision": decided.verdict,
        "reason": decided.reason,
        "models": model.models,
        "model": model.name,
        "challenger": contenders[0],
        "champion": contenders[1] if champion is not None else None,
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


def _is_unchanged(challenger: Version, champion: Version | None = None) -> bool:
    """Whether the chosen checkpoint of a training that started from the champion is its start."""
    initial = challenger.initial_checkpoint
    return (
        champion is not None
        and initial is not None
        and challenger.checkpoint_step == 0
        and challenger.labels == champion.labels
        and initial.sha256 in (champion.weights_sha256, champion.checkpoint_sha256)
    )


def _contender(number: str, version: Version, file: ShippedFile, measured: Measured, scores: dict[str, Any]) -> dict[str, Any]:
    """What a decision says about one of the two versions."""
    return {
        "version": number,
        "run": version.run,
        "architecture": version.architecture,
        "dataset_version": version.dataset_version,
        "file": file.name,
        "sha256": file.sha256,
        "bytes": file.bytes,
        "milliseconds": measured.milliseconds,
        "AP50": scores["AP50"],
        "AP": scores["AP"],
        "per_class": {name: score["AP50"] for name, score in scores["per_class"].items()},
    }
