"""The command `boxcar models`: a model's versions, and which of them is the champion."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxcar.cli.command import command, make_app
from boxcar.cli.options import of_gate, split_pairs

if TYPE_CHECKING:
    from boxcar.registry import GateSettings, Model

app = make_app("Keep versions of models, and decide which one is the champion.")

Models = Annotated[str, typer.Option(help="The model registry: a folder of models.", metavar="URI")]
Name = Annotated[str, typer.Option("--model", help="The model's name.", metavar="NAME")]
ChosenVersion = Annotated[str, typer.Option(help="A version's number or alias: champion, previous.", metavar="VERSION")]


@command(app, "list", step="models list")
def list_models(
    models: Models,
    name: Annotated[str | None, typer.Option("--model", help="List the versions of this model.", metavar="NAME")] = None,
) -> None:
    """List the models in a model registry, or the versions of one model."""
    from boxcar.registry.tables import print_models, print_versions

    if name is None:
        print_models(models)
    else:
        print_versions(_model(models, name))


@command(app, step="models show")
def show(models: Models, name: Name, version: ChosenVersion = "champion") -> None:
    """Show a version, where it comes from, and the history of its model's champion."""
    from boxcar.registry import resolve
    from boxcar.registry.tables import print_version

    model = _model(models, name)
    print_version(model, resolve(model, version))


@command(app, step="models add")
def add(
    models: Models,
    name: Name,
    run: Annotated[str, typer.Option(help="A finished run's folder.", metavar="URI")],
) -> None:
    """Add a finished run as a version of a model. The first version's test images become the model's held-out test split."""
    from boxcar.registry import add_version, read_aliases, read_held_out, shortage

    model = _model(models, name)
    number = add_version(model, run)
    print(f"{run} is version {number} of {name}. `boxcar models promote` compares it with the champion.")
    if (few := shortage(read_held_out(model, read_aliases(model).test).with_objects)) is not None:
        print(few)


@command(app, step="models compare", settings=of_gate())
def compare(
    models: Models,
    name: Name,
    version: ChosenVersion,
    given: dict[str, Any],
    champion: Annotated[
        str, typer.Option("--with", help="The version to compare with, or an alias.", metavar="VERSION")
    ] = "champion",
) -> None:
    """Compare a version with the champion as the gate does, without changing anything."""
    from boxcar.registry import resolve
    from boxcar.registry.gate import compare as compare_versions
    from boxcar.registry.tables import print_compared

    settings = _settings(given)
    model = _model(models, name)
    decision = compare_versions(model, resolve(model, version), resolve(model, champion), settings)
    print_compared(decision)
    print(f"The gate would say {decision['decision']}: {decision['reason']}")


@command(app, step="models promote", settings=of_gate())
def promote(
    models: Models,
    name: Name,
    version: ChosenVersion,
    given: dict[str, Any],
    without_gate: Annotated[
        str | None,
        typer.Option(help="Make the version the champion without a comparison, and record this reason.", metavar="REASON"),
    ] = None,
) -> None:
    """Make a version the champion if it is not worse. The exit code is 0 even if the champion stays."""
    from boxcar.registry import promote_regardless, read_aliases, resolve
    from boxcar.registry.tables import print_compared
    from boxcar.retraining.in_process import decide, restore

    settings = _settings(given)
    model = _model(models, name)
    number = resolve(model, version)
    if read_aliases(model).champion == number:  # a repeat succeeds
        done = "the decision was added to its run" if restore(model, number) else "nothing was done"
        print(f"Version {number} is already the champion of {name}; {done}.")
        return
    if without_gate is not None:
        promote_regardless(model, number, without_gate)
    else:
        decision = decide(model, number, settings)
        print_compared(decision)
        if decision["decision"] != "promoted":
            champion = decision["champion"]
            stays = "There is still no champion" if champion is None else f"Version {champion['version']} stays the champion"
            print(f"{stays} of {name}.")
            return
    print(f"Version {number} is now the champion of {name}. `boxcar models rollback` undoes this.")


@command(app, step="models rollback")
def rollback(models: Models, name: Name) -> None:
    """Make the previous champion the champion again. Repeat the command to go further back."""
    from boxcar.registry import rollback as go_back

    state = go_back(_model(models, name))
    print(f"Version {state.champion} is the champion of {name} again.")


@command(app, step="models retest", settings=of_gate("format", "threads"))
def retest(
    models: Models,
    name: Name,
    records: Annotated[str, typer.Option(help="Records whose test split is used.", metavar="URI")],
    given: dict[str, Any],
) -> None:
    """Give a model a new held-out test split, and score the champion on it."""
    from boxcar.registry.retest import retest as new_test
    from boxcar.registry.tables import print_retested

    model = _model(models, name)
    print_retested(model, new_test(model, records, _settings(given)))


def _model(models: str, name: str) -> "Model":
    from boxcar.registry import Model

    return Model(models, name)


def _settings(given: dict[str, Any]) -> "GateSettings":
    from boxcar.config.settings import validate
    from boxcar.registry import GateSettings

    floors = split_pairs("--class-floor", given.pop("class_floors", ()), at_last=True)
    return validate(GateSettings, {**given, "class_floors": floors})
