"""The output of `boxcar models`."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from boxcar.errors import BoxcarError
from boxcar.registry.aliases import read_aliases, read_models
from boxcar.registry.held_out import gone, held_out_list, read_held_out, shortage
from boxcar.registry.model import Model
from boxcar.registry.retest import Retested
from boxcar.registry.versions import fetch_version, list_versions, read_version
from boxcar.run.layout import LABEL_MAP, RECORDS

_SHORT = 12  # digits of a hash that are shown
_PIPE_WIDTH = 300


def print_models(models: str) -> None:
    """Prints every model of a registry, one per line.

    Raises:
        BoxcarError: 65 if the state of one cannot be read, after all others were printed.
    """
    rows, trouble = [], None
    for model, state in read_models(models):
        numbers = model.numbers()
        versions = str(len(numbers))
        if isinstance(state, BoxcarError):
            trouble = trouble or state
            rows.append((model.name, "not known", versions, "", state.what))
            continue
        last = f"{state.history[-1].action}, {state.history[-1].at}" if state.history else "not known"
        if state.history and state.champion is not None and state.champion not in numbers:
            last += f"; version {state.champion} is gone"
        rows.append((model.name, state.champion or "none", versions, state.test, last))
    _print(("model", "champion", "versions", "test split", "last change"), rows, right=("champion", "versions"))
    if not rows:
        _say(f"There is no model in {models} yet. `boxcar models add` creates one from a run.")
    if trouble is not None:
        raise trouble


def print_versions(model: Model) -> None:
    """Prints every version of a model, one per line."""
    state, listed = read_aliases(model), list_versions(model)
    named = {number: alias for alias, number in state.aliases.items()}
    rows = []
    for number, version, _ in listed:
        if version is None:
            rows.append((number, f"{named.get(number, '')} not usable".strip(), "", "", "", "", ""))
            continue
        scores = (_score(version.AP50), _score(version.AP))
        data = (version.dataset_version or "")[:_SHORT]
        rows.append((number, named.get(number, ""), *scores, version.architecture, data, version.run))
    _print(("version", "alias", "AP50", "AP", "architecture", "data", "run"), rows, right=("version", "AP50", "AP"))
    _say(
        "Each score is that of a run on its own test images. `boxcar models compare` measures two versions on the same images."
    )
    for number, version, trouble in listed:
        if version is None:
            _say(f"Version {number} is partly uploaded or damaged ({trouble}); add its run again to complete it.")
    there = model.numbers()
    for alias, number in state.aliases.items():
        if number not in there:
            _say(f"The {alias}, version {number}, is gone. `boxcar models show --version {alias}` says what to do.")
    if (lost := gone(model, state.test)) is not None:
        _say(lost)


def print_version(model: Model, number: str) -> None:
    """Prints a version and the history of its model.

    Raises:
        BoxcarError: as `fetch_version`; 65 if the model's test split is missing or was changed, after all else was printed.
    """
    state, version = read_aliases(model), read_version(model, number)
    fetch_version(model, number)
    named = [alias for alias, of in state.aliases.items() if of == number]
    initial = version.initial_checkpoint
    rows = {
        "version": f"{number} of {model.name}" + (f", the {' and the '.join(named)}" if named else ""),
        "files": f"{model.uri}/{number}/export",
        "run": version.run,
        "architecture": f"{version.architecture}, {version.image_size} px",
        "labels": ", ".join(f"{label} {name}" for label, name in version.labels.items()),
        "AP50, AP": f"{_score(version.AP50)}, {_score(version.AP)}",
        "data version": version.dataset_version,
        "test split": f"{version.frozen_test} when it was added, {state.test} now",
        "checkpoint": f"step {version.checkpoint_step}, sha256 {version.checkpoint_sha256}",
        "initial checkpoint": None if initial is None else f"{initial.source} (sha256 {initial.sha256})",
        "trained from": None if version.ancestor is None else f"version {version.ancestor}",
        "code version": version.code_version,
        "code revision": version.code_revision,
        "container image": version.image,
        "pipeline version": version.pipeline_version,
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        _say(f"{name:<{width}}  {value or 'none or unknown'}")
    _say("")
    history = [(change.at, change.action, change.champion or "none", change.test, change.reason) for change in state.history]
    _print(("when", "what", "champion", "test split", "why"), history, right=("champion",))
    _say(f"\nRecords for the next version: --frozen-test {held_out_list(model, state.test)}")
    if state.champion is not None:
        _say(f"                              --label-map {model.uri}/{state.champion}/{RECORDS}/{LABEL_MAP}")
    read_held_out(model, state.test)


def print_compared(decision: dict[str, Any]) -> None:
    """Prints two versions side by side."""
    both: Sequence[dict[str, Any]] = [one for one in (decision["challenger"], decision["champion"]) if one is not None]
    heads = ("", *(f"version {one['version']}" for one in both))
    rows = [
        ("AP50", *(_score(one["AP50"]) for one in both)),
        ("AP", *(_score(one["AP"]) for one in both)),
        *((f"AP50 {name}", *(_score(one["per_class"].get(name)) for one in both)) for name in decision["classes"]),
        ("per image", *(f"{one['milliseconds']:.1f} ms" for one in both)),
        ("size", *(f"{one['bytes'] / 1e6:.1f} MB" for one in both)),
        ("architecture", *(str(one["architecture"]) for one in both)),
    ]
    _print(heads, rows, right=heads[1:])
    test = decision["test"]
    _say(f"On the {test['pictures']} images ({test['objects']} objects) of the held-out test split {test['split']}.")


def print_retested(model: Model, retested: Retested) -> None:
    """Prints a new test split and the champion's scores on it."""
    test, champion, scores = retested
    _say(f"{model.name} is now compared on the test split {test.split}: {len(test.names)} images, {test.objects} objects.")
    if scores is not None:
        _say(f"AP50 of its champion, version {champion}, is {_score(scores['AP50'])}, AP {_score(scores['AP'])}.")
    if (few := shortage(test.with_objects)) is not None:
        _say(few)
    _say(f"Records for the next version: --frozen-test {held_out_list(model, test.split)}")


def _print(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    # A pipe has no width, and its reader expects each row on one line.
    Console(emoji=False, highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _say(line: str) -> None:
    Console(emoji=False, highlight=False, soft_wrap=True).print(line, markup=False)


def _score(value: float | None) -> str:
    return "no objects" if value is None else f"{value:.3f}"
