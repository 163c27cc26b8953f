"""The Job that trains. Its pod holds the trainer, and as sidecars without a GPU the evaluator and the uploader.

The init container `fetch` downloads records and the last checkpoint. Then the native sidecars `uploader` and `evaluator` start,
and the trainer. When the trainer has ended, the sidecars get SIGTERM, the last one first: the uploader sends what the evaluator
wrote last. All containers work in one folder of the pod. Only `fetch` and `uploader` can access the bucket.
"""

import json
from collections.abc import Sequence

from boxcar.cluster.api import OWN, Object
from boxcar.cluster.job import FINAL, WORK, container, exits, job_name, make_job, pod_spec, resources
from boxcar.config.run_settings import Configuration
from boxcar.errors import ExitCode
from boxcar.local.training import HUGE_PAGES
from boxcar.storage.cache import COPY_OF

TRAINER, EVALUATOR, UPLOADER, FETCH = "trainer", "evaluator", "uploader", "fetch"
FOLDER = f"{WORK}/run"  # the run, in the pod
_PORT = 2222  # of the workers of one training, for each other
_MACHINE = "BOXCAR_MACHINE"
_INDEX = "batch.kubernetes.io/job-completion-index"
# For `fetch` and `uploader`, which rarely need a CPU and use less than 200 MB.
_TRANSFER_CPU, _TRANSFER_CPU_LIMIT, _TRANSFER_MEMORY = "100m", "1", "512Mi"


def gpu_count(configuration: Configuration) -> int:
    """GPUs per worker. The default is one, because the launcher cannot see a node's GPUs."""
    return 1 if configuration.gpus is None else configuration.gpus


def trainer_job(configuration: Configuration, run: str) -> Object:
    """The Job that trains a run (URI) as its `config.yaml` says."""
    settings, gpus = configuration.cluster, gpu_count(configuration)
    image = settings.image("train", gpu=bool(gpus))
    name = job_name("train", run)
    small = resources(_TRANSFER_CPU, _TRANSFER_MEMORY, 1)
    small["limits"]["cpu"] = _TRANSFER_CPU_LIMIT
    upload = ["upload", "--run", run, "--from", FOLDER, "--lease", name, "--orphan-minutes", f"{settings.orphan_minutes:g}"]
    fetch = container(settings, FETCH, image, ["fetch", "--run", run, "--into", FOLDER], small, bucket=True)
    uploader = container(settings, UPLOADER, image, upload, small, bucket=True)
    uploader["volumeMounts"].append({"name": "api", "mountPath": str(OWN), "readOnly": True})
    evaluator_limits = resources(settings.evaluator_cpu, settings.evaluator_memory, 1)
    evaluate = ["evaluate", "--run", FOLDER, "--sidecar"]
    evaluator = container(settings, EVALUATOR, image, evaluate, evaluator_limits, bucket=False)
    uploader["restartPolicy"] = evaluator["restartPolicy"] = "Always"
    # The trainer reads a bucket only if it starts from a checkpoint in one.
    reads = "://" in (configuration.init or "")
    train = ["train", "--run", FOLDER, "--evaluator", "elsewhere", "--gpus", str(gpus)]
    trainer = container(settings, TRAINER, image, train, _trainer_limits(configuration, gpus), bucket=reads, blind=not gpus)
    trainer["env"] += [{"name": key, "value": value} for key, value in HUGE_PAGES.items()]
    trainer["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108

    spec = pod_spec(settings, [trainer], gpu=bool(gpus))
    spec["initContainers"] = [fetch, uploader, evaluator]
    for one in [*spec["initContainers"], trainer]:
        one["env"].append({"name": COPY_OF, "value": f"{FOLDER}={run}"})
    spec["volumes"] += [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{settings.shm_megabytes}Mi"}},
        {"name": "api", "projected": {"sources": _api_sources()}},
    ]
    rules = [exits(TRAINER, FINAL, "FailJob"), exits(FETCH, FINAL, "FailJob"), exits(FETCH, (ExitCode.AGAIN,), "Ignore")]
    job = make_job(configuration, run, "train", TRAINER, spec, rules)
    if settings.machines > 1:
        _join(job, settings.machines)
    return job


def trainer_service(configuration: Configuration, run: str) -> Object | None:
    """The Service that gives the workers of a training their names; None if there is only one worker."""
    if configuration.cluster.machines == 1:
        return None
    name = job_name("train", run)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "boxcar", "app.kubernetes.io/component": TRAINER}},
        "spec": {
            "clusterIP": "None",
            "selector": {"batch.kubernetes.io/job-name": name},
            "publishNotReadyAddresses": True,  # workers connect before any of them is ready
            "ports": [{"name": "training", "port": _PORT}],
        },
    }


def _trainer_limits(configuration: Configuration, gpus: int) -> Object:
    settings = configuration.cluster
    limits = resources(settings.trainer_cpu, settings.trainer_memory, settings.ephemeral_gigabytes)
    if gpus:
        for amounts in limits.values():
            amounts[settings.gpu_resource] = str(gpus)
    return limits


def _join(job: Object, machines: int) -> None:
    """Changes a Job of one pod into one of several pods, each of which knows its number and the names of all."""
    name, spec = job["metadata"]["name"], job["spec"]["template"]["spec"]
    workers = [f"{name}-{index}.{name}:{_PORT}" for index in range(machines)]
    # Kubernetes inserts the number, which must not be a text.
    tf_config = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": "INDEX"}})
    number = {"name": _MACHINE, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{_INDEX}']"}}}
    for one in [*spec["initContainers"], *spec["containers"]]:
        one["env"] += [number, {"name": "TF_CONFIG", "value": tf_config.replace('"INDEX"', f"$({_MACHINE})")}]
    spec["containers"][0]["ports"] = [{"name": "training", "containerPort": _PORT}]
    spec["subdomain"] = name
    job["spec"] |= {"completionMode": "Indexed", "completions": machines, "parallelism": machines}


def _api_sources() -> Sequence[Object]:
    """What a pod usually gets of its service account, for the only container that calls the API."""
    return [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
