"""The steps of a run, one command each."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from boxcar.cli.command import STEPS, command, make_app
from boxcar.cli.options import (
    CONVERSION,
    DATA,
    TRAINING,
    Config,
    Output,
    Run,
    VerifyKey,
    make_configuration,
    of_configuration,
    verify_model,
)
from boxcar.errors import BoxcarError, ExitCode
from boxcar.process import wait_for_sigterm

app = make_app()


@command(app, settings=of_configuration(*DATA), panel=STEPS)
def records(
    data: Annotated[str, typer.Option(help="Folder with images and their label files.", metavar="URI")],
    output: Output,
    given: dict[str, Any],
    config: Config = None,
    full_decode: Annotated[bool, typer.Option(help="Decode every image completely to find damaged ones.")] = True,
    runner: Annotated[
        Literal["local", "beam"], typer.Option(help="Work in processes on this machine, or in an Apache Beam pipeline.")
    ] = "local",
    beam_options: Annotated[
        list[str] | None,
        typer.Argument(help="With --runner beam, after --: pipeline options of Apache Beam.", metavar="BEAM_OPTION"),
    ] = None,
) -> None:
    """Check labeled images, split them, and write TFRecord shards."""
    from boxcar.records import build_records, summary_lines

    configuration = make_configuration(config, given)
    if runner == "beam":
        from boxcar.records.beam.engine import BeamEngine

        made = build_records(
            data, output, **configuration.of_records(), full_decode=full_decode, engine=BeamEngine(beam_options or ())
        )
    elif beam_options:
        what = f"{beam_options[0]} would be a pipeline option of Apache Beam, which --runner beam asks for."
        raise BoxcarError(ExitCode.USAGE, what, "Add --runner beam, or leave it out.")
    else:
        made = build_records(data, output, **configuration.of_records(), full_decode=full_decode)
    print(*summary_lines(made.folder), f"The records are in {output}.", sep="\n")


@command(app, settings=of_configuration("format", "on_fault", "unlabeled", "classes", "max_megapixels"), panel=STEPS)
def convert_labels(
    data: Annotated[str, typer.Option(help="Folder with images and their label files.", metavar="URI")],
    output: Output,
    to: Annotated[Literal["voc", "coco", "yolo"], typer.Option(help="Format to write.")],
    given: dict[str, Any],
) -> None:
    """Write labeled images of any format as Pascal VOC, COCO, or YOLO."""
    from boxcar.records import convert_labels as convert

    configuration = make_configuration(None, given)
    names = {"format", "on_fault", "unlabeled", "classes", "max_megapixels"}
    convert(data, output, to, **configuration.model_dump(include=names, exclude_none=True))
    print(f"The images and their labels are in {output}.")


@command(app, failure_in="run", settings=of_configuration(*TRAINING, "seed"), panel=STEPS)
def train(
    run: Run,
    given: dict[str, Any],
    config: Config = None,
    evaluator: Annotated[
        Literal["here", "elsewhere", "none"],
        typer.Option(help="Run an evaluator here, expect one elsewhere, or train without one."),
    ] = "here",
) -> None:
    """Train on a run's records, from its last checkpoint if there is one."""
    from boxcar.local.resume import started_with
    from boxcar.sync.upload import uploading
    from boxcar.training import read_workers
    from boxcar.training import train as train_step

    folder = fetched(run, alone=evaluator != "elsewhere")
    configuration = started_with(folder, make_configuration(config, given))
    # Only the worker that writes the run needs an evaluator.
    if evaluator == "here" and read_workers().is_chief:
        from boxcar.local.training import train_here

        train_here(run, configuration)
        print(f"The checkpoints are in {run}/train, their scores in {run}/eval/scores.jsonl.")
    else:
        with uploading(run):
            train_step(str(folder), configuration, evaluator=evaluator != "none")


# Its failure is not recorded in the run, because it would hide the trainer's.
@command(app, panel=STEPS)
def evaluate(
    run: Run,
    sidecar: Annotated[
        bool,
        typer.Option(
            "--sidecar", help="As a sidecar of the trainer: write eval/verdict.json, and wait for SIGTERM.", hidden=True
        ),
    ] = False,
) -> None:
    """Score a run's checkpoints, during training or later."""
    # Before TensorFlow is loaded. The trainer takes all of a GPU's memory; the evaluator runs on the CPU.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from boxcar.sync.upload import uploading

    folder = fetched(run, alone=not sidecar)
    if sidecar:
        from boxcar.evaluation.sidecar import evaluate_as_sidecar

        if not idle():
            evaluate_as_sidecar(str(folder))
        return
    from boxcar.evaluation import evaluate as evaluate_step

    with uploading(run):
        evaluate_step(str(folder))
    print(f"The scores are in {run}/eval/scores.jsonl.")


@command(app, panel=STEPS)
def freeze(
    architecture: Annotated[str, typer.Option(help="The checkpoint's architecture.", metavar="NAME")],
    checkpoint: Annotated[
        str,
        typer.Option(
            help="Path of the checkpoint without file extensions: .../ckpt-0. Or a run, for its best checkpoint.",
            metavar="PREFIX",
        ),
    ],
    output: Output,
    label_map: Annotated[
        str | None,
        typer.Option(
            help="The label_map.pbtxt that the checkpoint was trained with. "
            "[default: the one next to the checkpoint, else COCO's for 91 class slots]",
            metavar="URI",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the network's input in pixels, if the checkpoint does not say what it was trained with.",
            metavar="PIXELS",
        ),
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(
            help="Minimum score of a detection. [default: the checkpoint's own, or 1e-8 for zoo checkpoints]", metavar="SCORE"
        ),
    ] = None,
) -> None:
    """Create a SavedModel from a checkpoint."""
    from boxcar.export import freeze as freeze_step

    freeze_step(architecture, checkpoint, output, label_map=label_map, image_size=image_size, score_threshold=score_threshold)
    print(f"The SavedModel is in {output}.")


@command(app, settings=of_configuration(*CONVERSION), panel=STEPS)
def convert(
    saved_model: Annotated[str, typer.Option(help="Folder that `boxcar freeze` wrote.", metavar="URI")],
    records: Annotated[str, typer.Option(help="Records with the images for calibration and parity checks.", metavar="URI")],
    output: Output,
    given: dict[str, Any],
    config: Config = None,
    verify_key: VerifyKey = None,
) -> None:
    """Convert a SavedModel to TFLite and TensorFlow.js."""
    from boxcar.export import convert as convert_step

    verify_model(saved_model, verify_key)
    convert_step(saved_model, records, output, make_configuration(config, given))
    print(f"The files are in {output}, described in manifest.json.")


@command(app, failure_in="run", panel=STEPS)
def report(run: Run) -> None:
    """Write a run's report page and run.json."""
    from boxcar.report import write_report
    from boxcar.report.terminal import print_summary

    write_report(run)
    print_summary(run)


def fetched(run: str, *, alone: bool) -> Path:
    """The run's folder on this machine. It is downloaded from a bucket, unless other containers of a pod share it."""
    from boxcar.storage import bucket_location
    from boxcar.sync.upload import fetch_run

    if not alone and bucket_location(run) is not None:
        what = f"The trainer, evaluator, and uploader need a shared local folder, but {run} is in a bucket."
        raise BoxcarError(ExitCode.USAGE, what, "Copy it with `boxcar fetch`, and give the copy as --run.")
    return fetch_run(run)


def idle() -> bool:
    """On workers of a training that have nothing to upload or evaluate, waits for SIGTERM and returns True."""
    from boxcar.training import read_workers

    if read_workers().is_chief:
        return False
    wait_for_sigterm()
    return True
