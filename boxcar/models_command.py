"""The command `boxcar models`: a model's versions, its champion, and how one becomes it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxcar.errors import BoxcarError, ExitCode
from boxcar.process import do_work

if TYPE_CHECKING:
    from boxcar.registry import GateSettings, Model

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Models = Annotated[str, typer.Option(help="The registry: a folder of models.", metavar="URI")]
Name = Annotated[str, typer.Option("--model", help="The model's name.", metavar="NAME")]
ChosenVersion = Annotated[str, typer.Option(help="A version's number, or an alias: champion, previous.", metavar="VERSION")]
Format = Annotated[str, typer.Option(help="The file that ships, on which versions are compared.", metavar="NAME")]
MinGain = Annotated[float, typer.Option(help="Difference of AP50 to the champion that must be exceeded.", metavar="AP50")]
Confidence = Annotated[float, typer.Option(help="Of each one-sided bound of that difference.", metavar="SHARE")]
ClassFloor = Annotated[
    list[str] | None, typer.Option(help="AP50 that a class must reach, may be given many times.", metavar="CLASS=AP50")
]
MaxMilliseconds = Annotated[float | None, typer.Option(help="Most that a picture may take, the median.", metavar="MS")]
MaxMegabytes = Annotated[float | None, typer.Option(help="Most that the file may have.", metavar="MB")]
AcceptNewClasses = Annotated[
    bool, typer.Option("--accept-new-classes", help="Let it know other classes than the champion; shared ones are compared.")
]
Threads = Annotated[int, typer.Option(help="Processor threads that the files are run with.", min=1, max=64)]


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
def compare(
    models: Models,
    name: Name,
    version: ChosenVersion,
    champion: Annotated[
        str, typer.Option("--with", help="The version that it is compared with, or an alias.", metavar="VERSION")
    ] = "champion",
    format: Format = "tflite_int8",
    min_gain: MinGain = -0.005,
    confidence: Confidence = 0.95,
    class_floor: ClassFloor = None,
    max_milliseconds: MaxMilliseconds = None,
    max_megabytes: MaxMegabytes = None,
    accept_new_classes: AcceptNewClasses = False,
    threads: Threads = 2,
) -> None:
    """Compare a version with the champion as the gate does, and change nothing."""

    def work() -> None:
        from boxcar.registry import compare as compare_versions
        from boxcar.registry import resolve
        from boxcar.registry.tables import print_compared

        settings = _settings(
            format, min_gain, confidence, class_floor, max_milliseconds, max_megabytes, accept_new_classes, threads
        )
        model = _model(models, name)
        print_compared(compare_versions(model, resolve(model, version), resolve(model, champion), settings))

    do_work("models compare", work)


@app.command()
def promote(
    models: Models,
    name: Name,
    version: ChosenVersion,
    format: Format = "tflite_int8",
    min_gain: MinGain = -0.005,
    confidence: Confidence = 0.95,
    class_floor: ClassFloor = None,
    max_milliseconds: MaxMilliseconds = None,
    max_megabytes: MaxMegabytes = None,
    accept_new_classes: AcceptNewClasses = False,
    threads: Threads = 2,
    without_gate: Annotated[
        str | None, typer.Option(help="Make it the champion without comparing, for this reason.", metavar="REASON")
    ] = None,
) -> None:
    """Make a version the champion if it is not worse than the one there is. Keeping that one is no failure."""

    def work() -> None:
        from boxcar.registry import promote_regardless, read_aliases, resolve
        from boxcar.registry.tables import print_compared
        from boxcar.retraining.launchers import decide

        settings = _settings(
            format, min_gain, confidence, class_floor, max_milliseconds, max_megabytes, accept_new_classes, threads
        )
        model = _model(models, name)
        number = resolve(model, version)
        if read_aliases(model).champion == number:  # a repeat is no failure
            print(f"Version {number} is the champion of {name} already; nothing was done.")
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
def retest(
    models: Models,
    name: Name,
    records: Annotated[str, typer.Option(help="What `boxcar records` wrote: its test split is taken.", metavar="URI")],
    format: Format = "tflite_int8",
    threads: Threads = 2,
) -> None:
    """Give a model a new frozen test split, and score the champion on it."""

    def work() -> None:
        from boxcar.registry import GateSettings
        from boxcar.registry import retest as new_test
        from boxcar.registry.tables import print_retested

        model = _model(models, name)
        print_retested(model, new_test(model, records, GateSettings(format=format, threads=threads)))

    do_work("models retest", work)


def _model(models: str, name: str) -> "Model":
    from boxcar.registry import Model

    return Model(models, name)


def _settings(
    format: str,
    min_gain: float,
    confidence: float,
    class_floor: list[str] | None,
    max_milliseconds: float | None,
    max_megabytes: float | None,
    accept_new_classes: bool,
    threads: int,
) -> "GateSettings":
    from pydantic import ValidationError

    from boxcar.registry import GateSettings

    floors: dict[str, Any] = {}
    for text in class_floor or ():
        name, equals, value = text.rpartition("=")
        if not equals:
            raise BoxcarError(ExitCode.USAGE, f"--class-floor {text} has no value.", "Write --class-floor CLASS=AP50.")
        floors[name.strip()] = value.strip()
    try:
        return GateSettings(
            format=format,
            min_gain=min_gain,
            confidence=confidence,
            class_floors=floors,
            max_milliseconds=max_milliseconds,
            max_megabytes=max_megabytes,
            accept_new_classes=accept_new_classes,
            threads=threads,
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        what = f"{name} cannot be {first['input']!r}: {first['msg']}."
        raise BoxcarError(ExitCode.USAGE, what, "Change that option.") from error
