"""The command `boxcar`. Each sub-command loads what it needs when it is called: `boxcar --help` loads nothing."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxcar import __version__
from boxcar.cli.models import app as models_app
from boxcar.cli.options import (
    ARCHITECTURES,
    CONVERSION,
    TRAINING,
    ImageSize,
    KfpEndpoint,
    LabelMap,
    Namespace,
    TokenFile,
    VerifyKey,
    split_pairs,
    takes_settings,
)
from boxcar.cli.runs import app as runs_app
from boxcar.cli.schedule import app as schedule_app
from boxcar.errors import BoxcarError, ExitCode
from boxcar.process import do_work, run_command, wait_for_sigterm

if TYPE_CHECKING:
    from boxcar.config.run import Configuration

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its panels double the time of --help
    help="Trains object detectors from your own labelled photographs, and hands back files for phone, browser and server.",
)
app.add_typer(models_app, name="models", help="Keep the versions of models, and decide which is the champion.")
app.add_typer(runs_app, name="runs", help="List the runs of a folder, and remove old ones.")
app.add_typer(schedule_app, name="schedule", help="Let Kubeflow start a pipeline by the clock.")


class Launcher(StrEnum):
    local = "local"
    cluster = "cluster"


class Until(StrEnum):
    records = "records"
    train = "train"
    freeze = "freeze"
    convert = "convert"
    report = "report"


# What a run that ended after one of these steps holds.
_THERE = {
    Until.records: "The records are in {run}/records.",
    Until.train: "The checkpoints are in {run}/train, their scores in {run}/eval/scores.jsonl.",
    Until.freeze: "The SavedModel is in {run}/export/saved_model.",
    Until.convert: "The files are in {run}/export, described in manifest.json.",
}


class Evaluator(StrEnum):
    here = "here"
    elsewhere = "elsewhere"
    none = "none"


# A folder or a file is a path, or lies in a bucket: s3://bucket/folder, gs://bucket/folder.
Data = Annotated[str, typer.Option(help="Folder with pictures and labelImg's XML files.", metavar="URI")]
Output = Annotated[str, typer.Option(help="Folder to write into.", metavar="URI")]
Run = Annotated[str, typer.Option(help="The run's folder.", metavar="URI")]
Config = Annotated[str | None, typer.Option(help="Settings as YAML; options given beside it win.", metavar="URI")]


@app.command()
@takes_settings(*TRAINING, *CONVERSION, "label_map", "frozen_test", "on_fault", "seed")
def run(
    data: Annotated[str | None, typer.Option(help="Folder with pictures and labelImg's XML files.", metavar="URI")] = None,
    output: Annotated[str, typer.Option(help="The run's folder.", metavar="URI")] = ...,  # type: ignore[assignment]
    given: dict[str, Any] = ...,  # type: ignore[assignment]
    records: Annotated[str | None, typer.Option(help="Finished records to use, in place of --data.", metavar="URI")] = None,
    config: Config = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was begun.")] = False,
    until: Annotated[Until, typer.Option(help="The last step to do; --resume does the others later.")] = Until.report,
    launcher: Annotated[
        Launcher, typer.Option(help="Where the steps run: on this machine, or as Jobs on a Kubernetes cluster.")
    ] = Launcher.local,
) -> None:
    """From labelled pictures to exported files and a report."""

    def work() -> None:
        configuration = _configuration(config, {**given, "data": data, "records": records})
        if configuration.data is None and configuration.records is None:
            raise BoxcarError(ExitCode.USAGE, "No images were named.", "Add --data and the folder they are in.")
        # Behind the check, because these take a moment to load.
        from boxcar.report.terminal import print_summary

        if launcher is Launcher.cluster:
            from boxcar.cluster import run_on_cluster as run_all
        else:
            from boxcar.local.pipeline import run_all

        if not run_all(configuration, output, resume=resume, until=until.value):
            print(f"{output} holds this very run, finished; nothing was done.")
        elif until is not Until.report:
            print(_THERE[until].format(run=output), "To finish the run, add --resume and leave --until out.")
            return
        print_summary(output)

    do_work("run", work, output)


@app.command()
@takes_settings(*TRAINING, *CONVERSION, "on_fault", "seed")
def retrain(
    models: Annotated[str, typer.Option(help="The registry: a folder of models.", metavar="URI")],
    model: Annotated[str, typer.Option(help="The model's name; its first run begins it.", metavar="NAME")],
    runs: Annotated[str, typer.Option(help="Folder that the run's own is made in.", metavar="URI")],
    data: Annotated[str | None, typer.Option(help="Folder with pictures and labelImg's XML files.", metavar="URI")] = None,
    given: dict[str, Any] = ...,  # type: ignore[assignment]
    config: Config = None,
    launcher: Annotated[
        Launcher, typer.Option(help="Where the steps run: on this machine, or as Jobs on a Kubernetes cluster.")
    ] = Launcher.local,
) -> None:
    """Train a model anew where its pictures have changed, and make the result the champion where it is not worse."""

    def work() -> None:
        configuration = _configuration(config, {**given, "data": data})
        if configuration.data is None:
            raise BoxcarError(ExitCode.USAGE, "No pictures were named.", "Add --data and the folder they lie in.")
        # Behind the check, because these take a moment to load.
        from boxcar.registry import Model
        from boxcar.retraining.retrain import retrain as retrain_model

        if launcher is Launcher.cluster:
            from boxcar.retraining.on_cluster import LAUNCHER
        else:
            from boxcar.retraining.here import LAUNCHER

        ended = retrain_model(Model(models, model), configuration, runs, LAUNCHER)
        print(f"{ended.outcome}: {ended.reason}" + (f" The run is {ended.run}." if ended.run else ""))

    do_work("retrain", work)


@app.command()
def shapes(
    output: Output,
    pictures: Annotated[int, typer.Option(help="How many pictures.")] = 640,
    image_size: Annotated[int, typer.Option(help="Their side, in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Other seed, other pictures.")] = 0,
) -> None:
    """Make a small data set to try things on."""

    def work() -> None:
        from boxcar.shapes import make_shapes

        made = make_shapes(output, pictures=pictures, image_size=image_size, seed=seed)
        print(f"The pictures are in {output if '://' in output else made}.")

    do_work("shapes", work)


@app.command()
@takes_settings("label_map", "frozen_test", "on_fault", "seed")
def records(
    data: Data,
    output: Output,
    given: dict[str, Any],
    config: Config = None,
    full_decode: Annotated[bool, typer.Option(help="Decode every picture to its end to find damaged ones.")] = True,
) -> None:
    """Check labelled pictures, split them and write TFRecord shards."""

    def work() -> None:
        from boxcar.records import build_records, summary_lines

        configuration = _configuration(config, given)
        made = build_records(
            data,
            output,
            **configuration.of_records(),
            full_decode=full_decode,
        )
        print(*summary_lines(made.folder), f"The records are in {output}.", sep="\n")

    do_work("records", work)


@app.command()
@takes_settings(*TRAINING, "seed")
def train(
    run: Run,
    given: dict[str, Any] = ...,  # type: ignore[assignment]
    config: Config = None,
    evaluator: Annotated[
        Evaluator, typer.Option(help="Start the evaluator beside the trainer, expect one elsewhere, or do without.")
    ] = Evaluator.here,
) -> None:
    """Train on a run's records; goes on from the last checkpoint."""

    def work() -> None:
        from boxcar.config.run import make_configuration, merge_settings, read_configuration, write_configuration
        from boxcar.run.layout import CONFIGURATION
        from boxcar.sync.mirror import Mirror
        from boxcar.sync.upload import uploading
        from boxcar.training import check_training, read_workers, settle_init
        from boxcar.training import train as train_step

        folder = _fetched(run, alone=evaluator is not Evaluator.elsewhere)
        configuration = _configuration(config, given)
        kept = read_configuration(folder)
        if kept is not None:
            asked = configuration.model_dump(exclude_unset=True)
            configuration = make_configuration(None, merge_settings(kept.model_dump(), asked))
        if configuration.init is None:
            configuration, sentence = settle_init(configuration)
            if sentence is not None:
                print(sentence, file=sys.stderr, flush=True)
        # Beside the machine that writes; the others of a training have no use for one.
        if evaluator is Evaluator.here and read_workers().is_chief:
            from boxcar.local.training import lock, train_and_evaluate

            # Before the configuration is written: one that is refused must not take the place of the run's own.
            check_training(str(folder), configuration)
            descriptor = lock(folder)
            write_configuration(folder, configuration)
            Mirror(run).send_file(CONFIGURATION)
            train_and_evaluate(run)
            os.close(descriptor)
            print(f"The checkpoints are in {run}/train, their scores in {run}/eval/scores.jsonl.")
        else:
            with uploading(run):
                train_step(str(folder), configuration, evaluator=evaluator is not Evaluator.none)

    do_work("train", work, run)


