"""What a registry still needs: whoever clears runs or versions away asks here first."""

from dataclasses import dataclass

from boxcar.registry.aliases import read_models
from boxcar.registry.versions import list_versions


@dataclass(frozen=True)
class References:
    """What must stay.

    Attributes:
        runs: URIs of the runs that versions were made from.
        versions: (model, number) of all that are or were champions, which a rollback may return to, and of those whose weights
            they came from.
        tests: (model, split) of the test splits that count.
    """

    runs: frozenset[str]
    versions: frozenset[tuple[str, str]]
    tests: frozenset[tuple[str, str]]


def references(models: str) -> References:
    """What the models of a registry refer to.

    Raises:
        BoxcarError: 65 where a model's file cannot be understood: what cannot be read may refer to anything.
    """
    runs: set[str] = set()
    versions: set[tuple[str, str]] = set()
    tests: set[tuple[str, str]] = set()
    for model, state in read_models(models):
        name = model.name
        tests.add((name, state.test))
        found = {listed.number: listed.version for listed in list_versions(model) if listed.version is not None}
        runs |= {version.run for version in found.values()}
        for number in state.champions:
            needed: str | None = number
            while needed is not None:
                versions.add((name, needed))
                needed = found[needed].ancestor if needed in found else None
    return References(frozenset(runs), frozenset(versions), frozenset(tests))
