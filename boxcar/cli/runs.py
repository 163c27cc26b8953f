"""The command `boxcar runs`: list the runs in a folder, and remove old ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxcar.cli.command import command, counted, make_app
from boxcar.errors import BoxcarError, ExitCode

if TYPE_CHECKING:
    from boxcar.retention import FoundRun

app = make_app("List the runs in a folder, and remove old ones.")

_MINUTE = "%Y-%m-%d %H:%M"


@command(app, "list", step="runs list")
def list_runs(
    runs: Annotated[
        str | None,
        typer.Option(help="The folder of runs. [default: ./runs if it exists, else the current folder]", metavar="URI"),
    ] = None,
) -> None:
    """List the runs in a folder, the latest change first."""
    runs = runs or ("runs" if Path("runs").is_dir() else ".")
    from boxcar.retention import find_runs
    from boxcar.storage import open_store

    found, others = find_runs(runs, open_store(runs))
    _print_table((run, run.state if run.step is None else f"{run.state}, step {run.step}") for run in found)
    print(f"{counted(len(found), 'run')}, {_size(sum(run.bytes for run in found))}." + _leave_out(others))


@command(app, step="runs prune")
def prune(
    runs: Annotated[str, typer.Option(help="The folder of runs.", metavar="URI")],
    keep: Annotated[int, typer.Option(help="Keep this many of the most recently changed runs.", min=0)],
    models: Annotated[
        list[str] | None,
        typer.Option(help="Keep the runs that this model registry refers to. Can be given more than once.", metavar="URI"),
    ] = None,
    no_models: Annotated[
        bool, typer.Option("--no-models", help="Confirm that no model registry refers to these runs.")
    ] = False,
    cluster: Annotated[bool, typer.Option(help="Ask the cluster which runs its Jobs are using, and keep those.")] = True,
    namespace: Annotated[str | None, typer.Option(help="Namespace of those Jobs. [default: the context's]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run/--remove", help="Only list what would be removed, or remove it.")] = True,
) -> None:
    """Remove old runs. Runs that a model refers to, runs that may be active, and all other folders are kept."""
    from boxcar.retention import plan_prune
    from boxcar.retention import prune as remove
    from boxcar.storage import bucket_location, open_store

    if bool(models) == no_models:
        what = "Both --models and --no-models were given." if models else "Neither --models nor --no-models was given."
        do = "Give one of them: --models with the model registry's folder, or --no-models if there is none."
        raise BoxcarError(ExitCode.USAGE, what, do)
    store = open_store(runs)
    at_work = _at_work(namespace) if cluster and bucket_location(runs) is not None else frozenset()
    referred, unknown = _referred(models or [])
    plan = plan_prune(runs, store, keep, referred=referred, unknown=unknown, at_work=at_work)
    _print_table(
        [
            *((run, f"kept: {reason}") for run, reason in plan.keep),
            *((run, "would be removed" if dry_run else "removed") for run in plan.remove),
        ]
    )
    freed = f"{counted(len(plan.remove), 'run')} of {_size(sum(run.bytes for run in plan.remove))}"
    if dry_run:
        print(f"{freed} would be removed." + (" Add --remove to remove them." if plan.remove else "") + _leave_out(plan.others))
        return
    left: list[BoxcarError] = []
    for run, refused in remove(runs, store, plan):
        print(f"Removed {run.uri}." if refused is None else refused.what, flush=True)
        left += [] if refused is None else [refused]
    if left:
        raise left[0]
    print(f"Removed {freed}.{_leave_out(plan.others)}")


def _referred(models: Iterable[str]) -> tuple[set[str], str]:
    """URIs of the runs that model registries refer to, and a text about the versions whose runs are unknown."""
    runs: set[str] = set()
    unknown: list[str] = []
    for registry in models:
        from boxcar.registry.references import references

        found = references(registry)
        if not found.models:  # a typo in its URI must not remove the runs that it refers to
            raise BoxcarError(ExitCode.USAGE, f"There is no model in {registry}.", "Correct --models.")
        runs |= found.runs
        unknown += [f"version {number} of {model}, which is partly uploaded" for model, number in sorted(found.unknown)]
    return runs, "; ".join(unknown)


def _at_work(namespace: str | None) -> frozenset[str]:
    from boxcar.cluster.job_status import active_runs

    try:
        return active_runs(namespace)
    except BoxcarError as error:
        # If the cluster does not answer, the runs of its Jobs are unknown.
        do = f"{error.do} If no Job works on these runs, add --no-cluster."
        raise BoxcarError(error.code, error.what, do) from error


def _print_table(rows: Iterable[tuple["FoundRun", str]]) -> None:
    from datetime import UTC, datetime

    lines = [(run.name, f"{datetime.fromtimestamp(run.changed, UTC):{_MINUTE}}", _size(run.bytes), word) for run, word in rows]
    width = max((len(line[0]) for line in lines), default=0)
    for name, changed, size, word in lines:
        print(f"{name:{width}}  {changed}  {size:>9}  {word}")


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def _leave_out(others: dict[str, str]) -> str:
    if not others:
        return ""
    name, more = min(others), ", ..." if len(others) > 1 else "."
    return f" {counted(len(others), 'other folder')} without a run: {name} ({others[name]}){more}"