@app.command()
def evaluate(
    run: Run,
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="Beside a trainer in a pod: write eval/verdict.json at the end, wait for SIGTERM.")
    ] = False,
) -> None:
    """Score a run's checkpoints, while it trains or later."""
    # Before TensorFlow is loaded: the trainer takes all of a GPU's memory, the evaluator lives on the processor.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

    def work() -> None:
        from boxcar.sync.upload import uploading

        folder = _fetched(run, alone=not sidecar)
        if sidecar and _idle():
            return
        if sidecar:
            from boxcar.evaluation.sidecar import evaluate_as_sidecar

            evaluate_as_sidecar(str(folder))
        else:
            from boxcar.evaluation import evaluate as evaluate_step

            with uploading(run):
                evaluate_step(str(folder))
            print(f"The scores are in {run}/eval/scores.jsonl.")

    # The trainer's own failure is what a person must see first; the evaluator's would cover it up.
    do_work("evaluate", work)


@app.command()
def fetch(
    run: Run,
    into: Annotated[Path, typer.Option(help="Folder on this machine.", metavar="DIR")],
) -> None:
    """Bring a run's records and what was trained so far from its bucket, to go on here."""

    def work() -> None:
        from boxcar.storage import bucket_location
        from boxcar.sync.upload import fetch_run

        if bucket_location(run) is None:
            raise BoxcarError(
                ExitCode.USAGE, f"{run} is in no bucket.", "Name a run as s3://bucket/folder or gs://bucket/folder."
            )
        fetch_run(run, into)

    do_work("fetch", work)


