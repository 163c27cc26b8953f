"""Starting a pipeline on a Kubeflow endpoint, and following it until it ends."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.endpoint import Endpoint
from boxcar.kfp.following import follow_run, page_of
from boxcar.kfp.package import Package, read_package, read_values
from boxcar.kfp.parameters import run_uri


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
    """Uploads a pipeline if the server does not have this version, starts a run of it, and follows the run until it ends.

    Args:
        pipeline: `train-detector`, `retrain-if-changed` or `convert-only`, else the path of a compiled file.
        parameters: by name, as texts.
        endpoint: of the server.
        namespace: of the run, on a multi-user server.
        experiment: of the run; created if it does not exist.
        service_account: of the run's pods; default: the server's.
        name: of the run; default: made from the time.
        follow: whether to wait for the end.
        say: receives lines about the run's progress.

    Raises:
        BoxcarError: 64 for invalid parameters; 69 if the server does not answer, denies access, or is too old; as the step
            that failed; 76 if somebody terminated the run; 130 after Ctrl-C, which leaves it running.
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
        folder = None  # unless the pipeline is one of ours
        if "output" in values:
            folder = run_uri(values["output"], run if "resume_from" in package.inputs else "", values.get("resume_from", ""))
        follow_run(endpoint, run, folder, package.tasks, say)


def require_namespace(endpoint: Endpoint, namespace: str | None) -> None:
    """Asks the server whether it is Kubeflow Pipelines 2, and whether it needs a namespace.

    Raises:
        BoxcarError: 64 if one is needed and not given; 69 if the server is something else, is too old, or denies access.
    """
    if endpoint.check() and not namespace:
        what = f"Many users share {endpoint.address}, each with a namespace."
        raise BoxcarError(ExitCode.USAGE, what, "Add --namespace with yours.")


def upload_version(package: Package, endpoint: Endpoint, namespace: str | None) -> dict[str, str]:
    """The reference to this version of the pipeline, which is uploaded if the server does not have it."""
    found = endpoint.find("/pipelines", "pipelines", package.name, namespace=namespace) or endpoint.upload(
        "/pipelines/upload", package.text, name=package.name, namespace=namespace
    )
    pipeline = found["pipeline_id"]
    version = endpoint.find(f"/pipelines/{pipeline}/versions", "pipeline_versions", package.version) or endpoint.upload(
        "/pipelines/upload_version", package.text, name=package.version, pipelineid=pipeline
    )
    return {"pipeline_id": pipeline, "pipeline_version_id": version["pipeline_version_id"]}


def find_experiment(name: str, endpoint: Endpoint, namespace: str | None) -> str:
    """The id of an experiment, which is created if it does not exist."""
    body = {"display_name": name} | ({"namespace": namespace} if namespace else {})
    found = endpoint.find("/experiments", "experiments", name, namespace=namespace) or endpoint.post("/experiments", body)
    return str(found["experiment_id"])
