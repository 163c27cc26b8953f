"""The command `boxcar`. Each sub-command loads what it needs when it is called: `boxcar --help` loads nothing."""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxcar import __version__
from boxcar.errors import BoxcarError, ExitCode
from boxcar.process import do_work, run_command

if TYPE_CHECKING:
    from boxcar.run.configuration import Configuration

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its panels double the time of --help
    help="Trains object detectors from your own labelled photographs, and hands back files for phone, browser and server.",
)


class OnFault(StrEnum):
    stop = "stop"
    skip = "skip"


class OnDivergence(StrEnum):
    stop = "stop"
    rollback = "rollback"


class Optimizer(StrEnum):
    sgd = "sgd"
    adamw = "adamw"


class Pixels(StrEnum):
    float32 = "float32"
    uint8 = "uint8"


class Evaluator(StrEnum):
    here = "here"
    elsewhere = "elsewhere"
    none = "none"


# Written out, because --help must not load what knows them; a test compares.
_ARCHITECTURES = (
    "ssd_mobilenet_v2_fpnlite_320x320 (the default of run and train), or another of those that `boxcar architectures` lists."
)
_FORMATS = (
    "Files to export, comma-separated: tflite_float32,tflite_int8,tfjs_float32 if not given; also tflite_float16, "
    "tflite_dynamic, tflite_float32_nms, tflite_int8_nms, tfjs_float16, tfjs_uint8; all for every one, saved_model for none."
)

_LIMITS = (
    "Refuse a file beyond this, may be given many times: raw_difference, mean_raw_difference, matched, mean_iou, "
    "score_difference, ap50_loss, nms_ap50_loss, milliseconds, megabytes, peak_memory_megabytes."
)