@app.command(hidden=True)
def take_records(
    records: Annotated[str, typer.Option(help="The finished records.", metavar="URI")], output: Output, config: Config = None
) -> None:
    """Use finished records as a run's own."""

    def work() -> None:
        from boxcar.records import take_records as take

        configuration = _configuration(config, {})
        take(records, output, label_map=configuration.label_map, frozen_test=configuration.frozen_test)
        print(f"The records are in {output}.")

    do_work("records", work)


@app.command()
def upload(
    run: Run,
    folder: Annotated[Path, typer.Option("--from", help="Folder on this machine, as `boxcar fetch` made it.", metavar="DIR")],
    lease: Annotated[
        str | None, typer.Option(help="End the training when nobody renews this Lease of the pod's namespace.", metavar="NAME")
    ] = None,
    orphan_minutes: Annotated[float, typer.Option(help="For how long nobody may renew it.", min=0.1)] = 10,
) -> None:
    """Send a run to its bucket while it trains, until SIGTERM and then once more."""

    def work() -> None:
        from boxcar.sync.upload import upload_beside

        if _idle():
            return
        orphaned = None
        if lease is not None:
            from boxcar.cluster.lease import Watchdog

            orphaned = Watchdog(lease, orphan_minutes).reason
        upload_beside(run, folder, orphaned)

    do_work("upload", work)


@app.command()
def follow(
    runs: Annotated[str, typer.Option(help="A folder of runs, or one run.", metavar="URI")],
    into: Annotated[Path, typer.Option(help="Folder on this machine, for nothing else.", metavar="DIR")],
    seconds: Annotated[float, typer.Option(help="From one look to the next.", min=1.0)] = 15.0,
) -> None:
    """Keep what TensorBoard shows of runs in a bucket up to date in a folder, until SIGTERM or Ctrl-C."""

    def work() -> None:
        from boxcar.tensorboard_sync import follow_runs

        follow_runs(runs, into, seconds)

    do_work("follow", work)


def _fetched(run: str, *, alone: bool) -> Path:
    """The run's folder on this machine; with what its bucket holds, unless others work there too and see to that."""
    from boxcar.storage import bucket_location
    from boxcar.sync.upload import fetch_run

    if not alone and bucket_location(run) is not None:
        what = f"Trainer, evaluator and uploader share a folder, and {run} is none."
        raise BoxcarError(ExitCode.USAGE, what, "Bring it here with `boxcar fetch`, and name that folder.")
    return fetch_run(run)


def _idle() -> bool:
    """Waits for SIGTERM and says so, on those machines of a training that write nothing and have nothing to send or score."""
    from boxcar.training import read_workers

    if read_workers().is_chief:
        return False
    wait_for_sigterm()
    return True


