"""All steps of a run, one after the other, on this machine."""

import contextlib
import os
import sys

from boxcar.config.run_settings import Configuration, read_configuration, write_configuration
from boxcar.doctor import visible_gpus
from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.export import convert, freeze
from boxcar.inference.tfjs import find_node
from boxcar.local.resume import naming, started_run, with_init_settled
from boxcar.local.training import lock, train_and_evaluate
from boxcar.records import build_records, summary_lines, take_records
from boxcar.report import write_report
from boxcar.run.checkpoints import chosen_checkpoint
from boxcar.run.layout import CONFIGURATION, EXPORT, RECORDS, REPORT, RUN_FILE, RUN_STEPS, SAVED_MODEL, STEPS, LastStep
from boxcar.run.step import Committed, read_commit
from boxcar.storage import Missing, make_folder
from boxcar.sync.mirror import Mirror
from boxcar.sync.upload import fetch_run
from boxcar.training import require_gpus


def run_all(configuration: Configuration, output: str, *, resume: bool, until: LastStep = "report") -> bool:
    """Takes images, or finished records, all the way to exported files and a report.

    Args:
        configuration: with `data` or `records` set; paths in it are absolute.
        output: the run's folder (URI). A bucket receives every step when it is finished, and training while it runs.
        resume: continue a run that was started there.
        until: the last step to do. Before the report, the run stays unfinished.

    Returns:
        False if the run was already finished and nothing was done.

    Raises:
        BoxcarError: 64 if the folder holds something else, or an unfinished run and `resume` is not set; else as the steps.
        ChildEnded: training failed and has printed the reason.
    """
    place = Mirror(output)
    for name in ("data", "records"):
        source = getattr(configuration, name)
        if source is not None and not Mirror(source).remote and not Mirror(source).folder.is_dir():
            raise Refused(ExitCode.USAGE, f"There is no folder {source}.", f"Give a folder that exists as --{name}.")
    started = started_run(place, configuration, resume)
    if configuration.gpus:  # before the records, which may take an hour
        require_gpus(configuration.gpus, len(visible_gpus()))
    converts = RUN_STEPS.index(until) >= RUN_STEPS.index("convert")
    if started is None and converts and any(kind.startswith("tfjs") for kind in configuration.formats):
        find_node()  # before training, which may take days
    configuration = started or with_init_settled(configuration)
    run = make_folder(place.folder)
    # Who holds the lock has started the run by then.
    with naming("run", resumes=True):
        descriptor = lock(run)
    try:
        before = read_configuration(run)
        if before != configuration:
            write_configuration(run, configuration)
            place.send_file(CONFIGURATION)
        try:
            with naming("records", resumes=started is not None):
                records = _build_records(configuration, place)
        except BoxcarError:
            if started is None:
                (run / CONFIGURATION).unlink()  # nothing was started: the next try needs no --resume
                place.send_file(CONFIGURATION)
            elif before is not None and before != configuration:
                write_configuration(run, before)  # the inputs that it names now are not those of the run
                place.send_file(CONFIGURATION)
            raise
        if is_finished(place, records):
            return False
        if started is not None and not resume:
            what = f"{place.uri} holds a finished run, but some of its files are missing or changed."
            raise Refused(ExitCode.USAGE, what, "Add --resume to create them again, or choose another --output.")
        print(*summary_lines(records.folder), sep="\n", file=sys.stderr, flush=True)  # noqa: T201
        for step in RUN_STEPS[1 : RUN_STEPS.index(until) + 1]:
            with naming(step):
                _do(step, place, configuration)
    finally:
        os.close(descriptor)
    return True


def _build_records(configuration: Configuration, place: Mirror) -> Committed:
    output = place.below(RECORDS).uri
    if configuration.records is not None:
        given = {"label_map": configuration.label_map, "frozen_test": configuration.frozen_test}
        return take_records(configuration.records, output, **given)
    assert configuration.data is not None, "a run needs images or records"
    return build_records(configuration.data, output, **configuration.of_records(), replace=False)


def is_finished(place: Mirror, records: Committed) -> bool:
    """Whether the run has a report on these records, and everything that it was made from is unchanged."""
    run = place.folder
    if place.remote and REPORT in place.names():
        for folder in (REPORT, *STEPS.values()):
            with contextlib.suppress(Missing):  # what is missing is found below
                place.below(folder).resume()
    report = read_commit(run / REPORT, "report")
    if report is None or report.inputs.get("records") != records.digest or not (run / RUN_FILE).exists():
        return False
    others = [(name, read_commit(run / folder, name)) for name, folder in STEPS.items() if name != "records"]
    return all(step is not None and step.digest == report.inputs.get(name) for name, step in others)


def _do(step: LastStep, place: Mirror, configuration: Configuration) -> None:
    """One of the steps that follow the records."""
    exported, saved_model = place.below(EXPORT), place.below(SAVED_MODEL).uri
    match step:
        case "train":
            fetch_run(place.uri)
            train_and_evaluate(place.uri)
        case "freeze":
            freeze(configuration.architecture, chosen_checkpoint(place.uri), saved_model)
        case "convert":
            convert(saved_model, place.below(RECORDS).uri, exported.uri, configuration)
        case "report":
            write_report(place.uri)
