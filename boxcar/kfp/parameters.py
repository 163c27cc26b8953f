"""Checks of a form before anything starts. Every message names its parameter."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import TypeAdapter

from boxcar.config.cluster_settings import LabelKey, LabelValue
from boxcar.config.run_settings import INIT_WORDS, Configuration, make_configuration, merge_settings
from boxcar.config.settings import validate
from boxcar.detectors.catalog import find_architecture
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.form import ConversionForm, Form, TrainingForm
from boxcar.kfp.installation import bucket_credentials, installed_settings, is_local
from boxcar.storage import bucket_location, fetch_file, open_store

# The train step's pod ends after this time, whatever its Job does; the Job's own deadline must come first.
WATCH_HOURS = 7 * 24
MOST_DEADLINE_HOURS = WATCH_HOURS - 1

_POOL: TypeAdapter[dict[str, str]] = TypeAdapter(dict[LabelKey, LabelValue])
_RESOURCE: TypeAdapter[str] = TypeAdapter(LabelKey)


@contextmanager
def naming_parameter(name: str, do: str | None = None) -> Iterator[None]:
    """Puts a parameter's name in front of an error's message; `do` replaces what to do about it.

    The error is never a Refused, which is not recorded: the folder is the run's own, and people look there for the reason.
    """
    try:
        yield
    except BoxcarError as error:
        raise BoxcarError(error.code, f"{name}: {error.what}", do or error.do, error.details) from error


@contextmanager
def naming_secret(secret: str) -> Iterator[None]:
    """Adds to a bucket's error which credentials were used. The error is never a Refused, as above."""
    try:
        yield
    except BoxcarError as error:
        do = error.do
        if error.code == ExitCode.ENVIRONMENT and not is_local():
            found = bucket_credentials(secret)
            keys = (
                f"with the keys of the Secret {secret}" if found else f"without keys: the Secret {secret} is missing or empty"
            )
            do += f" The bucket was asked {keys} (parameter bucket_secret)."
        raise BoxcarError(error.code, error.what, do, error.details) from error


def run_uri(output: str, job: str, resume_from: str) -> str:
    """The run's folder: that of the run to resume, else one in `output` named after the job."""
    return resume_from.rstrip("/") or (f"{output.rstrip('/')}/{job}" if job else output.rstrip("/"))


def read_form(form: TrainingForm, *, local: bool) -> dict[str, Any]:
    """The settings that were filled in, those of the cluster under `cluster`. Nothing is requested from a server.

    `local` says whether the steps run on this machine, so that paths are allowed.

    Raises:
        BoxcarError: 64 for an invalid value.
    """
    _check_uris(form, local=local)
    _check_source("initial_checkpoint", form.initial_checkpoint, local=local)
    given = {"data": form.data, "architecture": form.architecture, "image_size": form.image_size, "steps": form.steps}
    given |= {"init": form.initial_checkpoint}
    given = {name: value for name, value in given.items() if value} | {"gpus": form.gpus}
    configuration = validate(Configuration, given)
    with naming_parameter("architecture"):
        find_architecture(configuration.architecture)
    with naming_parameter("image_size"):
        configuration.check()
    settings = configuration.model_dump(include=set(given))
    cluster: dict[str, Any] = {}
    if form.gpu_type:
        try:
            cluster["gpu_resource"] = _RESOURCE.validate_python(form.gpu_type)
        except ValueError as error:
            do = "Write the resource name of a GPU, such as nvidia.com/gpu."
            raise BoxcarError(ExitCode.USAGE, f"gpu_type cannot be {form.gpu_type!r}.", do) from error
    if form.node_pool:
        cluster["gpu_node_selector" if settings["gpus"] else "cpu_node_selector"] = read_pool(form.node_pool)
    return settings | {"cluster": cluster}


def check_conversion(form: ConversionForm, *, local: bool) -> None:
    """Checks the form of convert-only as `read_form` does."""
    _check_uris(form, local=local)
    with naming_parameter("architecture"):
        find_architecture(form.architecture)


