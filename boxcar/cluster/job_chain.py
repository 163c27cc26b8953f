"""All steps of a run, one Job each, on a Kubernetes cluster."""

from collections.abc import Sequence
from pathlib import Path

from boxcar.cluster import bucket
from boxcar.cluster.job import step_job
from boxcar.cluster.launch import Work, run_job, train_on_cluster
from boxcar.config.run_settings import INIT_WORDS, Configuration, write_configuration
from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.local.resume import naming, started_run, with_init_settled
from boxcar.run.checkpoints import chosen_checkpoint
from boxcar.run.layout import (
    COMMIT,
    CONFIGURATION,
    DECISION,
    EVAL,
    EXPORT,
    RECORDS,
    REPORT,
    RUN_FILE,
    RUN_STEPS,
    SAVED_MODEL,
    STEPS,
    TRAIN,
    LastStep,
)
from boxcar.run.step import Committed
from boxcar.storage import Store, bucket_location, make_folder, open_store
from boxcar.sync.mirror import Mirror


def run_on_cluster(configuration: Configuration, output: str, *, resume: bool, until: LastStep = "report") -> bool:
    """Takes images or records in a bucket all the way to exported files and a report there, one Job per step.

    A step with a `step.json` in the run is not repeated. The steps after training find out themselves whether there is
    anything to do.

    Args:
        configuration: with `data` or `records` set, the URI of a folder in a bucket.
        output: URI of the run's folder in a bucket.
        resume: continue a run that was started there.
        until: the last step to do. Before the report, the run stays unfinished.

    Returns:
        False if the run was already finished and nothing was done.

    Raises:
        BoxcarError: 64 if the folder holds something else, if it holds an unfinished run and `resume` is not set, or if input
            is on this machine; else as `run_job`, with the step that failed.
    """
    _check_uris(configuration, output)
    place = Mirror(output)
    run, store = place.uri, open_store(output)
    started = started_run(place, configuration, resume)
    if started is not None and _is_finished(store):
        return False
    if started is not None and not resume:
        what = f"{run} holds a finished run, but some of its files are missing or changed."
        raise Refused(ExitCode.USAGE, what, "Add --resume to create them again, or choose another --output.")
    configuration = started or with_init_settled(configuration, here=False)
    write_configuration(make_folder(place.folder), configuration)
    place.send_file(CONFIGURATION)
    for step in RUN_STEPS[: RUN_STEPS.index(until) + 1]:
        try:
            with naming(step, resumes=step != "records" or started is not None):
                _do(step, configuration, run, store)
        except BoxcarError as error:
            if step == "records" and started is None and error.code in (ExitCode.USAGE, ExitCode.DATA):
                store.delete([CONFIGURATION])  # nothing was started: the next try needs no --resume
            raise
    return True


def _do(step: LastStep, configuration: Configuration, run: str, store: Store) -> None:
    """One step of a run; nothing if it is finished."""
    records, saved_model, export, config = (f"{run}/{name}" for name in (RECORDS, SAVED_MODEL, EXPORT, CONFIGURATION))
    match step:
        case "records":
            if not bucket.has_step(store, RECORDS):
                arguments = ["records", "--data", str(configuration.data)]
                if configuration.records is not None:
                    arguments = ["take-records", "--records", configuration.records]
                arguments += ["--output", records, "--config", config]
                _do_job(configuration, run, "records", f"{RECORDS}/{COMMIT}", "records", arguments)
        case "train":
            if not bucket.has_step(store, TRAIN):
                train_on_cluster(configuration, run)
            if not bucket.has_step(store, EVAL):
                with naming("evaluate"):
                    evaluate_on_cluster(configuration, run)
        case "freeze":
            arguments = ["freeze", "--architecture", configuration.architecture, "--checkpoint", chosen_checkpoint(run)]
            arguments += ["--output", saved_model]
            _do_job(configuration, run, "freeze", f"{SAVED_MODEL}/{COMMIT}", "train", arguments)
        case "convert":
            arguments = ["convert", "--saved-model", saved_model, "--records", records]
            arguments += ["--output", export, "--config", config]
            _do_job(configuration, run, "convert", f"{EXPORT}/{COMMIT}", "convert", arguments)
        case "report":
            _do_job(configuration, run, "report", f"{REPORT}/{COMMIT}", "convert", ["report", "--run", run])


def evaluate_on_cluster(configuration: Configuration, run: str) -> None:
    """Does what the evaluator in the trainer's pod had no time for, in the run's folder (URI), as `run_job` does.

    The checkpoints have scores then, but the test images have none.
    """
    _do_job(configuration, run, "evaluate", f"{EVAL}/{COMMIT}", "train", ["evaluate", "--run", run])


def decide_on_cluster(configuration: Configuration, run: str, version: Sequence[str]) -> None:
    """Compares a version of a model with the champion in a Job, by the rules in `configuration.gate`.

    Args:
        configuration: with the cluster and the gate.
        run: URI of the version's run, in a bucket; `decision.json` is written there.
        version: options of `boxcar models promote` that name the version.

    Raises:
        BoxcarError: as `run_job`.
    """
    gate = configuration.gate
    options = {
        "format": gate.format,
        "min-gain": gate.min_gain,
        "confidence": gate.confidence,
        "max-milliseconds": gate.max_milliseconds,
        "max-megabytes": gate.max_megabytes,
        "threads": gate.threads,
    }
    arguments = ["models", "promote", *version]
    arguments += [f"--{name}={value}" for name, value in options.items() if value is not None]
    arguments += [f"--class-floor={name}={floor}" for name, floor in gate.class_floors.items()]
    arguments += ["--accept-new-classes"] * gate.accept_new_classes
    with naming("gate"):
        _do_job(configuration, run, "gate", DECISION, "convert", arguments)


def _do_job(configuration: Configuration, run: str, step: str, result: str, image: str, arguments: Sequence[str]) -> None:
    run_job(Work(step_job(configuration, run, step, image, arguments), result, (step,)), configuration.cluster, run)


def _check_uris(configuration: Configuration, output: str) -> None:
    """Refuses what pods cannot reach."""
    if bucket_location(output) is None:
        what = f"{output} is not in a bucket. Pods write to buckets only."
        raise Refused(ExitCode.USAGE, what, "Write s3://bucket/runs/name.")
    for name in ("data", "records", "init", "label_map", "frozen_test"):
        value = getattr(configuration, name)
        if value not in (None, "", *INIT_WORDS) and not value.startswith(("s3://", "gs://", "https://", "http://")):
            what = f"{name} is {value}, which is on this machine. Pods cannot read it."
            raise Refused(ExitCode.USAGE, what, "Copy it into a bucket, and give its s3:// or gs:// URI.")


def _is_finished(store: Store) -> bool:
    """Whether the run has a report, made from the results of the other steps that are there."""
    report = bucket.read_json(store, f"{REPORT}/{COMMIT}")
    if report is None or bucket.read_json(store, RUN_FILE) is None:
        return False
    committed = {name: bucket.read_json(store, f"{folder}/{COMMIT}") for name, folder in STEPS.items()}
    return all(
        step is not None and Committed(folder=Path(), **step).digest == report["inputs"].get(name)
        for name, step in committed.items()
    )
