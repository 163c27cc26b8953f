"""A registry as a person reads it."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.aliases import Aliases, NoModelError, read_aliases
from boxcar.registry.gate import Compared
from boxcar.registry.held_out import held_out_list
from boxcar.registry.model import Model, model_names
from boxcar.registry.retest import Retested
from boxcar.registry.versions import Listed, list_versions, read_version
from boxcar.run.layout import LABEL_MAP, RECORDS

_SHORT = 12  # digits of a hash that are shown
_PIPE_WIDTH = 300


def print_models(models: str) -> None:
    """Every model of a registry, a line each.

    Raises:
        BoxcarError: 65 where the state of one cannot be understood, after all others were shown.
    """
    rows, troubles = [], list[BoxcarError]()
    for model in [Model(models, name) for name in model_names(models)]:
        versions = str(len(model.numbers()))
        try:
            state = read_aliases(model)
        except NoModelError:
            continue  # another folder
        except BoxcarError as error:
            if error.code != ExitCode.DATA:
                raise
            troubles.append(error)
            rows.append((model.name, "not known", versions, "", error.what))
            continue
        last = f"{state.history[-1].action}, {state.history[-1].at}" if state.history else "not known"
        rows.append((model.name, state.champion or "none", versions, state.test, last))
    _print(("model", "champion", "versions", "test split", "last change"), rows, right=("champion", "versions"))
    if not rows:
        _say(f"There is no model in {models} yet. `boxcar models add` creates one from a run.")
    if troubles:
        raise troubles[0]


def print_versions(model: Model) -> None:
    """Every version of a model, a line each, partly uploaded ones too."""
    state, listed = read_aliases(model), list_versions(model)
    named = {number: alias for alias, number in state.aliases.items()}
    rows = []
    for one in listed:
        if one.version is None:
            rows.append((one.number, "partly uploaded", "", "", "", "", ""))
            continue
        version = one.version
        rows.append(
            (
                one.number,
                named.get(one.number, ""),
                _number(version.AP50),
                _number(version.AP),
                version.architecture,
                (version.dataset_version or "")[:_SHORT],
                version.run,
            )
        )
    _print(("version", "alias", "AP50", "AP", "architecture", "data", "run"), rows, right=("version", "AP50", "AP"))
    _say(
        "Each score is that of a run on its own test images. `boxcar models compare` measures two versions on the same images."
    )
    _say_unfinished(listed)


def print_version(model: Model, number: str) -> None:
    """A version, and how its model came to its champion."""
    state, version = read_aliases(model), read_version(model, number)
    named = [alias for alias, of in state.aliases.items() if of == number]
    initial = version.initial_checkpoint
    rows = {
        "version": f"{number} of {model.name}" + (f", the {' and the '.join(named)}" if named else ""),
        "files": f"{model.uri}/{number}/export",
        "run": version.run,
        "architecture": f"{version.architecture}, {version.image_size} px",
        "labels": ", ".join(f"{label} {name}" for label, name in version.labels.items()),
        "AP50, AP": f"{_number(version.AP50)}, {_number(version.AP)}",
        "data version": version.dataset_version,
        "test split": f"{version.frozen_test} when it was added, {state.test} now",
        "checkpoint": f"step {version.checkpoint_step}, sha256 {version.checkpoint_sha256}",
        "initial checkpoint": None if initial is None else f"{initial.source} (sha256 {initial.sha256})",
        "trained from": None if version.ancestor is None else f"version {version.ancestor}",
        "code version": version.code_version,
        "code revision": version.code_revision,
        "image": version.image,
        "pipeline version": version.pipeline_version,
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        _say(f"{name:<{width}}  {value or 'none or unknown'}")
    _say("")
    print_history(state)
    _say(f"\nRecords for the next version: --frozen-test {held_out_list(model, state.test)}")
    if state.champion is not None:
        _say(f"                              --label-map {model.uri}/{state.champion}/{RECORDS}/{LABEL_MAP}")


def print_history(state: Aliases) -> None:
    """What has been changed in a model, oldest first."""
    rows = [(change.at, change.action, change.champion or "none", change.test, change.reason) for change in state.history]
    _print(("when", "what", "champion", "test split", "why"), rows, right=("champion",))


def print_compared(compared: Compared) -> None:
    """Two versions side by side; what the gate says of them is for its log."""
    record = compared.record
    both: Sequence[dict[str, Any]] = [one for one in (record["challenger"], record["champion"]) if one is not None]
    heads = ("", *(f"version {one['version']}" for one in both))
    rows = [
        ("AP50", *(_number(one["AP50"]) for one in both)),
        ("AP", *(_number(one["AP"]) for one in both)),
        *((f"AP50 {name}", *(_number(one["per_class"].get(name)) for one in both)) for name in record["classes"]),
        ("an image", *(f"{one['milliseconds']:.1f} ms" for one in both)),
        ("size", *(f"{one['bytes'] / 1e6:.1f} MB" for one in both)),
        ("architecture", *(str(one["architecture"]) for one in both)),
    ]
    _print(heads, rows, right=heads[1:])
    test = record["test"]
    _say(f"On the {test['pictures']} images ({test['objects']} objects) of the held-out test split {test['split']}.")


def print_retested(model: Model, retested: Retested) -> None:
    """A new test split, and the champion on it."""
    test = retested.test
    _say(f"{model.name} is now compared on the test split {test.split}: {len(test.names)} images, {test.objects} objects.")
    if retested.scores is not None:
        scores = retested.scores
        _say(f"AP50 of its champion, version {retested.champion}, is {_number(scores['AP50'])}, AP {_number(scores['AP'])}.")
    _say(f"Records for the next version: --frozen-test {held_out_list(model, test.split)}")


def _say_unfinished(listed: Sequence[Listed]) -> None:
    for one in listed:
        if one.version is None:
            _say(f"Version {one.number} is partly uploaded ({one.trouble}); add its run again to complete it.")


def _print(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    # A pipe has no width: what reads it wants each row in one line.
    Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _say(line: str) -> None:
    Console(highlight=False, soft_wrap=True).print(line, markup=False)


def _number(value: float | None) -> str:
    return "no objects" if value is None else f"{value:.3f}"
