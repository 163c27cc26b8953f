"""The command `boxcar models`: a model's versions, its champion, and how one becomes it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxcar.cli.options import GATE, split_pairs, takes_settings
from boxcar.errors import BoxcarError, ExitCode
from boxcar.process import do_work

if TYPE_CHECKING:
    from boxcar.registry import GateSettings, Model

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Models = Annotated[str, typer.Option(help="The registry: a folder of models.", metavar="URI")]
Name = Annotated[str, typer.Option("--model", help="The model's name.", metavar="NAME")]
ChosenVersion = Annotated[str, typer.Option(help="A version's number, or an alias: champion, previous.", metavar="VERSION")]


@app.command("list")
def list_models(
    models: Models,
    name: Annotated[str | None, typer.Option("--model", help="One model, version by version.", metavar="NAME")] = None,
) -> None:
    """List the models of a registry, or the versions of one."""

    def work() -> None:
        from boxcar.registry.tables import print_models, print_versions

        if name is None:
            print_models(models)
        else:
            print_versions(_model(models, name))

    do_work("models list", work)


@app.command()
def show(models: Models, name: Name, version: ChosenVersion = "champion") -> None:
    """Show a version, where it comes from, and how its model came to its champion."""

    def work() -> None:
        from boxcar.registry import resolve
        from boxcar.registry.tables import print_version

        model = _model(models, name)
        print_version(model, resolve(model, version))

    do_work("models show", work)


@app.command()
def add(
    models: Models,
    name: Name,
    run: Annotated[str, typer.Option(help="A finished run's folder.", metavar="URI")],
) -> None:
    """Make what a run came to a version of a model; the first one's test pictures become the model's frozen test split."""

    def work() -> None:
        from boxcar.registry import add_version

        number = add_version(_model(models, name), run)
        print(f"{run} is version {number} of {name}. `boxcar models promote` compares it with the champion.")

    do_work("models add", work)


@app.command()
@takes_settings(*GATE, of=GATE)
def compare(
    models: Models,
    name: Name,
    version: ChosenVersion,
    champion: Annotated[
        str, typer.Option("--with", help="The version that it is compared with, or an alias.", metavar="VERSION")
    ] = "champion",
    given: dict[str, Any] = ...,  # type: ignore[assignment]
) -> None:
    """Compare a version with the champion as the gate does, and change nothing."""

    def work() -> None:
        from boxcar.registry import resolve
        from boxcar.registry.gate import compare as compare_versions
        from boxcar.registry.tables import print_compared

        settings = _settings(given)
        model = _model(models, name)
        compared = compare_versions(model, resolve(model, version), resolve(model, champion), settings)
        print_compared(compared)
        print(f"The gate would say {compared.decided.verdict}: {compared.decided.reason}")

    do_work("models compare", work)


@app.command()
@takes_settings(*GATE, of=GATE)
def promote(
    models: Models,
    name: Name,
    version: ChosenVersion,
    given: dict[str, Any] = ...,  # type: ignore[assignment]
    without_gate: Annotated[
        str | None, typer.Option(help="Make it the champion without comparing, for this reason.", metavar="REASON")
    ] = None,
) -> None:
    """Make a version the champion if it is not worse than the one there is. Keeping that one is no failure."""

    def work() -> None:
        from boxcar.registry import promote_regardless, read_aliases, resolve
        from boxcar.registry.tables import print_compared
        from boxcar.retraining.here import decide, tell_decided

        settings = _settings(given)
        model = _model(models, name)
        number = resolve(model, version)
        if read_aliases(model).champion == number:  # a repeat is no failure
            done = "its run is told so now" if tell_decided(model, number) else "nothing was done"
            print(f"Version {number} is the champion of {name} already; {done}.")
            return
        if without_gate is not None:
            promote_regardless(model, number, without_gate)
        else:
            compared = decide(model, number, settings)
            print_compared(compared)
            if compared.decided.verdict != "promoted":
                stays = f"Version {compared.champion} stays the champion" if compared.champion else "There is no champion"
                print(f"{stays} of {name}.")
                return
        print(f"Version {number} is the champion of {name} now. `boxcar models rollback` goes back.")

    do_work("models promote", work)


@app.command()
def rollback(models: Models, name: Name) -> None:
    """Make the champion before this one the champion again; once more goes further back."""

    def work() -> None:
        from boxcar.registry import rollback as go_back

        state = go_back(_model(models, name))
        print(f"Version {state.champion} is the champion of {name} again.")

    do_work("models rollback", work)


@app.command()
@takes_settings("format", "threads", of=GATE)
def retest(
    models: Models,
    name: Name,
    records: Annotated[str, typer.Option(help="What `boxcar records` wrote: its test split is taken.", metavar="URI")],
    given: dict[str, Any],
) -> None:
    """Give a model a new frozen test split, and score the champion on it."""

    def work() -> None:
        from boxcar.registry.retest import retest as new_test
        from boxcar.registry.tables import print_retested

        model = _model(models, name)
        print_retested(model, new_test(model, records, _settings(given)))

    do_work("models retest", work)


def _model(models: str, name: str) -> "Model":
    from boxcar.registry import Model

    return Model(models, name)


def _settings(given: dict[str, Any]) -> "GateSettings":
    from pydantic import ValidationError

    from boxcar.registry import GateSettings

    floors = split_pairs("--class-floor", given.pop("class_floors", ()))
    try:
        return GateSettings(**given, class_floors=floors)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        what = f"{name} cannot be {first['input']!r}: {first['msg']}."
        raise BoxcarError(ExitCode.USAGE, what, "Change that option.") from error
