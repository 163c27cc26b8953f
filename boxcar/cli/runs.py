"""The command `boxcar runs`: the runs of a folder, and which of them may go."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from boxcar.errors import BoxcarError, ExitCode
from boxcar.process import do_work

if TYPE_CHECKING:
    from boxcar.retention import FoundRun

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Runs = Annotated[str, typer.Option(help="The folder of runs.", metavar="URI")]

_MINUTE = "%Y-%m-%d %H:%M"


@app.command("list")
def list_runs(runs: Runs) -> None:
    """List the runs, the one that changed last first."""

    def work() -> None:
        from boxcar.retention import find_runs
        from boxcar.storage import open_store

        found, others = find_runs(runs, open_store(runs))
        _print_table((run, run.state if run.step is None else f"{run.state}, step {run.step}") for run in found)
        print(f"{len(found)} runs, {_size(sum(run.bytes for run in found))}." + _leave_out(others))

    do_work("runs list", work)


@app.command()
def prune(
    runs: Runs,
    keep: Annotated[int, typer.Option(help="So many that changed last stay in any case.", min=0)],
    models: Annotated[
        list[str] | None,
        typer.Option(help="A registry: the runs that its models were made from stay. May be given many times.", metavar="URI"),
    ] = None,
    no_models: Annotated[bool, typer.Option("--no-models", help="No registry refers to these runs.")] = False,
    cluster: Annotated[bool, typer.Option(help="Ask the cluster which runs in a bucket its Jobs work on; they stay.")] = True,
    namespace: Annotated[str | None, typer.Option(help="Of those Jobs; that of the context if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run/--remove", help="Only say what would go, or remove it.")] = True,
) -> None:
    """Remove old runs; what a model refers to, what may be at work and what is no run of ours stays."""

    def work() -> None:
        from boxcar.retention import plan_prune
        from boxcar.retention import prune as remove
        from boxcar.storage import bucket_location, open_store

        if bool(models) == no_models:
            what = "Both --models and --no-models were given." if models else "No registry was named that may need these runs."
            do = "Add --models and the registry's folder, or --no-models where there is none."
            raise BoxcarError(ExitCode.USAGE, what, do)
        store = open_store(runs)
        at_work = _at_work(namespace) if cluster and bucket_location(runs) is not None else frozenset()
        referred, unknown = _referred(models or [])
        plan = plan_prune(runs, store, keep, referred=referred, unknown=unknown, at_work=at_work)
        _print_table([*((run, f"stays: {reason}") for run, reason in plan.keep), *((run, "goes") for run in plan.remove)])
        freed = f"{len(plan.remove)} runs of {_size(sum(run.bytes for run in plan.remove))}"
        if dry_run:
            print(f"{freed} would go." + (" Add --remove to remove them." if plan.remove else "") + _leave_out(plan.others))
            return
        left: list[BoxcarError] = []
        for run, refused in remove(runs, store, plan):
            print(f"Removed {run.uri}." if refused is None else refused.what, flush=True)
            left += [] if refused is None else [refused]
        if left:
            raise left[0]
        print(f"{freed} are gone.{_leave_out(plan.others)}")

    do_work("runs prune", work)


def _referred(models: Iterable[str]) -> tuple[set[str], str]:
    """URIs of the runs that registries need; and in words the versions of which nobody can tell the run."""
    runs: set[str] = set()
    unknown: list[str] = []
    for registry in models:
        from boxcar.registry.references import references

        found = references(registry)
        if not found.tests:  # a slip in its name must not cost the runs that it refers to
            raise BoxcarError(ExitCode.USAGE, f"There is no model in {registry}.", "Correct --models.")
        runs |= found.runs
        unknown += [f"version {number} of {model}, which is partly uploaded" for model, number in sorted(found.unknown)]
    return runs, "; ".join(unknown)


def _at_work(namespace: str | None) -> frozenset[str]:
    from boxcar.cluster.at_work import runs_at_work

    try:
        return runs_at_work(namespace)
    except BoxcarError as error:
        # Whoever has no cluster is to say so: what a Job works on must not go because nobody looked.
        do = f"{error.do.removesuffix('.')}; or add --no-cluster where no Job works on these runs."
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
    name = min(others)
    return f" {len(others)} other folders are no runs and were left alone ({name}, for one: {others[name]})."