def read_configuration_of(form: TrainingForm, images: dict[str, Any]) -> Configuration:
    """The configuration that a form describes. What it leaves open is taken from `config`, and then from the operator.

    Args:
        form: as it was filled in.
        images: `ClusterSettings.image_settings` of the pipeline, also for its Jobs.

    Raises:
        BoxcarError: 64 for an invalid value, 69 if the bucket of `config` fails.
    """
    read = read_form(form, local=is_local())
    with naming_parameter("config"):
        filed = make_configuration(fetch_file(form.config) if form.config else None, {})
    for name in ("label_map", "frozen_test", "init"):
        _check_source(f"config: {name}", getattr(filed, name) or "", local=is_local())
    settings = merge_settings(filed.model_dump(exclude_unset=True), read)
    # No Secret unless one is named: a Job with a Secret that does not exist never starts.
    cluster = {"credentials_secret": None} | installed_settings() | settings["cluster"] | images
    cluster |= bucket_credentials(form.bucket_secret)
    configuration = make_configuration(None, settings | {"cluster": cluster})
    hours = configuration.cluster.deadline_hours
    if hours > MOST_DEADLINE_HOURS:
        what = f"config: cluster.deadline_hours is {hours:g}, but the pipeline watches a training for {WATCH_HOURS} hours only."
        raise BoxcarError(ExitCode.USAGE, what, f"Set it to {MOST_DEADLINE_HOURS} at most.")
    return configuration


def check_writable(name: str, uri: str) -> None:
    """Raises BoxcarError 69 if a folder cannot be written to with the available credentials."""
    from boxcar.doctor.buckets import examine_buckets

    for finding in examine_buckets(uri, None):
        if not finding.ok:
            raise BoxcarError(ExitCode.ENVIRONMENT, f"{name}: {finding.what}", str(finding.do))


def check_readable(name: str, uri: str) -> None:
    """Raises BoxcarError 64 if a folder is empty, and 69 if its bucket does not answer or denies access."""
    with naming_parameter(name):
        if not open_store(uri).entries():
            raise BoxcarError(ExitCode.USAGE, f"There is nothing at {uri}.", "Give a folder with files in it.")


def read_pool(text: str) -> dict[str, str]:
    """Node labels from LABEL=VALUE,LABEL=VALUE. Nodes with them need not exist yet, as an autoscaler may add them.

    Raises:
        BoxcarError: 64 if they cannot be labels.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    labels = {key.strip(): value.strip() for key, mark, value in pairs if mark and value.strip()}
    try:
        if len(labels) < len(pairs):
            raise ValueError
        return _POOL.validate_python(labels)
    except ValueError as error:  # pydantic's own is one, too
        what = f"node_pool cannot be {text!r}: it is not a node label."
        do = "Write LABEL=VALUE, as `kubectl get nodes --show-labels` shows them: cloud.google.com/gke-nodepool=gpus."
        raise BoxcarError(ExitCode.USAGE, what, do) from error


def _check_source(name: str, value: str, *, local: bool) -> None:
    """`check_uri` of a value that can also be an address, or a word such as `zoo`."""
    if value not in INIT_WORDS and not value.startswith(("http://", "https://")):
        check_uri(name, value, local=local)


def _check_uris(form: Form, *, local: bool) -> None:
    for name in form.folders:
        if not getattr(form, name).strip():
            raise BoxcarError(ExitCode.USAGE, f"{name} is empty.", "Write s3://bucket/folder or gs://bucket/folder.")
    for name in (*form.folders, *form.optional_uris):
        check_uri(name, getattr(form, name), local=local)


def check_uri(name: str, value: str, *, local: bool) -> None:
    """Refuses what is not a URI and, unless `local`, a path on this machine, which the pods cannot read."""
    with naming_parameter(name):
        if value and bucket_location(value) is None and not local:
            what = f"{value} is not in a bucket. Pods on a cluster can use buckets only."
            raise BoxcarError(ExitCode.USAGE, what, "Write s3://bucket/folder or gs://bucket/folder.")
