"""What a model registry still needs. Asked before runs or versions are removed."""

import json
from dataclasses import dataclass

from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.aliases import read_models
from boxcar.registry.model import RETRAININGS, Model, check_format
from boxcar.registry.versions import VERSION, list_versions
from boxcar.storage import Missing


@dataclass(frozen=True)
class References:
    """What must stay.

    Attributes:
        runs: URIs of the runs that versions were made from, partly uploaded ones too, and of the retrainings that may be
            resumed.
        unknown: (model, number) of the partly uploaded versions that do not tell their run; it may be any.
        versions: (model, number) of all that are or were champions, which a rollback may return to, and of those whose weights
            they came from.
        tests: (model, split) of the test splits that count.
    """

    runs: frozenset[str]
    unknown: frozenset[tuple[str, str]]
    versions: frozenset[tuple[str, str]]
    tests: frozenset[tuple[str, str]]


def references(models: str) -> References:
    """What the models of a registry refer to.

    Raises:
        BoxcarError: 65 where a model's file cannot be understood: what cannot be read may refer to anything.
    """
    runs: set[str] = set()
    unknown: set[tuple[str, str]] = set()
    versions: set[tuple[str, str]] = set()
    tests: set[tuple[str, str]] = set()
    for model, state in read_models(models):
        name = model.name
        tests.add((name, state.test))
        listed = list_versions(model)
        found = {one.number: one.version for one in listed if one.version is not None}
        runs |= {version.run for version in found.values()} | _open_retrainings(model)
        for number in [one.number for one in listed if one.version is None]:
            if (run := _run_of(model, number)) is None:
                unknown.add((name, number))
            else:
                runs.add(run)
        for number in state.champions:
            needed: str | None = number
            while needed is not None and (name, needed) not in versions:  # a file that was changed may lead in a circle
                versions.add((name, needed))
                needed = found[needed].ancestor if needed in found else None
    return References(frozenset(runs), frozenset(unknown), frozenset(versions), frozenset(tests))


def _run_of(model: Model, number: str) -> str | None:
    """The run of a partly uploaded version, as its `version.json` has it; None if that is missing or cannot be read."""
    try:
        run = json.loads(model.store.read(f"{number}/{VERSION}"))["run"]
    except (Missing, ValueError, KeyError, TypeError):
        return None
    return run if isinstance(run, str) else None


def _open_retrainings(model: Model) -> set[str]:
    """Runs of the retrainings that are at work, were killed or failed: the next retraining on the same images resumes them."""
    store = model.store
    runs = set()
    for name in [entry.name for entry in store.entries(RETRAININGS) if entry.name.endswith(".json")]:
        where = f"{model.uri}/{name}"
        try:
            found = json.loads(store.read(name))
            check_format(found.get("format_version"), where)
            run, outcome = found["run"], found.get("outcome")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{where} cannot be read. It might refer to any run."
            raise BoxcarError(
                ExitCode.DATA, what, "Remove it. This loses only the GPU hours and the outcome of that retraining."
            ) from error
        if outcome in (None, "failed"):
            runs.add(str(run))
    return runs
