"""The forms that a person fills in to start a pipeline: the name, type, default and description of every parameter, once.

Pipelines take their parameters from here, components the descriptions of their arguments, `boxcar submit` its checks, and
docs/reference/pipeline-parameters.md its tables. A component repeats names and types, because kfp copies the source of its
function into the pipeline; `describes` refuses one that differs.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field
from pydantic.fields import FieldInfo

from boxcar.config.run_settings import DEFAULT_ARCHITECTURE
from boxcar.config.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])


class Form(Settings):
    """What every pipeline asks for. In all forms an empty text or a 0 was left open.

    Attributes:
        folders: the parameters that name folders and must be filled in.
        optional_uris: further parameters that name a folder or a file, if they are filled in.
    """

    folders: ClassVar[tuple[str, ...]] = ()
    optional_uris: ClassVar[tuple[str, ...]] = ("config",)

    architecture: str = Field(DEFAULT_ARCHITECTURE, description="Detector to train. `boxcar architectures` lists all of them.")
    config: str = Field(
        "",
        description="YAML file with further settings: `s3://bucket/config.yaml`. The parameters here override it. Empty: none.",
    )
    bucket_secret: str = Field(
        "boxcar-bucket",
        description="Name of the Secret in this namespace with the bucket's credentials: its keys become environment "
        "variables, and `key.json` is a key for Google Cloud Storage. With workload identity, no Secret is needed: leave this "
        "unchanged.",
    )
    webhook_secret: str = Field(
        "boxcar-webhook",
        description="Name of a Secret whose key `url` is the address to post the result to. Without a webhook, leave this "
        "unchanged.",
    )

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        """The form in the arguments of a component, which has others too."""
        return cls(**{name: arguments[name] for name in parameters(cls) if name in arguments})


class TrainingForm(Form):
    """What both pipelines that train ask for."""

    data: str = Field(description="Folder with images and label files: `s3://bucket/folder` or `gs://bucket/folder`.")
    image_size: int = Field(
        0, description="Side of the network's input in pixels, a multiple of 32. 0: the architecture's own."
    )
    steps: int = Field(0, description="Training steps. 0: derived from the data.")
    initial_checkpoint: str = Field(
        "",
        description="Initial weights: `none`, `zoo`, `packaged`, or a checkpoint such as `s3://bucket/zoo/ckpt-0`. Empty: the "
        "zoo's if they can be downloaded, else packaged or random ones.",
    )
    gpus: str = Field("1", description="Number of GPUs to train on. 0: train on CPU nodes.")
    gpu_type: str = Field("", description="Resource name of a GPU, such as `nvidia.com/gpu`. Empty: set by the operator.")
    node_pool: str = Field(
        "",
        description="Label of the nodes to train on, such as `cloud.google.com/gke-nodepool=gpus`. Empty: set by the operator.",
    )


class TrainForm(TrainingForm):
    """What train-detector asks for."""

    folders: ClassVar[tuple[str, ...]] = ("data", "output")
    optional_uris: ClassVar[tuple[str, ...]] = ("resume_from", "config")

    output: str = Field(description="Folder for runs. Each run gets a folder in it, named after the run id.")
    resume_from: str = Field(
        "",
        description="Folder of an older run to resume: `s3://bucket/runs/<id>`. The other parameters must be the same as in "
        "that run: clone it and fill in only this one. Empty: start a new run.",
    )


class RetrainForm(TrainingForm):
    """What retrain-if-changed asks for."""

    folders: ClassVar[tuple[str, ...]] = ("data", "models", "runs")

    models: str = Field(description="Folder of models: `s3://bucket/models`.")
    model: str = Field(description="Name of the model. Its first run creates it.")
    runs: str = Field(description="Folder for runs. Each run gets a folder in it.")
    initial_checkpoint: str = Field(
        "",
        description="Initial weights of every run: `none`, `zoo`, `packaged`, or a checkpoint. Empty: the champion's. For the "
        "first run: the zoo's if they can be downloaded, else packaged or random ones.",
    )
    new_pictures: int = Field(0, description="Number of new labeled images to wait for. 0: retrain on any change.")
    gpu_hours: str = Field("", description="GPU hours that the model's retrainings may use per month. Empty: no limit.")


class ConversionForm(Form):
    """What convert-only asks for."""

    folders: ClassVar[tuple[str, ...]] = ("checkpoint", "records", "output")

    checkpoint: str = Field(description="Prefix of the checkpoint's files: `s3://bucket/runs/<id>/train/ckpt-500`.")
    records: str = Field(
        description="Records that the checkpoint was trained on, for calibration and checks: `s3://bucket/runs/<id>/records`."
    )
    output: str = Field(description="Output folder. The files are written to its subfolder `export/`.")
    architecture: str = Field(DEFAULT_ARCHITECTURE, description="The checkpoint's architecture.")
    config: str = Field(
        "",
        description="YAML file with conversion settings, such as `formats: [all]`. Empty: the run's settings, or the defaults.",
    )


FORMS: dict[str, type[Form]] = {
    "train-detector": TrainForm,
    "retrain-if-changed": RetrainForm,
    "convert-only": ConversionForm,
}


def parameters(form: type[Form]) -> dict[str, FieldInfo]:
    """The parameters of a form by name, those that must be filled in first."""
    return dict(sorted(form.model_fields.items(), key=lambda item: not item[1].is_required()))


def takes(form: type[Form]) -> Callable[[Callable[[dict[str, Any]], None]], Callable[..., None]]:
    """For a function under `dsl.pipeline`: its pipeline has the form's parameters, and it is given them by name.

    kfp reads a pipeline's inputs from the function's signature and docstring, and calls it with positional arguments.
    """
    known = parameters(form)

    def decorate(function: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
        def pipeline(*values: Any) -> None:
            function(dict(zip(known, values, strict=True)))

        arguments = [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if one.is_required() else one.default,
                annotation=one.annotation,
            )
            for name, one in known.items()
        ]
        pipeline.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
        pipeline.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n{_described(known)}"
        return pipeline

    return decorate


def describes(form: type[Form]) -> Callable[[_F], _F]:
    """For a function under `dsl.component`: adds the form's descriptions to the section Args of its docstring.

    Raises:
        TypeError: if a parameter is missing, or has another type than in the form.
    """

    def decorate(function: _F) -> _F:
        known = parameters(form)
        del known["webhook_secret"]  # the pipeline's own
        own = inspect.signature(function).parameters
        if wrong := [name for name, one in known.items() if name not in own or own[name].annotation is not one.annotation]:
            raise TypeError(f"{function.__name__} does not take {', '.join(wrong)} as {form.__name__} has it")
        before, args, after = str(inspect.getdoc(function)).partition("Args:\n")
        function.__doc__ = before + args + _described(known) + after
        return function

    return decorate


def table(form: type[Form]) -> str:
    """The parameters of a form as a table in Markdown."""
    lines = ["| parameter | description | default |", "|---|---|---|"]
    for name, one in parameters(form).items():
        default = "required" if one.is_required() else f"`{one.default}`" if one.default != "" else "empty"
        lines.append(f"| `{name}` | {one.description} | {default} |")
    return "\n".join(lines) + "\n"


def _described(known: Mapping[str, FieldInfo]) -> str:
    return "".join(f"    {name}: {one.description}\n" for name, one in known.items())
