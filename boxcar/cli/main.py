"""The command `boxcar`. Each sub-command loads what it needs when it is called: `boxcar --help` loads nothing."""

from typing import Annotated

import typer

from boxcar import __version__
from boxcar.cli import files, kubeflow, models, pod, run, runs, start, steps
from boxcar.cli.command import KUBEFLOW, MODELS, make_app
from boxcar.process import run_command

app = make_app("Train object detectors on your own labeled photographs, and export files for phones, browsers, and servers.")
for module in (start, run, files, steps):
    app.add_typer(module.app)
app.add_typer(models.app, name="models", rich_help_panel=MODELS)
app.add_typer(runs.app, name="runs", rich_help_panel=MODELS)
app.add_typer(kubeflow.app)
app.add_typer(kubeflow.schedule_app, name="schedule", rich_help_panel=KUBEFLOW)
app.add_typer(pod.app)


def _version(asked: bool) -> None:
    if asked:
        print(f"boxcar {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command and ends the process with one of `errors.ExitCode`."""
    run_command(app)