Data = Annotated[str, typer.Option(help="Folder with pictures and labelImg's XML files.", metavar="DIR")]
Output = Annotated[str, typer.Option(help="Folder to write into.", metavar="DIR")]
Run = Annotated[str, typer.Option(help="The run's folder.", metavar="DIR")]
Architecture = Annotated[str | None, typer.Option(help=_ARCHITECTURES, metavar="NAME")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the network's input, a multiple of 32.", metavar="PIXELS")]
LabelMap = Annotated[str | None, typer.Option(help="A label_map.pbtxt whose ids are kept.", metavar="FILE")]
Config = Annotated[Path | None, typer.Option(help="Settings as YAML; options given beside it win.", metavar="FILE")]

# The settings of the configuration that are options too; every other one stands in the file that --config names.
SETTINGS: dict[str, Any] = {
    "architecture": Architecture,
    "image_size": ImageSize,
    "steps": Annotated[int | None, typer.Option(help="Training steps; derived from the data if not given.")],
    "batch_size": Annotated[int | None, typer.Option(help="Pictures a training step.")],
    "learning_rate": Annotated[float | None, typer.Option(help="Highest learning rate.")],
    "optimizer": Annotated[Optimizer | None, typer.Option(help="What takes the steps: sgd (the default) or adamw.")],
    "init": Annotated[
        str | None, typer.Option(help="Weights to start from: none, zoo, or .../ckpt-0.", metavar="none|zoo|URI")
    ],
    "gpus": Annotated[
        int | None, typer.Option("--gpus", help="GPUs that must be there; all that are seen if not given, 0: none.")
    ],
    "on_divergence": Annotated[
        OnDivergence | None, typer.Option(help="At a loss that is not finite: stop, or go back and halve the learning rate.")
    ],
    "formats": Annotated[str | None, typer.Option(help=_FORMATS, metavar="NAMES")],
    "limits": Annotated[list[str] | None, typer.Option("--limit", help=_LIMITS, metavar="NAME=VALUE")],
    "parity_pictures": Annotated[
        int | None, typer.Option(help="Pictures that files are compared with the SavedModel on, at most; 200 if not given.")
    ],
    "int8_pictures": Annotated[
        int | None, typer.Option("--int8-pictures", help="Training pictures to calibrate INT8 on, at most; 100 if not given.")
    ],
    "int8_input": Annotated[
        Pixels | None, typer.Option("--int8-input", help="Numbers that INT8 files take pixels in; float32 if not given.")
    ],
    "int8_max_drop": Annotated[
        float | None,
        typer.Option(
            "--int8-max-drop", help="AP50 that INT8 may cost before its worst layers stay in float32; 0.01 if not given."
        ),
    ],
    "label_map": LabelMap,
    "on_fault": Annotated[OnFault | None, typer.Option(help="Stop at faulty pictures, or leave them out.")],
    "seed": Annotated[int | None, typer.Option(help="Seed of weights, data order, augmentation and split.")],
}
_TRAINING = (
    "architecture",
    "image_size",
    "steps",
    "batch_size",
    "learning_rate",
    "optimizer",
    "init",
    "gpus",
    "on_divergence",
)
_CONVERSION = ("formats", "limits", "parity_pictures", "int8_pictures", "int8_input", "int8_max_drop")


def takes_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command an option for each of these settings, in the place of its parameter `given`.

    That parameter then is the settings that were given, by name, for `make_configuration`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == "given":
                kind = inspect.Parameter.KEYWORD_ONLY
                parameters += [inspect.Parameter(n, kind, default=None, annotation=SETTINGS[n]) for n in names]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        @functools.wraps(command)
        def called(**options: Any) -> None:
            given = {name: value for name in names if (value := options.pop(name)) not in (None, [])}
            command(given=given, **options)

        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


@app.command()
@takes_settings(*_TRAINING, *_CONVERSION, "label_map", "on_fault", "seed")
def run(
    data: Annotated[str | None, typer.Option(help="Folder with pictures and labelImg's XML files.", metavar="DIR")] = None,
    output: Annotated[str, typer.Option(help="The run's folder.", metavar="DIR")] = ...,  # type: ignore[assignment]
    given: dict[str, Any] = ...,  # type: ignore[assignment]
    config: Config = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was begun.")] = False,
) -> None:
    """From labelled pictures to exported files and a report."""

    def work() -> None:
        configuration = _configuration(config, {**given, "data": data})
        if configuration.data is None:
            raise BoxcarError(ExitCode.USAGE, "No pictures were named.", "Add --data and the folder they lie in.")
        # Behind the check, because these take a moment to load.
        from boxcar.report.summary import print_summary
        from boxcar.run.chain import run_all

        if not run_all(configuration, output, resume=resume):
            print(f"{output} holds this very run, finished; nothing was done.")
        print_summary(output)

    do_work("run", work, output)


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

        print(f"The pictures are in {make_shapes(output, pictures=pictures, image_size=image_size, seed=seed)}.")

    do_work("shapes", work)


@app.command()
def records(
    data: Data,
    output: Output,
    on_fault: Annotated[OnFault, typer.Option(help="Stop at faulty pictures, or leave them out.")] = OnFault.stop,
    label_map: LabelMap = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    full_decode: Annotated[bool, typer.Option(help="Decode every picture to its end to find damaged ones.")] = True,
) -> None:
    """Check labelled pictures, split them and write TFRecord shards."""

    def work() -> None:
        from boxcar.records import build_records, summary_lines

        made = build_records(data, output, on_fault=on_fault.value, label_map=label_map, seed=seed, full_decode=full_decode)
        print(*summary_lines(made.folder), f"The records are in {output}.", sep="\n")

    do_work("records", work)


@app.command()
@takes_settings(*_TRAINING, "seed")
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
        from boxcar.run.configuration import make_configuration, merge_settings, read_configuration, write_configuration
        from boxcar.storage import local_path
        from boxcar.training import check_training, read_machines, settle_init
        from boxcar.training import train as train_step

        folder = local_path(run)
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
        if evaluator is Evaluator.here and read_machines().is_chief:
            from boxcar.run.launch import lock, train_and_evaluate

            # Before the configuration is written: one that is refused must not take the place of the run's own.
            check_training(run, configuration)
            descriptor = lock(folder)
            write_configuration(folder, configuration)
            train_and_evaluate(folder)
            os.close(descriptor)
            print(f"The checkpoints are in {folder / 'train'}, their scores in {folder / 'eval' / 'scores.jsonl'}.")
        else:
            train_step(run, configuration, evaluator=evaluator is not Evaluator.none)

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
        if sidecar:
            from boxcar.evaluation.sidecar import evaluate_beside

            evaluate_beside(run)
        else:
            from boxcar.evaluation import evaluate as evaluate_step

            print(f"The scores are in {evaluate_step(run).folder / 'scores.jsonl'}.")

    # The trainer's own failure is what a person must see first; the evaluator's would cover it up.
    do_work("evaluate", work)


@app.command()
def freeze(
    architecture: Annotated[str, typer.Option(help=_ARCHITECTURES, metavar="NAME")],
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
@takes_settings(*_CONVERSION)
def convert(
    saved_model: Annotated[str, typer.Option(help="What `boxcar freeze` wrote.", metavar="DIR")],
    records: Annotated[str, typer.Option(help="What `boxcar records` wrote: for calibration and checks.", metavar="DIR")],
    output: Output,
    given: dict[str, Any],
    config: Config = None,
) -> None:
    """Convert a SavedModel to TFLite and TensorFlow.js."""

    def work() -> None:
        from boxcar.export import convert as convert_step

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
) -> None:
    """Find objects in pictures with any exported file."""

    def work() -> None:
        from boxcar.detect import detect as detect_in

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
            f"{found.objects} objects in {found.pictures} pictures, {found.milliseconds:.1f} ms a picture; "
            f"see {', '.join(written)}."
        )

    do_work("detect", work)


