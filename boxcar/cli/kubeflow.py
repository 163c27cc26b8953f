"""The commands for Kubeflow: start a pipeline now, or on a schedule."""

from pathlib import Path
from typing import Annotated

import typer

from boxcar.cli.command import KUBEFLOW, command, make_app, say
from boxcar.cli.options import KfpEndpoint, Namespace, TokenFile, split_pairs

app = make_app()
schedule_app = make_app("Start pipelines on Kubeflow at set times.")


@command(app, panel=KUBEFLOW)
def submit(
    pipeline: Annotated[
        str,
        typer.Argument(
            help="train-detector, retrain-if-changed, convert-only, or a file that kfp has compiled.", metavar="PIPELINE"
        ),
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", help="A parameter of the pipeline. Can be given more than once.", metavar="NAME=VALUE"
        ),
    ] = None,
    endpoint: KfpEndpoint = None,
    token_file: TokenFile = None,
    namespace: Namespace = None,
    experiment: Annotated[str, typer.Option(help="Experiment that the run belongs to.")] = "Default",
    service_account: Annotated[
        str | None, typer.Option(help="Service account of the run's pods. [default: the server's]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run. [default: derived from the time]")] = None,
    follow: Annotated[bool, typer.Option(help="Wait until the run ends, and exit with its exit code.")] = True,
) -> None:
    """Start a pipeline on Kubeflow, and follow it to its end."""
    from boxcar.kfp.endpoint import Endpoint
    from boxcar.kfp.submit import submit as submit_pipeline

    submit_pipeline(
        pipeline,
        split_pairs("--parameter", parameter or []),
        Endpoint(endpoint, token_file),
        namespace=namespace,
        experiment=experiment,
        service_account=service_account,
        name=name,
        follow=follow,
        say=say,
    )


@command(schedule_app, "apply", step="schedule apply")
def apply_schedule(
    file: Annotated[
        Path, typer.Argument(help="YAML file with name, pipeline, parameters, cron, timezone, and enabled.", metavar="FILE")
    ],
    endpoint: KfpEndpoint = None,
    token_file: TokenFile = None,
    namespace: Namespace = None,
    server_timezone: Annotated[str, typer.Option(help="Time zone in which Kubeflow reads cron.", metavar="ZONE")] = "UTC",
) -> None:
    """Create or replace a schedule from a file. Applying an unchanged file again has no effect."""
    from boxcar.kfp.endpoint import Endpoint
    from boxcar.kfp.recurring import apply_schedule as apply
    from boxcar.kfp.schedule import read_schedule

    server = Endpoint(endpoint, token_file)
    apply(read_schedule(file), server, server_timezone=server_timezone, namespace=namespace, say=say)


@command(schedule_app, "list", step="schedule list")
def list_schedules(endpoint: KfpEndpoint = None, token_file: TokenFile = None, namespace: Namespace = None) -> None:
    """List the schedules that `boxcar schedule apply` created."""
    from boxcar.kfp.endpoint import Endpoint
    from boxcar.kfp.recurring import list_schedules as find_all

    server = Endpoint(endpoint, token_file)
    found = find_all(server, namespace=namespace)
    for one in found:
        print(f"{one.name}: {one.pipeline} at {one.cron} {one.timezone}" + ("" if one.enabled else ", paused"))
    if not found:
        print(f"There are no schedules at {server.address}.")


@command(schedule_app, "remove", step="schedule remove")
def remove_schedule(
    name: Annotated[str, typer.Argument(help="The schedule's name.", metavar="NAME")],
    endpoint: KfpEndpoint = None,
    token_file: TokenFile = None,
    namespace: Namespace = None,
) -> None:
    """Remove a schedule. Runs that it has already started continue."""
    from boxcar.kfp.endpoint import Endpoint
    from boxcar.kfp.recurring import remove_schedule as remove

    remove(name, Endpoint(endpoint, token_file), namespace=namespace)
    print(f"Removed the schedule {name}.")
