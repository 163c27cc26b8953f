"""The gate's decisions as files: in the model's folder, and as `decision.json` in the run of each challenger."""

import json
from collections.abc import Mapping
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.aliases import Aliases, Change, read_aliases
from boxcar.registry.model import DECISIONS, Model, check_format
from boxcar.registry.versions import VERSION, read_version
from boxcar.run.layout import DECISION, EXPORT
from boxcar.storage import Missing, Store, make_folder, open_store, replace_json
from boxcar.storage.store_factory import enclosing_folders
from boxcar.sync.mirror import Mirror


def decision_name(challenger: str, champion: str | None, split: str) -> str:
    """The name, in the model's folder, of the decision on a challenger, a champion, and a held-out test split."""
    return f"{DECISIONS}/{challenger}-{champion or 'none'}-{split}.json"


def write_decision(run: Mirror, record: Mapping[str, Any]) -> None:
    """Writes a decision into the challenger's run if the run still exists."""
    if EXPORT in run.names():
        replace_json(make_folder(run.folder) / DECISION, record)
        run.send_file(DECISION)


def last_promotion(state: Aliases, number: str) -> Change | None:
    """The last change that made a version the champion; None if there was none."""
    changes = (change for change in reversed(state.history) if (change.action, change.champion) == ("promote", number))
    return next(changes, None)


def restore_decision(model: Model, number: str) -> bool:
    """Writes the decision that promoted a version into its run if the gate was killed before it did.

    Returns:
        Whether it was missing. False if the run is gone, or if a person promoted the version without the gate.

    Raises:
        BoxcarError: 64, 65 as `read_version` and `read_aliases`; 65 if the decision is not valid; 69 if the registry or the run
            cannot be reached.
    """
    run = Mirror(read_version(model, number).run)
    state = read_aliases(model)
    promotion = last_promotion(state, number)
    if promotion is None or {DECISION, EXPORT} & run.names() != {EXPORT}:
        return False
    before = state.history[state.history.index(promotion) - 1].champion
    name = decision_name(number, before, promotion.test)
    try:
        record = json.loads(model.store.read(name))
        if (record["decision"], record["reason"]) != ("promoted", promotion.reason):
            return False
    except Missing:
        return False
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{model.uri}/{name} is not valid."
        raise BoxcarError(ExitCode.DATA, what, "Restore it from a backup, or remove it.") from error
    write_decision(run, record)
    return True


def describe_comparisons(uri: str) -> list[str]:
    """The comparisons that an exported file took part in, one line each, for `boxcar show`.

    Args:
        uri: an exported file or folder in a run, or in a version in a model registry.
    """
    for folder in enclosing_folders(uri):
        if (decision := _read(folder, DECISION)) is not None:
            return [_line(f"{folder.uri}/{DECISION}", decision)]
        if _read(folder, VERSION) is not None:
            model, _, number = folder.uri.rpartition("/")
            names = [entry.name for entry in open_store(model).entries(DECISIONS)]
            names = [name for name in names if number in name.rpartition("/")[2].split("-")[:2]]
            found = [(f"{model}/{name}", _read(open_store(model), name)) for name in names]
            return [_line(place, decision) for place, decision in found if decision is not None] or [
                "compared            not yet compared"
            ]
    return []


def _read(folder: Store, name: str) -> bytes | None:
    try:
        return folder.read(name)
    except Missing:
        return None


def _line(where: str, content: bytes) -> str:
    try:
        decision = json.loads(content)
        check_format(decision.get("format_version"), where)
        challenger, champion = decision["challenger"], decision["champion"]
        who = f"version {challenger['version']} of {decision['model']}"
        against = "no champion" if champion is None else f"version {champion['version']} ({champion['run']})"
        on = f"{decision['test']['pictures']} images of test split {decision['test']['split']}"
        return f"compared            {who} with {against}, on {on}: {decision['decision']}. {decision['reason']}"
    except BoxcarError as error:
        return f"compared            unknown: {error.what}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"compared            unknown: {where} is not valid."