@app.command()
def freeze(
    architecture: Annotated[str, typer.Option(help=ARCHITECTURES, metavar="NAME")],
    checkpoint: Annotated[str, typer.Option(help="The checkpoint without its endings: .../ckpt-0.", metavar="PREFIX")],
    output: Output,
    label_map: LabelMap = None,
    image_size: ImageSize = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(
            help="Detections score above this; the checkpoint's own if not given, 1e-8 for the zoo's.", metavar="SCORE"
        ),
    ] = None,
) -> None:
    """Make a SavedModel of a checkpoint."""

    def work() -> None:
        from boxcar.export import freeze as freeze_step

        freeze_step(
            architecture,
            checkpoint,
            output,
            label_map=label_map,
            image_size=image_size,
            score_threshold=score_threshold,
        )
        print(f"The SavedModel is in {output}.")

    do_work("freeze", work)


@app.command()
@takes_settings(*CONVERSION)
def convert(
    saved_model: Annotated[str, typer.Option(help="What `boxcar freeze` wrote.", metavar="URI")],
    records: Annotated[str, typer.Option(help="What `boxcar records` wrote: for calibration and checks.", metavar="URI")],
    output: Output,
    given: dict[str, Any],
    config: Config = None,
    verify_key: VerifyKey = None,
) -> None:
    """Convert a SavedModel to TFLite and TensorFlow.js."""

    def work() -> None:
        from boxcar.export import convert as convert_step

        _verify(saved_model, verify_key)
        convert_step(saved_model, records, output, _configuration(config, given))
        print(f"The files are in {output}, described in manifest.json.")

    do_work("convert", work)


@app.command()
def detect(
    model: Annotated[str, typer.Argument(help="A .tflite file, a TensorFlow.js folder, or what `boxcar freeze` wrote.")],
    pictures: Annotated[list[str] | None, typer.Argument(help="Pictures, folders of pictures, or videos.")] = None,
    drawn: Annotated[
        str | None,
        typer.Option(help="Folder for pictures with their boxes: detections, if no option says what to write.", metavar="DIR"),
    ] = None,
    json: Annotated[str | None, typer.Option(help="File for what was found, as JSON.", metavar="FILE")] = None,
    csv: Annotated[str | None, typer.Option(help="File for what was found, as CSV.", metavar="FILE")] = None,
    score: Annotated[float, typer.Option(help="Leave out what scores below.")] = 0.3,
    camera: Annotated[int | None, typer.Option(help="Number of a camera to read until Ctrl-C.")] = None,
    threads: Annotated[int, typer.Option(help="Processor threads to compute with.", min=1)] = 2,
    verify_key: VerifyKey = None,
) -> None:
    """Find objects in pictures with any exported file."""

    def work() -> None:
        from boxcar.detect import detect as detect_in

        _verify(model, verify_key)
        folder = "detections" if drawn is None and json is None and csv is None else drawn
        written = [place for place in (folder, json, csv) if place is not None]
        found = detect_in(
            model,
            pictures or [],
            camera=camera,
            drawn=folder,
            json=json,
            table=csv,
            score=score,
            threads=threads,
            say=lambda sentence: print(sentence, flush=True),
        )
        print(
            f"{found.objects} objects in {found.images} images, {found.milliseconds:.1f} ms per image; "
            f"see {', '.join(written)}."
        )

    do_work("detect", work)


@app.command()
def demo_page(
    run: Run,
    port: Annotated[int, typer.Option(help="Where on 127.0.0.1; 0 for any that is free.", min=0, max=65535)] = 8765,
    verify_key: VerifyKey = None,
) -> None:
    """Try a run's TensorFlow.js model in a browser, until Ctrl-C."""

    def work() -> None:
        from boxcar.demo_page import serve

        _verify(f"{run.rstrip('/')}/export", verify_key)
        serve(run, port, say=lambda sentence: print(sentence, flush=True))

    do_work("demo-page", work)


@app.command()
def report(run: Run) -> None:
    """Write the page that shows a run, and run.json."""

    def work() -> None:
        from boxcar.report import write_report
        from boxcar.report.terminal import print_summary

        write_report(run)
        print_summary(run)

    do_work("report", work, run)


@app.command()
def show(file: Annotated[str, typer.Argument(help="An exported file, or the folder of one.", metavar="FILE|URI")]) -> None:
    """Say where an exported file comes from: run, images, code, data; and with which version it was compared."""

    def work() -> None:
        from boxcar.export.origin import describe_origin
        from boxcar.registry.comparisons import describe_comparisons

        print(*describe_origin(file), *describe_comparisons(file), sep="\n")

    do_work("show", work)