@app.command()
def demo_page(
    run: Run,
    port: Annotated[int, typer.Option(help="Where on 127.0.0.1; 0 for any that is free.", min=0, max=65535)] = 8765,
) -> None:
    """Try a run's TensorFlow.js model in a browser, until Ctrl-C."""

    def work() -> None:
        from boxcar.demo_page import serve

        serve(run, port, say=lambda sentence: print(sentence, flush=True))

    do_work("demo-page", work)


@app.command()
def report(run: Run) -> None:
    """Write the page that shows a run, and run.json."""

    def work() -> None:
        from boxcar.report import write_report
        from boxcar.report.summary import print_summary

        write_report(run)
        print_summary(run)

    do_work("report", work, run)


@app.command()
def architectures() -> None:
    """List the detectors that can be trained."""

    def work() -> None:
        from boxcar.detectors.table import print_architectures

        print_architectures()

    do_work("architectures", work)


@app.command()
def doctor(
    output: Annotated[str, typer.Option(help="Where runs would be written.", metavar="DIR")] = ".",
) -> None:
    """Say what this machine has and lacks."""

    def work() -> None:
        from boxcar.doctor import examine, print_findings

        findings = examine(output)
        print_findings(findings)
        missing = [finding for finding in findings if not finding.ok]
        if missing:
            what = f"{len(missing)} of {len(findings)} findings are not as they should be: {missing[0].what}"
            raise BoxcarError(ExitCode.SURROUNDINGS, what, missing[0].do or "See the table above.")

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


def _configuration(config: Path | None, given: dict[str, Any]) -> "Configuration":
    from boxcar.run.configuration import make_configuration

    limits = {}
    for text in given.get("limits", ()):
        name, equals, value = text.partition("=")
        if not equals:
            raise BoxcarError(ExitCode.USAGE, f"--limit {text} has no value.", "Write --limit NAME=VALUE.")
        limits[name.strip()] = value.strip()
    return make_configuration(config, given | ({"limits": limits} if limits else {}))
