"""Options of several commands, and options that are generated from the configuration's types."""

import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from boxcar.errors import BoxcarError, ExitCode

if TYPE_CHECKING:
    from boxcar.config.run_settings import Configuration
    from boxcar.config.settings import Settings


# A folder or file is a path or a URI in a bucket: s3://bucket/folder, gs://bucket/folder.
Data = Annotated[str | None, typer.Option(help="Folder with images and their label files.", metavar="URI")]
Output = Annotated[str, typer.Option(help="Folder to write into.", metavar="URI")]
Run = Annotated[str, typer.Option(help="The run's folder.", metavar="URI")]
Config = Annotated[
    str | None, typer.Option(help="YAML file with settings. Options on the command line override them.", metavar="URI")
]
Launcher = Annotated[Literal["local", "cluster"], typer.Option(help="Run the steps on this machine, or as Jobs on a cluster.")]
# Of every command that asks Kubeflow.
KfpEndpoint = Annotated[
    str | None, typer.Option(help="Address of Kubeflow Pipelines. [default: KF_PIPELINES_ENDPOINT]", metavar="URL")
]
TokenFile = Annotated[Path | None, typer.Option(help="File with a token for Kubeflow.", metavar="FILE")]
Namespace = Annotated[str | None, typer.Option(help="Namespace of the run, on a multi-user server.")]
VerifyKey = Annotated[
    Path | None, typer.Option(help="Public key. Continue only if all files match their signature.", metavar="FILE")
]

# The settings that are options, by their section in the help. All others are set in the file of --config.
TRAINING = ("architecture", "image_size", "steps", "batch_size", "learning_rate", "optimizer", "init", "gpus", "on_divergence")
CONVERSION = ("formats", "limits", "parity_pictures", "int8_pictures", "int8_input", "int8_max_drop")
DATA = (
    *("format", "label_map", "frozen_test", "on_fault", "unlabeled", "classes", "group_by", "difficult", "max_megapixels"),
    "seed",
)
_SECTIONS = {"Training": TRAINING, "Exported files": CONVERSION, "Data": DATA}
_METAVARS = {
    "architecture": "NAME",
    "image_size": "PIXELS",
    "init": "none|zoo|packaged|URI",
    "formats": "NAMES",
    "limits": "NAME=VALUE",
    "label_map": "URI",
    "frozen_test": "URI",
    "format": "NAME",
    "classes": "WORDS",
    "group_by": "folder|name|time|none|REGEX",
    "min_gain": "AP50",
    "confidence": "SHARE",
    "class_floors": "CLASS=AP50",
    "max_milliseconds": "MS",
    "max_megabytes": "MB",
    "threads": "NUMBER",
}


def of_configuration(*names: str) -> Callable[[], list[Any]]:
    """A function that makes the options for these settings of a run."""

    def make() -> list[Any]:
        from boxcar.config.run_settings import Configuration

        return _options(Configuration, names)

    return make


def of_gate(*names: str) -> Callable[[], list[Any]]:
    """A function that makes the options for these settings of the gate; for all if none is named."""

    def make() -> list[Any]:
        from boxcar.config.gate_settings import GateSettings

        return _options(GateSettings, names or tuple(GateSettings.model_fields))

    return make


def _options(of: type["Settings"], names: Iterable[str]) -> list[Any]:
    """Options for the command's parser. They are None by default, so that the configuration's defaults apply."""
    import inspect

    def command(**given: Any) -> None:
        raise NotImplementedError  # only its parameters are used

    kind = inspect.Parameter.KEYWORD_ONLY
    annotations = {name: _annotation(name, of.model_fields[name]) for name in names}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind, default=None, annotation=one) for name, one in annotations.items()]
    )
    command.__annotations__ = annotations
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    holder.command()(command)
    return list(typer.main.get_command(holder).params)


def _annotation(name: str, field: Any) -> Any:
    """A setting's option, with the type, description, and default of the configuration."""
    option, kind = "--" + name.replace("_", "-"), _plain(field.annotation)
    text = field.description
    if get_origin(kind) is tuple:  # given as one text, separated by commas
        names = get_args(get_args(kind)[0])
        text = f"{text} Comma-separated names: {', '.join(names)}." if names else text
        kind = str
    elif get_origin(kind) is dict or hasattr(kind, "model_fields"):  # a table: one option for each of its rows
        text = f"{text} Can be given more than once."
        if hasattr(kind, "model_fields"):
            text = f"{text} Names: {', '.join(kind.model_fields)}."
        option, kind = option.removesuffix("s"), list[str]
    default = field.default
    if isinstance(default, str | int | float | tuple) and not isinstance(default, bool):
        text = f"{text} [default: {','.join(default) if isinstance(default, tuple) else default}]"
    section = next((title for title, names in _SECTIONS.items() if name in names), None)
    shown = typer.Option(option, help=text, metavar=_METAVARS.get(name), rich_help_panel=section)
    return Annotated[kind | None, shown]


def _plain(annotation: Any) -> Any:
    """A type without None and without pydantic's constraints."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (one for one in get_args(annotation) if one is not types.NoneType)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation if get_origin(annotation) in (Literal, tuple, dict) or isinstance(annotation, type) else str


def make_configuration(
    config: str | None, given: dict[str, Any], base: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> "Configuration":
    """The configuration from --config and the options.

    Args:
        config: path or URI of a YAML file, if there is one.
        given: the options, which override it.
        base: returns the settings that both override, when called with both.

    Raises:
        BoxcarError: 64 if something in them is wrong; as `base`.
    """
    from boxcar.config.run_settings import merge_settings, read_settings, validated
    from boxcar.storage import fetch_file

    limits = split_pairs("--limit", given.get("limits", ()))
    file = None if config is None else fetch_file(config)
    settings = read_settings(file, given | ({"limits": limits} if limits else {}))
    return validated(settings if base is None else merge_settings(base(settings), settings))


def split_pairs(option: str, written: Iterable[str], *, at_last: bool = False) -> dict[str, str]:
    """The values of an option that takes NAME=VALUE, by name.

    Args:
        option: name of the option, for messages.
        written: as given.
        at_last: whether the name ends at the last `=`, for names that can hold one; else at the first.

    Raises:
        BoxcarError: 64 if one has no `=`, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in written:
        name, equals, value = text.rpartition("=") if at_last else text.partition("=")
        name = name.strip()
        if not equals:
            raise BoxcarError(ExitCode.USAGE, f"{option} {text} has no value.", f"Write {option} NAME=VALUE.")
        if name in found:
            raise BoxcarError(ExitCode.USAGE, f"{option} {name} is given twice.", f"Write {option} {name}=VALUE once.")
        found[name] = value
    return found


def verify_model(model: str, key: Path | None) -> None:
    """Raises BoxcarError 1 if a key was given and the model's files do not match their signature."""
    if key is not None:
        from boxcar.signing import verify_around

        verify_around(model, key)
