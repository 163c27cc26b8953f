"""What the components of a run do: start it, train, freeze the chosen checkpoint, convert it, and report.

`run` is always the URI of the run's folder.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import Configuration, make_configuration, read_configuration, write_configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.form import ConversionForm, TrainForm
from boxcar.kfp.installation import is_local
from boxcar.kfp.parameters import (
    check_conversion,
    check_readable,
    check_uri,
    check_writable,
    naming_parameter,
    naming_secret,
    read_configuration_of,
    run_uri,
)
from boxcar.local.resume import started_run, with_init_settled
from boxcar.local.training import lock
from boxcar.run.checkpoints import chosen_checkpoint
from boxcar.run.layout import CONFIGURATION, EVAL, EXPORT, RECORDS, SAVED_MODEL, TRAIN
from boxcar.storage import fetch_file, make_folder, open_store
from boxcar.sync.mirror import Mirror


@dataclass(frozen=True)
class StartedRun:
    """URI of a run whose records are finished, and the cluster's settings for the steps that follow, as JSON."""

    run: str
    cluster: str


def start_run(form: TrainForm, job: str, images: dict[str, Any]) -> StartedRun:
    """Checks the form, starts the run (with the name `job`) or resumes it, and makes its records.

    Raises:
        BoxcarError: 64 or 69 with the name of the parameter, else as `build_records`.
    """
    from boxcar.records import build_records, summary_lines

    run = run_uri(form.output, job, form.resume_from)
    with naming_parameter("resume_from" if form.resume_from else "output"):
        place = Mirror(run)
    with _taken(place):
        with naming_secret(form.bucket_secret):
            configuration = read_configuration_of(form, images)
            check_writable("resume_from" if form.resume_from else "output", run)
            check_readable("data", form.data)
        configuration = _configure(place, configuration, bool(form.resume_from))
        output = place.below(RECORDS).uri
        made = build_records(str(configuration.data), output, **configuration.of_records(), replace=False)
    print(*summary_lines(made.folder), sep="\n", file=sys.stderr, flush=True)  # noqa: T201
    return StartedRun(run, configuration.cluster.model_dump_json(exclude_unset=True))


def _configure(place: Mirror, configuration: Configuration, resumes: bool) -> Configuration:
    """Writes the configuration of a new run. A resumed run keeps its own."""
    name, do = "output", "Choose another folder for runs."
    if resumes:
        name, do = "resume_from", "Repeat the settings of that run, or leave resume_from empty for a new run."
    with naming_parameter(name, do):
        older = started_run(place, configuration, resume=True)
    if resumes and older is None:
        what = f"resume_from: There is no run at {place.uri}."
        raise BoxcarError(ExitCode.USAGE, what, "Correct it, or leave it empty for a new run.")
    with naming_parameter("initial_checkpoint"):
        configuration = older or with_init_settled(configuration, here=is_local())
    write_configuration(place.folder, configuration)
    place.send_file(CONFIGURATION)
    return configuration


def train(run: str, cluster: str) -> str:
    """Trains and evaluates a run in a Job, or on this machine if there is no cluster. `run` and `cluster`: as in `StartedRun`.

    Returns:
        URI prefix of the chosen checkpoint's files.

    Raises:
        BoxcarError: as `boxcar.cluster.launch.run_job`, or `train_and_evaluate`.
        ChildEnded: training on this machine failed and has printed the reason.
    """
    place = Mirror(run)
    if is_local():
        from boxcar.local.training import train_here
        from boxcar.sync.upload import fetch_run

        fetch_run(run)
        train_here(run)
    else:
        from boxcar.cluster.bucket import has_step
        from boxcar.cluster.job_chain import evaluate_on_cluster
        from boxcar.cluster.launch import train_on_cluster

        store = open_store(run)
        settings = ClusterSettings.model_validate_json(cluster)
        with _taken(place):
            configuration = configuration_of(place).model_copy(update={"cluster": settings})
            if not has_step(store, TRAIN):
                train_on_cluster(configuration, run)
            if not has_step(store, EVAL):
                evaluate_on_cluster(configuration, run)
    return chosen_checkpoint(place.uri)


def freeze(architecture: str, checkpoint: str, run: str, records: str, config: str) -> None:
    """Freezes a checkpoint into `<run>/export/saved_model`.

    Args:
        architecture: the checkpoint's.
        checkpoint: URI prefix of its files.
        run: URI of the folder.
        records: URI of the records for the conversion, if a person named the checkpoint, else empty. They are checked before
            anything is done.
        config: URI of settings for the conversion, which are checked in the same way; may be empty.

    Raises:
        BoxcarError: as `export.freeze`; 64 or 69 with the name of the parameter that is wrong.
    """
    from boxcar.export import freeze as freeze_step

    if records:
        form = ConversionForm(checkpoint=checkpoint, records=records, output=run, architecture=architecture, config=config)
        check_conversion(form, local=is_local())
    place = Mirror(run)
    with _taken(place):
        check_writable("output", run)
        if records:
            check_readable("records", records)
            _conversion(place, config)
        with naming_parameter("checkpoint") if records else nullcontext():
            freeze_step(architecture, checkpoint, place.below(SAVED_MODEL).uri)


def _conversion(place: Mirror, config: str) -> Configuration:
    """The settings in `config`, if it is given, else those of the run."""
    if not config:
        return configuration_of(place)
    with naming_parameter("config"):
        return make_configuration(fetch_file(config), {})


def convert(run: str, records: str, config: str) -> None:
    """Converts `<run>/export/saved_model` into `<run>/export`. If `records` or `config` is empty, the run's own are used.

    Raises:
        BoxcarError: as `export.convert`.
    """
    from boxcar.export import convert as convert_step

    place = Mirror(run)
    for name, uri in (("records", records), ("config", config)):
        check_uri(name, uri, local=is_local())
    with _taken(place):
        configuration = _conversion(place, config)
        if records:
            check_readable("records", records)
        saved_model, export = place.below(SAVED_MODEL).uri, place.below(EXPORT).uri
        convert_step(saved_model, records or place.below(RECORDS).uri, export, configuration)


def report(run: str) -> None:
    """As `boxcar.report.write_report`, with the run's folder locked."""
    from boxcar.report import write_report

    with _taken(Mirror(run)):
        write_report(run)


def configuration_of(place: Mirror) -> Configuration:
    """The configuration of a run; the defaults if the folder is not a run."""
    place.take_files([CONFIGURATION])
    return read_configuration(place.folder) or Configuration()


@contextmanager
def _taken(place: Mirror) -> Iterator[None]:
    """Locks the run's folder for this process, and marks it as a run: failures are recorded in runs only."""
    descriptor = lock(make_folder(place.folder))
    try:
        yield
    finally:
        os.close(descriptor)
