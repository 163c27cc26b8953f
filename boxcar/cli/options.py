"""The options that are settings of the configuration, each written once, for every command that takes it."""

import functools
import inspect
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from boxcar.errors import BoxcarError, ExitCode


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


# Written out, because --help must not load what knows them; a test compares.
ARCHITECTURES = (
    "ssd_mobilenet_v2_fpnlite_320x320 (the default of run and train), or another of those that `boxcar architectures` lists."
)
FORMATS = (
    "Files to export, comma-separated: tflite_float32,tflite_int8,tfjs_float32 if not given; also tflite_float16, "
    "tflite_dynamic, tflite_float32_nms, tflite_int8_nms, tfjs_float16, tfjs_uint8; all for every one, saved_model for none."
)

LIMITS = (
    "Refuse a file beyond this, may be given many times: raw_difference, mean_raw_difference, matched, mean_iou, "
    "score_difference, ap50_loss, nms_ap50_loss, milliseconds, megabytes, peak_memory_megabytes."
)

Architecture = Annotated[str | None, typer.Option(help=ARCHITECTURES, metavar="NAME")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the network's input, a multiple of 32.", metavar="PIXELS")]
# Of every command that asks Kubeflow.
KfpEndpoint = Annotated[
    str | None, typer.Option(help="Address of Kubeflow Pipelines; KF_PIPELINES_ENDPOINT if not given.", metavar="URL")
]
TokenFile = Annotated[Path | None, typer.Option(help="File with a token for it.", metavar="FILE")]
Namespace = Annotated[str | None, typer.Option(help="The run's, where many users share the server.")]
VerifyKey = Annotated[
    Path | None,
    typer.Option(help="Public key: go on only where all files are what its owner signed.", metavar="FILE"),
]
LabelMap = Annotated[str | None, typer.Option(help="A label_map.pbtxt whose ids are kept.", metavar="FILE")]

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
    "formats": Annotated[str | None, typer.Option(help=FORMATS, metavar="NAMES")],
    "limits": Annotated[list[str] | None, typer.Option("--limit", help=LIMITS, metavar="NAME=VALUE")],
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
    "frozen_test": Annotated[
        str | None,
        typer.Option(help="List of the pictures that alone are the test split: a model's frozen-test.txt.", metavar="FILE"),
    ],
    "on_fault": Annotated[OnFault | None, typer.Option(help="Stop at faulty pictures, or leave them out.")],
    "seed": Annotated[int | None, typer.Option(help="Seed of weights, data order, augmentation and split.")],
}
TRAINING = (
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
CONVERSION = ("formats", "limits", "parity_pictures", "int8_pictures", "int8_input", "int8_max_drop")


# The settings of the gate, for the commands that compare versions of a model.
GATE: dict[str, Any] = {
    "format": Annotated[
        str | None,
        typer.Option(help="The file that ships, on which versions are compared; tflite_int8 if not given.", metavar="NAME"),
    ],
    "min_gain": Annotated[
        float | None,
        typer.Option(help="Difference of AP50 to the champion that must be exceeded; -0.005 if not given.", metavar="AP50"),
    ],
    "confidence": Annotated[
        float | None,
        typer.Option(help="Of each one-sided bound of that difference; 0.95 if not given.", metavar="SHARE"),
    ],
    "class_floors": Annotated[
        list[str] | None,
        typer.Option("--class-floor", help="AP50 that a class must reach, may be given many times.", metavar="CLASS=AP50"),
    ],
    "max_milliseconds": Annotated[float | None, typer.Option(help="Most that a picture may take, the median.", metavar="MS")],
    "max_megabytes": Annotated[float | None, typer.Option(help="Most that the file may have.", metavar="MB")],
    "accept_new_classes": Annotated[
        bool | None,
        typer.Option("--accept-new-classes", help="Let it know other classes than the champion; shared ones are compared."),
    ],
    "threads": Annotated[
        int | None, typer.Option(help="Processor threads that the files are run with; 2 if not given.", metavar="NUMBER")
    ],
}


def split_pairs(option: str, written: Iterable[str]) -> dict[str, str]:
    """What was given by an option that takes NAME=VALUE, by name. A name may hold `=`, a value may not.

    Raises:
        BoxcarError: 64 where one is not written so, or is given twice.
    """
    found: dict[str, str] = {}
    for text in written:
        name, equals, value = (part.strip() for part in text.rpartition("="))
        if not equals:
            raise BoxcarError(ExitCode.USAGE, f"{option} {text} has no value.", f"Write {option} NAME=VALUE.")
        if name in found:
            raise BoxcarError(ExitCode.USAGE, f"{option} {name} is given twice.", f"Write {option} {name}=VALUE once.")
        found[name] = value
    return found


def takes_settings(*names: str, of: dict[str, Any] = SETTINGS) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command an option for each of these settings, in the place of its parameter `given`.

    That parameter then is the settings that were given, by name, for `make_configuration`.

    Args:
        names: of the settings.
        of: their options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == "given":
                kind = inspect.Parameter.KEYWORD_ONLY
                parameters += [inspect.Parameter(n, kind, default=None, annotation=of[n]) for n in names]
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
