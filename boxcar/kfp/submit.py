"""Starting a pipeline on a Kubeflow endpoint, and following it to its end."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from boxcar import __version__
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.endpoint import Answer, Endpoint, Refused
from boxcar.kfp.follow import follow_run, page_of
from boxcar.kfp.parameters import Parameters, check_conversion, read_form, run_uri


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        name: the pipeline's.
        text: of its file.
        inputs: by name, as the file defines them.
        tasks: names of those that run in a pod.
    """

    name: str
    text: str
    inputs: dict[str, dict[str, Any]]
    tasks: frozenset[str]

    @property
    def version(self) -> str:
        """Name of the version: another one for another text."""
        return f"{__version__}-{hashlib.sha256(self.text.encode()).hexdigest()[:10]}"


def submit(
    pipeline: str,
    parameters: Mapping[str, str],
    endpoint: Endpoint,
    *,
    namespace: str | None = None,
    experiment: str = "Default",
    service_account: str | None = None,
    name: str | None = None,
    follow: bool = True,
    say: Callable[[str], None],
) -> None:
    """Uploads a pipeline where this version of it is not there yet, starts a run of it, and follows that to its end.

    Args:
        pipeline: `train-detector`, `retrain-if-changed` or `convert-only`, else the path of a compiled file.
        parameters: by name, as they were written.
        endpoint: where to.
        namespace: the run's, where many users share the server.
        experiment: that the run is filed under; made where there is none.
        service_account: of the run's pods; the server's own if not given.
        name: of the run; made from the time if not given.
        follow: whether to wait for the end.
        say: is told how the run goes.

    Raises:
        BoxcarError: 64 for what cannot work; 69 where the server does not answer, lets nobody in, or is too old; as the step
            that failed, 76 where somebody ended the run, 130 after Ctrl-C, which leaves it running.
    """
    package = read_package(pipeline)
    values = read_values(package, parameters)
    require_namespace(endpoint, namespace)
    version = upload_version(package, endpoint, namespace)
    run = endpoint.post(
        "/runs",
        {
            "experiment_id": find_experiment(experiment, endpoint, namespace),
            "display_name": name or f"{package.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
            "pipeline_version_reference": version,
            "runtime_config": {"parameters": values},
            **({"service_account": service_account} if service_account else {}),
        },
    )["run_id"]
    say(f"Started {page_of(endpoint, run)}")
    if follow:
        follow_run(endpoint, run, _folder(values, package, run), package.tasks, say)


def compiled_folder() -> Path:
    """The compiled pipelines: in an installed Boxcar beside this file, in a checkout in `pipelines/`."""
    installed = Path(__file__).with_name("compiled")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "pipelines" / "compiled"


def read_package(pipeline: str) -> Package:
    """A compiled pipeline, by the name of one of ours or the path of a file.

    Raises:
        BoxcarError: 64 where it is none.
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
        reason = error.strerror if isinstance(error, OSError) else "it is no compiled pipeline"
        what = f"{pipeline} cannot be submitted: {reason}."
        raise BoxcarError(ExitCode.USAGE, what, f"Name one of {known}, or a file that kfp has compiled.") from error


def _tasks(spec: Mapping[str, Any]) -> Iterator[str]:
    components = spec.get("components", {})
    for level in (spec["root"], *components.values()):
        for name, task in level.get("dag", {}).get("tasks", {}).items():
            if "executorLabel" in components[task["componentRef"]["name"]]:
                yield name


def split_parameters(written: Iterable[str]) -> dict[str, str]:
    """Parameters by name, out of NAME=VALUE.

    Raises:
        BoxcarError: 64 where one is not written so, or is given twice.
    """
    found: dict[str, str] = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals or name in found:
            what = f"{text} has no value." if not equals else f"The parameter {name} is given twice."
            raise BoxcarError(ExitCode.USAGE, what, "Write -p NAME=VALUE, once for each.")
        found[name] = value
    return found


def read_values(package: Package, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The parameters as the pipeline wants them, out of what was written on a command line.

    Raises:
        BoxcarError: 64 where one is unknown, missing, of another kind, or cannot work.
    """
    _check_names(package, parameters, "Add -p {}=...")
    values = {name: _convert(name, text, package.inputs[name]["parameterType"]) for name, text in parameters.items()}
    _check_form(package, values)
    return values


