"""The commands that do all steps: a run, and the retraining of a model."""

import shlex
from typing import Annotated, Any

import typer

from boxcar.cli.command import MODELS, START, command, make_app
from boxcar.cli.options import CONVERSION, DATA, TRAINING, Config, Data, Launcher, make_configuration, of_configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import LastStep

app = make_app()


# What a run contains that ended after one of these steps.
_RESULTS = {
    "records": "The records are in {run}/records.",
    "train": "The checkpoints are in {run}/train, their scores in {run}/eval/scores.jsonl.",
    "freeze": "The SavedModel is in {run}/export/saved_model.",
    "convert": "The files are in {run}/export, described in manifest.json.",
}


@command(
    app,
    failure_in="output",
    settings=of_configuration(*DATA, *TRAINING, *CONVERSION),
    panel=START,
    epilog="Example: boxcar run --data photographs --output runs/first --steps 2000",
)
def run(
    output: Annotated[str, typer.Option(help="The run's folder.", metavar="URI")],
    given: dict[str, Any],
    data: Data = None,
    records: Annotated[str | None, typer.Option(help="Finished records, instead of --data.", metavar="URI")] = None,
    earlier: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A finished run to train for longer, instead of --data: from its best checkpoint, at a tenth of its learning "
            "rate.",
            metavar="URI",
        ),
    ] = None,
    config: Config = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was started.")] = False,
    until: Annotated[LastStep, typer.Option(help="Stop after this step. --resume finishes the run later.")] = "report",
    launcher: Launcher = "local",
) -> None:
    """Train a detector on labeled images, export it, and write a report."""

    def base(asked: dict[str, Any]) -> dict[str, Any]:
        from boxcar.local.next_run import settings_from, stored_settings

        if earlier is not None:
            return settings_from(earlier, output, asked)
        has_images = asked.get("data") is not None or asked.get("records") is not None
        return stored_settings(output) if resume and not has_images else {}

    configuration = make_configuration(config, {**given, "data": data, "records": records}, base)
    if configuration.data is None and configuration.records is None:
        raise _no_images()
    # After the check, because these take a moment to load.
    from boxcar.report.terminal import print_summary

    if launcher == "cluster":
        from boxcar.cluster.job_chain import run_on_cluster as run_all
    else:
        from boxcar.local.step_chain import run_all

    if not run_all(configuration, output, resume=resume, until=until):
        print(f"{output} already contains this run, and it is finished; nothing was done.")
        print(f"To train it for longer, run `boxcar run --from {shlex.quote(output)} --output FOLDER`.")
    elif until != "report":
        print(_RESULTS[until].format(run=output), "To finish the run, add --resume and leave --until out.")
        return
    print_summary(output)


@command(app, settings=of_configuration("on_fault", "seed", *TRAINING, *CONVERSION), panel=MODELS)
def retrain(
    models: Annotated[str, typer.Option(help="The model registry: a folder of models.", metavar="URI")],
    model: Annotated[str, typer.Option(help="The model's name. Its first run creates it.", metavar="NAME")],
    runs: Annotated[str, typer.Option(help="Folder for runs; the new run's folder is created in it.", metavar="URI")],
    given: dict[str, Any],
    data: Data = None,
    config: Config = None,
    launcher: Launcher = "local",
) -> None:
    """Train a model again if its images have changed, and make the result the champion if it is not worse."""
    configuration = make_configuration(config, {**given, "data": data})
    if configuration.data is None:
        raise _no_images()
    # After the check, because these take a moment to load.
    from boxcar.registry import Model
    from boxcar.retraining.cycle import retrain as retrain_model

    if launcher == "cluster":
        from boxcar.retraining.on_cluster import LAUNCHER
    else:
        from boxcar.retraining.in_process import LAUNCHER

    ended = retrain_model(Model(models, model), configuration, runs, LAUNCHER)
    print(f"{ended.outcome}: {ended.reason}" + (f" The run is {ended.run}." if ended.run else ""))


def _no_images() -> BoxcarError:
    return BoxcarError(ExitCode.USAGE, "No images were given.", "Add --data with the folder of your labeled images.")
