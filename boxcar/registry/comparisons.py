"""Which versions were compared, as `boxcar show` prints it with a file's origin."""

import json

from boxcar.errors import BoxcarError
from boxcar.registry.model import DECISIONS, check_format
from boxcar.registry.versions import VERSION
from boxcar.run.layout import DECISION
from boxcar.storage import Missing, bucket_location, local_path, open_store

_LEVELS = 5  # from a run, or a version, down to the deepest file of an export


def describe_comparisons(uri: str) -> list[str]:
    """The comparisons that a file's model took part in, a line each; of one that cannot be understood, that.

    Args:
        uri: an exported file or folder in a run, or in a version of a registry.
    """
    place = uri if bucket_location(uri) else str(local_path(uri).absolute())
    for _ in range(_LEVELS):
        place, _, number = place.rpartition("/")
        if place.endswith(("/", ":")) or not place:
            break
        if (decision := _read(place, DECISION)) is not None:
            return [_line(f"{place}/{DECISION}", decision)]
        if (_read(f"{place}/{number}", VERSION)) is not None:
            found = {name: _read(place, name) for name in _decisions(place, number)}
            return [_line(f"{place}/{name}", decision) for name, decision in found.items() if decision is not None] or [
                "compared            not yet compared"
            ]
    return []


def _decisions(model: str, number: str) -> list[str]:
    """Names of the decisions that a version took part in."""
    names = [entry.name for entry in open_store(model).entries(DECISIONS)]
    return [name for name in names if number in name.rpartition("/")[2].split("-")[:2]]


def _read(place: str, name: str) -> bytes | None:
    try:
        return open_store(place).read(name)
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
        return f"compared            unknown: {where} cannot be understood."
