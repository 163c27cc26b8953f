"""The forms that a person fills in to start a pipeline: the name, type, default and description of every parameter, once.

Pipelines take their parameters from here, components the descriptions of their arguments, `boxcar submit` its checks, and
docs/reference/pipeline-parameters.md its tables. A component repeats names and types, because kfp copies the source of its
function into the pipeline; `describes` refuses one that differs.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args, get_type_hints

from boxcar.config.run_settings import DEFAULT_ARCHITECTURE

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Form:
    """What every pipeline asks for. In all forms an empty text or a 0 was left open.

    Attributes:
        folders: the parameters that name folders and must be filled in.
        optional_uris: further parameters that name a folder or a file, if they are filled in.
    """

    folders: ClassVar[tuple[str, ...]] = ()
    optional_uris: ClassVar[tuple[str, ...]] = ("config",)

    architecture: Annotated[str, "Detector to train. `boxcar architectures` lists all of them."] = DEFAULT_ARCHITECTURE
    config: Annotated[
        str,
        "YAML file with further settings: `s3://bucket/config.yaml`. The parameters here override it. Empty: none.",
    ] = ""
    bucket_secret: Annotated[
        str,
        "Name of the Secret in this namespace with the bucket's credentials: its keys become environment variables, and "
        "`key.json` is a key for Google Cloud Storage. With workload identity, no Secret is needed: leave this unchanged.",
    ] = "boxcar-bucket"  # noqa: S105 - a name
    webhook_secret: Annotated[
        str, "Name of a Secret whose key `url` is the address to post the result to. Without a webhook, leave this unchanged."
    ] = "boxcar-webhook"  # noqa: S105

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        """The form in the arguments of a component, which has others too."""
        return cls(**{name: arguments[name] for name in parameters(cls) if name in arguments})


@dataclass(frozen=True, kw_only=True)
class TrainingForm(Form):
    """What both pipelines that train ask for."""

    data: Annotated[str, "Folder with images and label files: `s3://bucket/folder` or `gs://bucket/folder`."]
    image_size: Annotated[int, "Side of the network's input in pixels, a multiple of 32. 0: the architecture's own."] = 0
    steps: Annotated[int, "Training steps. 0: derived from the data."] = 0
    initial_checkpoint: Annotated[
        str,
        "Initial weights: `none`, `zoo`, or a checkpoint such as `s3://bucket/zoo/ckpt-0`. Empty: the zoo's if they can be "
        "downloaded, else random.",
    ] = ""
    gpus: Annotated[str, "Number of GPUs to train on. 0: train on CPU nodes."] = "1"
    gpu_type: Annotated[str, "Resource name of a GPU, such as `nvidia.com/gpu`. Empty: set by the operator."] = ""
    node_pool: Annotated[
        str, "Label of the nodes to train on, such as `cloud.google.com/gke-nodepool=gpus`. Empty: set by the operator."
    ] = ""


@dataclass(frozen=True, kw_only=True)
class TrainForm(TrainingForm):
    """What train-detector asks for."""

    folders: ClassVar[tuple[str, ...]] = ("data", "output")
    optional_uris: ClassVar[tuple[str, ...]] = ("resume_from", "config")

    output: Annotated[str, "Folder for runs. Each run gets a folder in it, named after the run id."]
    resume_from: Annotated[
        str,
        "Folder of an older run to resume: `s3://bucket/runs/<id>`. The other parameters must be the same as in that run: "
        "clone it and fill in only this one. Empty: start a new run.",
    ] = ""


@dataclass(frozen=True, kw_only=True)
class RetrainForm(TrainingForm):
    """What retrain-if-changed asks for."""

    folders: ClassVar[tuple[str, ...]] = ("data", "models", "runs")

    models: Annotated[str, "Folder of models: `s3://bucket/models`."]
    model: Annotated[str, "Name of the model. Its first run creates it."]
    runs: Annotated[str, "Folder for runs. Each run gets a folder in it."]
    initial_checkpoint: Annotated[
        str,
        "Initial weights of every run: `none`, `zoo`, or a checkpoint. Empty: the champion's. For the first run: the zoo's if "
        "they can be downloaded, else random.",
    ] = ""
    new_pictures: Annotated[int, "Number of new labeled images to wait for. 0: retrain on any change."] = 0
    gpu_hours: Annotated[str, "GPU hours that the model's retrainings may use per month. Empty: no limit."] = ""


@dataclass(frozen=True, kw_only=True)
class ConversionForm(Form):
    """What convert-only asks for."""

    folders: ClassVar[tuple[str, ...]] = ("checkpoint", "records", "output")

    checkpoint: Annotated[str, "Prefix of the checkpoint's files: `s3://bucket/runs/<id>/train/ckpt-500`."]
    records: Annotated[
        str, "Records that the checkpoint was trained on, for calibration and checks: `s3://bucket/runs/<id>/records`."
    ]
    output: Annotated[str, "Output folder. The files are written to its subfolder `export/`."]
    architecture: Annotated[str, "The checkpoint's architecture."] = DEFAULT_ARCHITECTURE
    config: Annotated[
        str, "YAML file with conversion settings, such as `formats: [all]`. Empty: the run's settings, or the defaults."
    ] = ""


FORMS: dict[str, type[Form]] = {
    "train-detector": TrainForm,
    "retrain-if-changed": RetrainForm,
    "convert-only": ConversionForm,
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a form; `default` is `inspect.Parameter.empty` for one that must be filled in."""

    name: str
    type: type
    default: Any
    description: str


