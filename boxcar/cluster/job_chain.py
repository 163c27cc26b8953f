"""All steps of a run, one Job each, on a Kubernetes cluster."""

from collections.abc import Sequence
from pathlib import Path

from boxcar.cluster import bucket
from boxcar.cluster.job import step_job
from boxcar.cluster.launch import Work, run_job, train_on_cluster
from boxcar.cluster.logs import say
from boxcar.config.run_settings import Configuration, write_configuration
from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.run import layout
from boxcar.run.checkpoints import chosen_checkpoint
from boxcar.run.step import Committed
from boxcar.storage import Store, bucket_location, make_folder, open_store
from boxcar.sync.mirror import Mirror


def run_on_cluster(configuration: Configuration, output: str, *, resume: bool, until: layout.LastStep = "report") -> bool:
    """Takes images or records in a bucket all the way to exported files and a report there, one Job a step.

    A step whose `step.json` lies in the run is not done again; those behind training find out by themselves whether there is
    anything to do.

    Args:
        configuration: with `data` or `records` set, the URI of a folder in a bucket.
        output: URI of the run's folder in a bucket.
        resume: continue a run that was started there.
        until: the last step to do; the run is unfinished where it is not the report.

    Returns:
        False where the run was finished already and nothing was done.

    Raises:
        BoxcarError: 64 where the folder holds something else, an unfinished run and `resume` is not set, or what is to be read
            lies on this machine; else as `run_job`, with the step that it was in.
    """
    # Only here: the uploader in a pod wants nothing but our Lease.
    from boxcar.local.resume import naming, started_run
    from boxcar.training import settle_init

    _check_uris(configuration, output)
    place = Mirror(output)
    run, store = place.uri, open_store(output)
    started = started_run(place, configuration, resume)
    if started is None:
        configuration, sentence = settle_init(configuration)
        if sentence is not None:
            say(sentence)
    else:
        configuration = started
        if _is_finished(store):
            return False
        if not resume:
            what = f"{run} holds a finished run, but some of its files are missing or changed."
            raise Refused(ExitCode.USAGE, what, "Add --resume to create them again, or choose another --output.")
    write_configuration(make_folder(place.folder), configuration)
    place.send_file(layout.CONFIGURATION)
    for step in layout.RUN_STEPS[: layout.RUN_STEPS.index(until) + 1]:
        try:
            with naming(step, resumes=step != "records" or started is not None):
                _do(step, configuration, run, store)
        except BoxcarError as error:
            if step == "records" and started is None and error.code in (ExitCode.USAGE, ExitCode.DATA):
                store.delete([layout.CONFIGURATION])  # nothing was started: the next try needs no --resume
            raise
    return True


def _do(step: layout.LastStep, configuration: Configuration, run: str, store: Store) -> None:
    """One step of a run; nothing where it is finished."""
    # Only here: the uploader in a pod wants nothing but our Lease.
    from boxcar.local.resume import naming

    names = (layout.RECORDS, layout.SAVED_MODEL, layout.EXPORT, layout.CONFIGURATION)
    records, saved_model, export, config = (f"{run}/{name}" for name in names)
    match step:
        case "records":
            if not bucket.has_step(store, layout.RECORDS):
                command = ["records", "--data", str(configuration.data)]
                if configuration.records is not None:
                    command = ["take-records", "--records", configuration.records]
                arguments = [*command, "--output", records, "--config", config]
                _do_step(configuration, run, "records", layout.RECORDS, "records", arguments)
        case "train":
            if not bucket.has_step(store, layout.TRAIN):
                train_on_cluster(configuration, run)
            if not bucket.has_step(store, layout.EVAL):
                with naming("evaluate"):
                    evaluate_on_cluster(configuration, run)
        case "freeze":
            checkpoint = ["--architecture", configuration.architecture, "--checkpoint", chosen_checkpoint(run)]
            arguments = [*checkpoint, "--output", saved_model]
            _do_step(configuration, run, "freeze", layout.SAVED_MODEL, "train", ["freeze", *arguments])
        case "convert":
            arguments = ["--saved-model", saved_model, "--records", records, "--output", export, "--config", config]
            _do_step(configuration, run, "convert", layout.EXPORT, "convert", ["convert", *arguments])
        case "report":
            _do_step(configuration, run, "report", layout.REPORT, "convert", ["report", "--run", run])


def evaluate_on_cluster(configuration: Configuration, run: str) -> None:
    """Scores what the evaluator in the trainer's pod had no time for: its scores are there, those of the test images not.

    Args:
        configuration: the run's.
        run: URI of the run's folder, in a bucket.

    Raises:
        BoxcarError: as `run_job`.
    """
    _do_step(configuration, run, "evaluate", layout.EVAL, "train", ["evaluate", "--run", run])


def decide_on_cluster(configuration: Configuration, run: str, version: Sequence[str]) -> None:
    """Compares a version of a model with the champion, as `configuration.gate` says, in a Job.

    Args:
        configuration: where, and what the version is held to.
        run: URI of the version's run, in a bucket; `decision.json` is left there.
        version: options of `boxcar models promote` that say which version.

    Raises:
        BoxcarError: as `run_job`.
    """
    from boxcar.local.resume import naming

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
        _do_job(configuration, run, "gate", layout.DECISION, "convert", arguments)


def _do_step(configuration: Configuration, run: str, step: str, folder: str, image: str, arguments: Sequence[str]) -> None:
    _do_job(configuration, run, step, f"{folder}/{layout.COMMIT}", image, arguments)


def _do_job(configuration: Configuration, run: str, step: str, result: str, image: str, arguments: Sequence[str]) -> None:
    work = Work(step_job(configuration, run, step, image, arguments), result, (step,))
    run_job(work, configuration.cluster, run)


def _check_uris(configuration: Configuration, output: str) -> None:
    """Refuses what pods cannot see."""
    if bucket_location(output) is None:
        raise Refused(
            ExitCode.USAGE, f"{output} is not in a bucket. Pods write to buckets only.", "Write s3://bucket/runs/name."
        )
    for name in ("data", "records", "init", "label_map", "frozen_test"):
        value = getattr(configuration, name)
        if value not in (None, "", "none", "zoo") and not value.startswith(("s3://", "gs://", "https://", "http://")):
            what = f"{name} is {value}, which is on this machine. Pods cannot read it."
            raise Refused(ExitCode.USAGE, what, "Copy it into a bucket, and give its s3:// or gs:// URI.")


def _is_finished(store: Store) -> bool:
    """Whether the run's report is there, and was made from what is there of the other steps."""
    report = bucket.read_json(store, f"{layout.REPORT}/{layout.COMMIT}")
    if report is None or bucket.read_json(store, layout.RUN_FILE) is None:
        return False
    committed = {name: bucket.read_json(store, f"{folder}/{layout.COMMIT}") for name, folder in layout.STEPS.items()}
    return all(
        step is not None and Committed(folder=Path(), **step).digest == report["inputs"].get(name)
        for name, step in committed.items()
    )
