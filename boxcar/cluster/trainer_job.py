"""The Job that trains: the trainer on its pool, and beside it, without a GPU, what scores and what sends.

`fetch` brings records and the last checkpoint into the pod. Then `uploader` and `evaluator` start as native sidecars, and
the trainer. Sidecars are told to stop when the trainer has ended, the last one first: the uploader sends what the evaluator
wrote last. All of them work in one folder of the pod.
"""

import json
import shlex
from collections.abc import Sequence

from boxcar.cluster.api import OWN, Object
from boxcar.cluster.job import FINAL, container, exits, image_name, job_name, make_job, pod_spec, resources
from boxcar.errors import ExitCode
from boxcar.run.configuration import Configuration
from boxcar.run.launch import HUGE_PAGES

TRAINER, EVALUATOR, UPLOADER, FETCH = "trainer", "evaluator", "uploader", "fetch"
_PORT = 2222  # at which machines of one training find each other
_MACHINE = "BOXCAR_MACHINE"
_INDEX = "batch.kubernetes.io/job-completion-index"
_CARRIER_CPU, _CARRIER_MEMORY = "500m", "512Mi"  # of what only moves files: a transfer takes less than 200 MB


def gpu_count(configuration: Configuration) -> int:
    """GPUs a machine: where nothing was said, one. On a cluster nobody sees by looking what a node has."""
    return 1 if configuration.gpus is None else configuration.gpus


def trainer_job(configuration: Configuration, run: str) -> Object:
    """The Job that trains the run whose `config.yaml` lies in `run`, a URI."""
    settings, gpus = configuration.cluster, gpu_count(configuration)
    machines = settings.machines
    image = image_name(settings, "train", settings.gpu_image_suffix if gpus else "")
    name = job_name("train", run)
    small = resources(_CARRIER_CPU, _CARRIER_MEMORY, 1)
    upload = ["upload", "--run", run, "--lease", name, "--orphan-minutes", f"{settings.orphan_minutes:g}"]
    token: Object = {"volumeMounts": [{"name": "api", "mountPath": str(OWN), "readOnly": True}]}
    evaluator_limits = resources(settings.evaluator_cpu, settings.evaluator_memory, 1)
    sidecars = [
        container(settings, UPLOADER, image, upload, small, more=token),
        container(settings, EVALUATOR, image, ["evaluate", "--run", run, "--sidecar"], evaluator_limits),
    ]
    for sidecar in sidecars:
        sidecar["restartPolicy"] = "Always"
        if machines > 1:
            _on_first_machine(sidecar)
    trainer = container(
        settings,
        TRAINER,
        image,
        ["train", "--run", run, "--evaluator", "elsewhere", "--gpus", str(gpus)],
        _trainer_limits(configuration, gpus),
        blind=not gpus,
        more={
            "env": [{"name": key, "value": value} for key, value in HUGE_PAGES.items()],
            "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
        },
    )
    if machines > 1:
        trainer["env"] += [_machine(), {"name": "TF_CONFIG", "value": _tf_config(name, machines)}]
        trainer["ports"] = [{"name": "training", "containerPort": _PORT}]
    spec = pod_spec(settings, [trainer], gpu=bool(gpus))
    spec["initContainers"] = [container(settings, FETCH, image, ["fetch", "--run", run], small), *sidecars]
    spec["volumes"] += [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{settings.shm_megabytes}Mi"}},
        {"name": "api", "projected": {"sources": _api_sources()}},
    ]
    rules = [exits(TRAINER, FINAL, "FailJob"), exits(FETCH, FINAL, "FailJob"), exits(FETCH, (ExitCode.AGAIN,), "Ignore")]
    job = make_job(configuration, run, "train", TRAINER, spec, rules)
    if machines > 1:
        spec["subdomain"] = name
        job["spec"] |= {"completionMode": "Indexed", "completions": machines, "parallelism": machines}
    return job


def trainer_service(configuration: Configuration, run: str) -> Object | None:
    """What gives the machines of a training their names; None where there is only one."""
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
            "publishNotReadyAddresses": True,  # they find each other before any of them is ready
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


def _machine() -> Object:
    return {"name": _MACHINE, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{_INDEX}']"}}}


def _tf_config(name: str, machines: int) -> str:
    workers = [f"{name}-{index}.{name}:{_PORT}" for index in range(machines)]
    # Kubernetes puts the number in, which must not be a text.
    config = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": "INDEX"}})
    return config.replace('"INDEX"', f"$({_MACHINE})")


def _on_first_machine(sidecar: Object) -> None:
    """Only the first machine writes, and all of them have the same pod: elsewhere the sidecar waits for its end."""
    command = shlex.join(sidecar["args"])
    sidecar["env"].append(_machine())
    sidecar["args"] = ["sh", "-c", f'if [ "${_MACHINE}" = 0 ]; then exec {command}; else exec sleep infinity; fi']


def _api_sources() -> Sequence[Object]:
    """What a pod usually finds of its service account, for the one container that asks the API."""
    return [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