def parameters(form: type[Form]) -> dict[str, Parameter]:
    """The parameters of a form by name, those that must be filled in first."""
    hints = get_type_hints(form, include_extras=True)
    found = []
    for field in fields(form):
        kind, description = get_args(hints[field.name])
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        found.append(Parameter(field.name, kind, default, description))
    found.sort(key=lambda one: one.default is not inspect.Parameter.empty)
    return {one.name: one for one in found}


def takes(form: type[Form]) -> Callable[[Callable[[dict[str, Any]], None]], Callable[..., None]]:
    """For a function under `dsl.pipeline`: its pipeline has the form's parameters, and it is given them by name.

    kfp reads a pipeline's inputs from the function's signature and docstring, and calls it with positional arguments.
    """
    known = parameters(form)

    def decorate(function: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
        def pipeline(*values: Any) -> None:
            function(dict(zip(known, values, strict=True)))

        arguments = [
            inspect.Parameter(one.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=one.default, annotation=one.type)
            for one in known.values()
        ]
        pipeline.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
        pipeline.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n{_described(known)}"
        return pipeline

    return decorate


def describes(form: type[Form]) -> Callable[[_F], _F]:
    """For a function under `dsl.component`: adds the form's descriptions to the section Args of its docstring.

    Raises:
        TypeError: where a parameter is missing, or has another type than in the form.
    """

    def decorate(function: _F) -> _F:
        known = parameters(form)
        del known["webhook_secret"]  # the pipeline's own
        own = inspect.signature(function).parameters
        if wrong := [name for name, one in known.items() if name not in own or own[name].annotation is not one.type]:
            raise TypeError(f"{function.__name__} does not take {', '.join(wrong)} as {form.__name__} has it")
        before, args, after = str(inspect.getdoc(function)).partition("Args:\n")
        function.__doc__ = before + args + _described(known) + after
        return function

    return decorate


def table(form: type[Form]) -> str:
    """The parameters of a form as a table in Markdown."""
    lines = ["| parameter | description | default |", "|---|---|---|"]
    for one in parameters(form).values():
        default = "required" if one.default is inspect.Parameter.empty else f"`{one.default}`" if one.default != "" else "empty"
        lines.append(f"| `{one.name}` | {one.description} | {default} |")
    return "\n".join(lines) + "\n"


def _described(known: Mapping[str, Parameter]) -> str:
    return "".join(f"    {one.name}: {one.description}\n" for one in known.values())
