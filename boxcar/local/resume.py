"""Whether a run may be started or resumed in a folder. The same rules apply to all launchers."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boxcar.config.conversion_settings import Conversion
from boxcar.config.run_settings import (
    NOT_STORED,
    Configuration,
    is_stored_configuration,
    make_configuration,
    merge_settings,
    read_configuration,
)
from boxcar.errors import BoxcarError, ExitCode, Refused, explain
from boxcar.run.layout import CONFIGURATION, FAILURE, LOCK, RECORDS, RUN_FILE
from boxcar.run.own_outputs import is_own_folder
from boxcar.storage import bucket_location, is_temporary
from boxcar.sync.mirror import Mirror
from boxcar.training import settle_init

# What can be in a run's folder before anything was started there.
_TRACES = {FAILURE, LOCK}
# Inputs that the records step compares by their content, so that they may have moved.
_INPUTS = ("data", "records", "label_map", "frozen_test")


@contextmanager
def naming(step: str, *, resumes: bool = True) -> Iterator[None]:
    """Adds to an error the step's name, and whether the run was started, so that the next attempt needs --resume."""
    try:
        yield
    except (BoxcarError, OSError) as error:
        failure = explain(error)
        failure.step = failure.step or step
        failure.resumable = resumes
        if failure is error:
            raise
        raise failure from error


def started_run(place: Mirror, configuration: Configuration, resume: bool) -> Configuration | None:
    """The configuration that this run was started with; None if nothing was started in the folder.

    Raises:
        BoxcarError: 64 if the folder holds something else, or an unfinished run and `resume` is not set.
    """
    run = place.folder
    if run.exists() and not run.is_dir():
        raise Refused(ExitCode.USAGE, f"{run} is a file.", "Choose a folder as --output.")
    place.take_files([CONFIGURATION, RUN_FILE])
    started = read_configuration(run)
    if started is None:
        names = [name for name in place.names() - _TRACES if not is_temporary(name)]
        if names:
            what = f"{place.uri} already holds files that no run wrote, such as {min(names)}."
            raise Refused(ExitCode.USAGE, what, "Choose another --output.")
        return None
    if not _is_run(place):
        what = f"{place.uri} contains a {CONFIGURATION} that no run wrote, and a run would write over it."
        raise Refused(ExitCode.USAGE, what, "Choose another --output.")
    if configuration.init is None:
        configuration = configuration.model_copy(update={"init": started.init})  # settled at its start
    started = started.model_copy(update={name: getattr(configuration, name) for name in NOT_STORED})
    finished = (run / RUN_FILE).exists()
    if not finished:
        started, configuration = _take_over(started, configuration)
    started = _with_inputs_of(configuration, started)
    old, new = started.model_dump(), configuration.model_dump()
    changed = [name for name in new if old[name] != new[name]]
    if changed:
        differences = ", ".join(f"{name} was {old[name]} and is now {new[name]}" for name in changed)
        what = f"{place.uri} holds a run with other settings: {differences}."
        if finished:
            do = (
                f"To train its best checkpoint further, give --from {shlex.quote(place.uri)} instead of --data or --records, "
                "with another --output. To start again, only choose another --output."
            )
        else:
            do = f"Leave out {', '.join(changed)} and add --resume to continue that run, or choose another --output."
        raise Refused(ExitCode.USAGE, what, do)
    if not resume and not finished:
        what = f"{place.uri} holds a run that is not finished."
        raise Refused(ExitCode.USAGE, what, "Add --resume to continue it, or choose another --output.")
    return started


def _with_inputs_of(asked: Configuration, started: Configuration) -> Configuration:
    """The configuration of a started run with its inputs where `asked` has them, if both places are on this machine.

    In buckets a place is an identity: on a cluster, no step compares what is there once the records are finished.
    """
    places = {name: (getattr(started, name), getattr(asked, name)) for name in _INPUTS}
    moved = {
        name: new
        for name, (old, new) in places.items()
        if None not in (old, new) and bucket_location(old) is None and bucket_location(new) is None
    }
    return started.model_copy(update=moved)


def _is_run(place: Mirror) -> bool:
    """Whether a run wrote the configuration in a folder. Earlier versions did not mark it; their runs have records."""
    if is_stored_configuration((place.folder / CONFIGURATION).read_text(encoding="utf-8")):
        return True
    return RECORDS in place.names() if place.remote else is_own_folder(place.folder / RECORDS)


def started_with(folder: Path, asked: Configuration) -> Configuration:
    """The configuration that the run in a folder was started with, changed by `asked`, with its initial weights settled."""
    kept = read_configuration(folder)
    if kept is not None:
        asked = make_configuration(None, merge_settings(kept.model_dump(), asked.model_dump(exclude_unset=True)))
    return with_init_settled(asked) if asked.init is None else asked


def with_init_settled(configuration: Configuration, *, here: bool = True) -> Configuration:
    """As `training.settle_init`. Prints why training does not start from the zoo's weights, if it does not."""
    configuration, sentence = settle_init(configuration, here=here)
    if sentence is not None:
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201
    return configuration


def _take_over(started: Configuration, asked: Configuration) -> tuple[Configuration, Configuration]:
    """Both configurations with the conversion settings that `asked` sets, and else those of the run.

    A run whose conversion failed is often resumed with fewer formats or another limit.
    """
    given = asked.model_fields_set & set(Conversion.model_fields)
    update = {name: getattr(asked if name in given else started, name) for name in Conversion.model_fields}
    limits = {name: getattr(asked.limits, name) for name in asked.limits.model_fields_set}
    update["limits"] = started.limits.model_copy(update=limits)
    return started.model_copy(update=update), asked.model_copy(update=update)
