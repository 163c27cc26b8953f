"""How versions became the champion, by the model's history and decisions, and that the run of each has its decision."""

import json
from collections.abc import Mapping
from typing import Any

from boxcar.registry.aliases import Aliases, Change, read_aliases
from boxcar.registry.model import DECISIONS, Model
from boxcar.registry.versions import list_versions, read_version
from boxcar.run.layout import DECISION, EXPORT
from boxcar.storage import Missing, make_folder, replace_json
from boxcar.sync.mirror import Mirror


def find_version(model: Model, run: str) -> str | None:
    """The number of the finished version that came of a run (URI); None where there is none.

    Raises:
        BoxcarError: 65 where a newer Boxcar wrote a version, 69 where the registry cannot be reached.
    """
    place = Mirror(run)
    uri = place.uri if place.remote else str(place.folder.absolute())
    return next((one.number for one in list_versions(model) if one.version is not None and one.version.run == uri), None)


def last_promotion(state: Aliases, number: str) -> Change | None:
    """The last change that made a version the champion; None where none did."""
    changes = (change for change in reversed(state.history) if (change.action, change.champion) == ("promote", number))
    return next(changes, None)


def tell_run_again(model: Model, number: str) -> bool:
    """Writes the decision by which the gate made a version the champion into its run, if the gate was killed before it did.

    Returns:
        Whether that was missing. It is not where the run is gone, or where a person made it the champion without the gate.

    Raises:
        BoxcarError: 64, 65 as `read_version` and `read_aliases`; 69 where the registry or the run cannot be reached.
    """
    run = Mirror(read_version(model, number).run)
    record = _promoting_decision(model, number)
    if record is None or {DECISION, EXPORT} & run.names() != {EXPORT}:
        return False
    tell_run(run, record)
    return True


def tell_run(run: Mirror, record: Mapping[str, Any]) -> None:
    """Writes a decision into the challenger's run, where that is still there."""
    if EXPORT in run.names():
        replace_json(make_folder(run.folder) / DECISION, record)
        run.send_file(DECISION)


def decision_name(challenger: str, champion: str | None, split: str) -> str:
    """The name in a model's folder of the decision on a version that was compared with a champion on a test split."""
    return f"{DECISIONS}/{challenger}-{champion or 'none'}-{split}.json"


def _promoting_decision(model: Model, number: str) -> dict[str, Any] | None:
    state = read_aliases(model)
    change = last_promotion(state, number)
    if change is None:
        return None
    before = state.history[state.history.index(change) - 1]
    try:
        found = json.loads(model.store.read(decision_name(number, before.champion, change.test)))
    except Missing:
        return None
    by_the_gate = (found["decision"], found["reason"]) == ("promoted", change.reason)
    return found if by_the_gate else None
