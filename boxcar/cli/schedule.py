"""The command `boxcar schedule`: pipelines that Kubeflow starts by the clock."""

from pathlib import Path
from typing import Annotated

import typer

from boxcar.cli.options import KfpEndpoint, Namespace, TokenFile
from boxcar.process import do_work

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command("apply")
def apply_schedule(
    file: Annotated[Path, typer.Argument(help="YAML: name, pipeline, parameters, cron, timezone, enabled.", metavar="FILE")],
    endpoint: KfpEndpoint = None,
    token_file: TokenFile = None,
    namespace: Namespace = None,
    server_timezone: Annotated[
        str, typer.Option(help="Time zone that Kubeflow reads cron in, as it was installed with.", metavar="ZONE")
    ] = "UTC",
) -> None:
    """Make a schedule as its file says, in the place of one of that name; the same file again changes nothing."""

    def work() -> None:
        from boxcar.kfp.endpoint import Endpoint
        from boxcar.kfp.recurring import apply_schedule as apply
        from boxcar.kfp.schedule import read_schedule

        apply(
            read_schedule(file),
            Endpoint(endpoint, token_file),
            server_timezone=server_timezone,
            namespace=namespace,
            say=lambda sentence: print(sentence, flush=True),
        )

    do_work("schedule apply", work)


@app.command("list")
def list_schedules(endpoint: KfpEndpoint = None, token_file: TokenFile = None, namespace: Namespace = None) -> None:
    """List the schedules that were made so."""

    def work() -> None:
        from boxcar.kfp.endpoint import Endpoint
        from boxcar.kfp.recurring import list_schedules as find_all

        server = Endpoint(endpoint, token_file)
        found = find_all(server, namespace=namespace)
        for one in found:
            print(f"{one.name}: {one.pipeline} at {one.cron} {one.timezone}" + ("" if one.enabled else ", pauses"))
        if not found:
            print(f"There are no schedules at {server.address}.")

    do_work("schedule list", work)


@app.command("remove")
def remove_schedule(
    name: Annotated[str, typer.Argument(help="The schedule's.")],
    endpoint: KfpEndpoint = None,
    token_file: TokenFile = None,
    namespace: Namespace = None,
) -> None:
    """Remove a schedule; a run of it that is under way goes on."""

    def work() -> None:
        from boxcar.kfp.endpoint import Endpoint
        from boxcar.kfp.recurring import remove_schedule as remove

        remove(name, Endpoint(endpoint, token_file), namespace=namespace)
        print(f"{name} is removed.")

    do_work("schedule remove", work)
