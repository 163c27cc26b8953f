"""The runs that a model registry needs. `boxcar runs prune` keeps them."""

import json
from typing import NamedTuple

from boxcar.errors import BoxcarError
from boxcar.registry.aliases import read_models
from boxcar.registry.ledger import read_entries
from boxcar.registry.model import Model
from boxcar.registry.versions import VERSION, list_versions
from boxcar.storage import Missing


class References(NamedTuple):
    """What a registry refers to.

    Attributes:
        models: the names of its models.
        runs: URIs of the runs that versions were made from, incomplete versions included, and of retrainings that may be
            resumed.
        unknown: (model, number) of the incomplete versions whose run cannot be read. It may be any run.
    """

    models: set[str]
    runs: set[str]
    unknown: set[tuple[str, str]]


def references(models: str) -> References:
    """What the models of a registry refer to.

    Raises:
        BoxcarError: 65 if a file of a model cannot be read, because it may refer to any run.
    """
    found = References(set(), set(), set())
    for model, state in read_models(models):
        if isinstance(state, BoxcarError):
            raise state
        found.models.add(model.name)
        found.runs.update(entry.run for entry in read_entries(model.store) if not entry.is_over)
        for listed in list_versions(model):
            run = listed.version.run if listed.version is not None else _run_of_incomplete(model, listed.number)
            if run is None:
                found.unknown.add((model.name, listed.number))
            else:
                found.runs.add(run)
    return found


def _run_of_incomplete(model: Model, number: str) -> str | None:
    """The run of an incomplete version, from its `version.json`; None if that is missing or cannot be read."""
    try:
        run = json.loads(model.store.read(f"{number}/{VERSION}"))["run"]
    except (Missing, ValueError, KeyError, TypeError):
        return None
    return run if isinstance(run, str) else None
