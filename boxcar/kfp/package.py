"""Compiled pipelines, ours and others': where they are, which parameters they have, and checks of values for them."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from boxcar import __version__
from boxcar.config.settings import nearest, validate
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.form import FORMS, ConversionForm, TrainingForm, parameters
from boxcar.kfp.parameters import check_conversion, read_form


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        name: the pipeline's.
        text: of its file.
        inputs: its parameters by name, as the file defines them.
        tasks: names of the tasks that run in a pod.
    """

    name: str
    text: str
    inputs: dict[str, dict[str, Any]]
    tasks: frozenset[str]

    @property
    def version(self) -> str:
        """Name of the version, which depends on the text."""
        return f"{__version__}-{hashlib.sha256(self.text.encode()).hexdigest()[:10]}"


def compiled_folder() -> Path:
    """Folder of the compiled pipelines: in an installed Boxcar next to this file, in a checkout in `pipelines/`."""
    installed = Path(__file__).with_name("compiled")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "pipelines" / "compiled"


def read_package(pipeline: str) -> Package:
    """The compiled pipeline of that name, if it is one of ours, else of that path.

    Raises:
        BoxcarError: 64 if it cannot be read as one.
    """
    compiled = compiled_folder()
    ours = compiled / f"{pipeline.replace('-', '_')}.yaml"
    path = ours if "/" not in pipeline and ours.is_file() else Path(pipeline)
    known = ", ".join(sorted(file.stem.replace("_", "-") for file in compiled.glob("*.yaml")))
    try:
        text = path.read_text(encoding="utf-8")
        spec = next(iter(yaml.safe_load_all(text)))
        inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        return Package(spec["pipelineInfo"]["name"], text, inputs, frozenset(_tasks(spec)))
    except (OSError, ValueError, StopIteration, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a compiled pipeline"
        what = f"{pipeline} cannot be submitted: {reason}."
        raise BoxcarError(ExitCode.USAGE, what, f"Give one of {known}, or a file that kfp has compiled.") from error


def _tasks(spec: Mapping[str, Any]) -> Iterator[str]:
    components = spec.get("components", {})
    for level in (spec["root"], *components.values()):
        for name, task in level.get("dag", {}).get("tasks", {}).items():
            if "executorLabel" in components[task["componentRef"]["name"]]:
                yield name


def read_values(package: Package, written: Mapping[str, str]) -> dict[str, Any]:
    """The parameters with the types that the pipeline expects, from what was written on a command line.

    Raises:
        BoxcarError: 64 if one is unknown, missing, of another type, or invalid.
    """
    values = {name: _parse(text, package.inputs.get(name, {}).get("parameterType")) for name, text in written.items()}
    check_values(package, values, how_to_add="Add -p {}=...")
    return values


def _parse(text: str, kind: str | None) -> Any:
    """A text as the JSON value that it is, unless a text is expected."""
    try:
        return text if kind == "STRING" else json.loads(text)
    except ValueError:
        return text


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "STRING": ((str,), "a text"),
    "NUMBER_INTEGER": ((int,), "a whole number"),
    "NUMBER_DOUBLE": ((int, float), "a number"),
    "BOOLEAN": ((bool,), "true or false"),
    "LIST": ((list,), "a list, such as [1, 2]"),
    "STRUCT": ((dict,), 'a mapping, such as {"name": 1}'),
}


def check_values(package: Package, values: Mapping[str, Any], *, how_to_add: str = "Add {}: ... under parameters.") -> None:
    """Checks the parameters for a pipeline.

    Raises:
        BoxcarError: 64 if one is unknown, missing, of another type, or invalid.
    """
    for name in values:
        if name not in package.inputs:
            what = f"{package.name} has no parameter {name}."
            near = nearest(name, package.inputs)
            do = f"These parameters exist: {', '.join(package.inputs)}." if near is None else f"Write {near}."
            raise BoxcarError(ExitCode.USAGE, what, do)
    for name, about in package.inputs.items():
        if name not in values and not about.get("isOptional"):
            what = f"The parameter {name} is missing. {about.get('description', '')}"
            raise BoxcarError(ExitCode.USAGE, what, how_to_add.format(name))
    for name, value in values.items():
        kind = package.inputs[name]["parameterType"]
        types, words = _KINDS[kind]
        try:
            fits = isinstance(value, types) and (kind == "BOOLEAN" or not isinstance(value, bool))
            fits = fits and json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):  # YAML has dates, JSON has none
            fits = False
        if not fits:
            do = f"Write {words}" + (f', in quotes: "{value}".' if kind == "STRING" else ".")
            raise BoxcarError(ExitCode.USAGE, f"The parameter {name} of {package.name} cannot be {value!r}.", do)
    _check_form(package, values)


def _check_form(package: Package, values: Mapping[str, Any]) -> None:
    """Checks the values of one of our own pipelines."""
    for form in FORMS.values():
        if package.inputs.keys() == parameters(form).keys():
            filled = validate(form, dict(values))
            if isinstance(filled, ConversionForm):
                check_conversion(filled, local=False)
            elif isinstance(filled, TrainingForm):
                read_form(filled, local=False)
