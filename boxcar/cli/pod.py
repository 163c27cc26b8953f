"""Commands that Boxcar's own pods call. `boxcar --help` does not list them."""

from pathlib import Path
from typing import Annotated

import typer

from boxcar.cli.command import command, make_app
from boxcar.cli.options import Config, Output, Run, make_configuration
from boxcar.cli.steps import idle
from boxcar.errors import BoxcarError, ExitCode

app = make_app()


@command(app, hidden=True)
def fetch(run: Run, into: Annotated[Path, typer.Option(help="Folder on this machine.", metavar="DIR")]) -> None:
    """Download a run's records, checkpoints, and scores from its bucket."""
    from boxcar.storage import bucket_location
    from boxcar.sync.upload import fetch_run

    if bucket_location(run) is None:
        raise BoxcarError(
            ExitCode.USAGE, f"{run} is not in a bucket.", "Give the run as s3://bucket/folder or gs://bucket/folder."
        )
    fetch_run(run, into)


@command(app, step="records", hidden=True)
def take_records(
    records: Annotated[str, typer.Option(help="The finished records.", metavar="URI")], output: Output, config: Config = None
) -> None:
    """Use finished records in a run."""
    from boxcar.records import take_records as take

    configuration = make_configuration(config, {})
    take(records, output, label_map=configuration.label_map, frozen_test=configuration.frozen_test)
    print(f"The records are in {output}.")


@command(app, hidden=True)
def upload(
    run: Run,
    folder: Annotated[Path, typer.Option("--from", help="Folder on this machine that `boxcar fetch` made.", metavar="DIR")],
    lease: Annotated[
        str | None, typer.Option(help="End the training if this Lease in the pod's namespace expires.", metavar="NAME")
    ] = None,
    orphan_minutes: Annotated[
        float, typer.Option(help="Minutes without a renewal after which the Lease expires.", min=0.1, max=24 * 60)
    ] = 10,
) -> None:
    """Upload a run to its bucket while it trains. After SIGTERM, upload once more and end."""
    from boxcar.sync.upload import upload_beside

    if idle():
        return
    orphaned = None
    if lease is not None:
        from boxcar.cluster.lease import Watchdog

        orphaned = Watchdog(lease, orphan_minutes).reason
    upload_beside(run, folder, orphaned)


@command(app, hidden=True)
def follow(
    runs: Annotated[str, typer.Option(help="A folder of runs, or one run.", metavar="URI")],
    into: Annotated[Path, typer.Option(help="Folder on this machine that contains nothing else.", metavar="DIR")],
    seconds: Annotated[float, typer.Option(help="Seconds between updates.", min=1.0, max=24 * 3600)] = 15.0,
) -> None:
    """Keep a local copy of the TensorBoard files of runs in a bucket, until SIGTERM or Ctrl-C."""
    from boxcar.tensorboard_sync import follow_runs

    follow_runs(runs, into, seconds)