def check_values(package: Package, parameters: Mapping[str, Any]) -> None:
    """Refuses parameters that stand in a file as what they are.

    Raises:
        BoxcarError: 64 where one is unknown, missing, of another kind, or cannot work.
    """
    _check_names(package, parameters, "Add {}: ... under parameters.")
    for name, value in parameters.items():
        kind = package.inputs[name]["parameterType"]
        try:
            fits = _fits(value, kind) and json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):  # a date is something to YAML, and nothing to JSON
            fits = False
        if not fits:
            do = f"Write {_KINDS[kind][1]}" + (f', in quotes: "{value}".' if kind == "STRING" else ".")
            raise BoxcarError(ExitCode.USAGE, f"The parameter {name} of {package.name} cannot be {value!r}.", do)
    _check_form(package, parameters)


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "STRING": ((str,), "a text"),
    "NUMBER_INTEGER": ((int,), "a whole number"),
    "NUMBER_DOUBLE": ((int, float), "a number"),
    "BOOLEAN": ((bool,), "true or false"),
    "LIST": ((list,), "a list"),
    "STRUCT": ((dict,), "an object"),
}


def _fits(value: Any, kind: str) -> bool:
    return isinstance(value, _KINDS[kind][0]) and (kind == "BOOLEAN" or not isinstance(value, bool))


def _check_names(package: Package, parameters: Mapping[str, Any], how_to_add: str) -> None:
    for name in parameters:
        if name not in package.inputs:
            what = f"{package.name} has no parameter {name}."
            raise BoxcarError(ExitCode.USAGE, what, f"These exist: {', '.join(package.inputs)}.")
    missing = [name for name, one in package.inputs.items() if not one.get("isOptional") and name not in parameters]
    if missing:
        about = package.inputs[missing[0]].get("description", "")
        what = f"The parameter {missing[0]} is missing. {about}"
        raise BoxcarError(ExitCode.USAGE, what, how_to_add.format(missing[0]))


def _check_form(package: Package, values: Mapping[str, Any]) -> None:
    known = {field.name for field in fields(Parameters)}
    if "data" in package.inputs and package.inputs.keys() <= known | {"webhook_secret"}:
        form: dict[str, Any] = {name: one.get("defaultValue") for name, one in package.inputs.items()} | dict(values)
        read_form(Parameters(**{name: value for name, value in form.items() if name in known}), local=False)
    conversion = ("checkpoint", "records", "output", "architecture", "config")
    if package.inputs.keys() == {*conversion, "bucket_secret", "webhook_secret"}:
        given = {name: values.get(name, package.inputs[name].get("defaultValue")) for name in conversion}
        check_conversion(**given, local=False)


def _convert(name: str, text: str, kind: str) -> Any:
    if kind == "STRING":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not _fits(value, kind):
        as_json = " as JSON" if kind in ("LIST", "STRUCT") else ""
        raise BoxcarError(ExitCode.USAGE, f"{name} cannot be {text!r}.", f"Write {_KINDS[kind][1]}{as_json}.")
    return value


def require_namespace(endpoint: Endpoint, namespace: str | None) -> None:
    """Asks the server whether it is one, and whether it needs a namespace.

    Raises:
        BoxcarError: 64 where one is needed and not given; 69 where the server is none, is too old, or does not let us in.
    """
    if endpoint.check() and not namespace:
        what = f"Many users share {endpoint.address}, each with a namespace."
        raise BoxcarError(ExitCode.USAGE, what, "Add --namespace with yours.")


def upload_version(package: Package, endpoint: Endpoint, namespace: str | None) -> dict[str, str]:
    """The reference to this version of the pipeline, which is there then."""
    found = _find_or_make(
        lambda: endpoint.find("/pipelines", "pipelines", package.name, namespace=namespace),
        lambda: endpoint.upload("/pipelines/upload", package.text, name=package.name, namespace=namespace),
    )
    pipeline = found["pipeline_id"]
    version = _find_or_make(
        lambda: endpoint.find(f"/pipelines/{pipeline}/versions", "pipeline_versions", package.version),
        lambda: endpoint.upload("/pipelines/upload_version", package.text, name=package.version, pipelineid=pipeline),
    )
    return {"pipeline_id": pipeline, "pipeline_version_id": version["pipeline_version_id"]}


def find_experiment(name: str, endpoint: Endpoint, namespace: str | None) -> str:
    """The id of an experiment, which is there then."""
    body = {"display_name": name} | ({"namespace": namespace} if namespace else {})
    found = _find_or_make(
        lambda: endpoint.find("/experiments", "experiments", name, namespace=namespace),
        lambda: endpoint.post("/experiments", body),
    )
    return str(found["experiment_id"])


def _find_or_make(find: Callable[[], Answer | None], make: Callable[[], Answer]) -> Answer:
    """What has a name, made where there is nothing yet; somebody else may be making it at the same moment."""
    found = find()
    if found is not None:
        return found
    try:
        return make()
    except Refused as error:
        found = find() if error.status == 409 else None
        if found is None:
            raise
        return found


def _folder(values: Mapping[str, Any], package: Package, run: str) -> str | None:
    """Where the run's files are; None for a pipeline of somebody else's."""
    if "output" not in values:
        return None
    return run_uri(values["output"], run if "resume_from" in package.inputs else "", values.get("resume_from", ""))