@app.command()
def sign(
    folder: Annotated[str, typer.Argument(help="What was exported: <run>/export, or a copy of it.", metavar="DIR|URI")],
    key: Annotated[Path, typer.Option(help="Private key: PEM, an elliptic curve such as prime256v1.", metavar="FILE")],
) -> None:
    """Sign exported files, so that whoever has the public key knows that none was changed since."""

    def work() -> None:
        from boxcar.signing import SIGNATURE, sign_folder

        count = sign_folder(folder, key)
        print(f"{count} files in {folder} are signed; the signature is {SIGNATURE} beside them.")

    do_work("sign", work)


@app.command()
def verify(
    folder: Annotated[str, typer.Argument(help="What was signed.", metavar="DIR|URI")],
    key: Annotated[Path, typer.Option(help="Public key of whoever signed.", metavar="FILE")],
) -> None:
    """Say whether signed files are what was signed: 0 if so, 1 if not."""

    def work() -> None:
        from boxcar.signing import verify_folder

        print(f"{verify_folder(folder, key)} files in {folder} are what was signed.")

    do_work("verify", work)


@app.command()
def submit(
    pipeline: Annotated[
        str, typer.Argument(help="train-detector, retrain-if-changed, convert-only, or a file that kfp has compiled.")
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="Of the pipeline, may be given many times.", metavar="NAME=VALUE"),
    ] = None,
    endpoint: KfpEndpoint = None,
    token_file: TokenFile = None,
    namespace: Namespace = None,
    experiment: Annotated[str, typer.Option(help="That the run is filed under.")] = "Default",
    service_account: Annotated[str | None, typer.Option(help="Of the run's pods; the server's own if not given.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the run; made from the time if not given.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for the run's end, and end as it does.")] = True,
) -> None:
    """Start a pipeline on Kubeflow, and follow it to its end."""

    def work() -> None:
        from boxcar.kfp.endpoint import Endpoint
        from boxcar.kfp.submit import split_parameters
        from boxcar.kfp.submit import submit as submit_pipeline

        submit_pipeline(
            pipeline,
            split_parameters(parameter or []),
            Endpoint(endpoint, token_file),
            namespace=namespace,
            experiment=experiment,
            service_account=service_account,
            name=name,
            follow=follow,
            say=lambda sentence: print(sentence, flush=True),
        )

    do_work("submit", work)


@app.command()
def architectures() -> None:
    """List the detectors that can be trained."""

    def work() -> None:
        from boxcar.detectors.table import print_architectures

        print_architectures()

    do_work("architectures", work)


@app.command()
def doctor(
    output: Annotated[str, typer.Option(help="Where runs would be written.", metavar="URI")] = ".",
    data: Annotated[str | None, typer.Option(help="Pictures in a bucket that would be read.", metavar="URI")] = None,
    buckets_only: Annotated[
        bool, typer.Option("--buckets-only", help="Try the buckets alone, as on a machine that itself trains nothing.")
    ] = False,
) -> None:
    """Say what this machine has and lacks."""

    def work() -> None:
        from boxcar.doctor import examine, examine_buckets, print_findings

        findings = examine_buckets(output, data) if buckets_only else examine(output, data)
        if not findings:
            raise BoxcarError(ExitCode.USAGE, "No bucket was named.", "Add --output or --data and an s3:// or gs:// folder.")
        print_findings(findings)
        missing = [finding for finding in findings if not finding.ok]
        if missing:
            what = f"{len(missing)} of {len(findings)} findings are not as they should be: {missing[0].what}"
            raise BoxcarError(ExitCode.ENVIRONMENT, what, missing[0].do or "See the table above.")

    do_work("doctor", work)


def _version(asked: bool) -> None:
    if asked:
        print(f"boxcar {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command and ends the process with one of `errors.ExitCode`."""
    run_command(app)


def _verify(model: str, key: Path | None) -> None:
    """Ends with 1 where a key was given and the model is not what its owner signed."""
    if key is not None:
        from boxcar.signing import verify_around

        verify_around(model, key)


def _configuration(config: str | None, given: dict[str, Any]) -> "Configuration":
    from boxcar.config.run import make_configuration
    from boxcar.storage import fetch_file

    file = None if config is None else fetch_file(config)
    limits = split_pairs("--limit", given.get("limits", ()))
    return make_configuration(file, given | ({"limits": limits} if limits else {}))
