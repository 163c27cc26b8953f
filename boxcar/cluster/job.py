"""The Job of a step: one pod, retried if that may help, with the nodes and limits that the configuration names."""

import hashlib
import json
from collections.abc import Sequence

from boxcar.cluster.api import Object
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.conversion_settings import Conversion
from boxcar.config.run_settings import Configuration
from boxcar.errors import TERMINATION_LOG, ExitCode
from boxcar.run.layout import IMAGE

RUN_URI, CONFIGURATION = "boxcar.dev/run-uri", "boxcar.dev/configuration"  # annotations
QUEUE = "kueue.x-k8s.io/queue-name"  # the label that Kueue reads
TRIES = 4
# A retry does not help after wrong usage, bad data, a defect, or a run that was stopped for good.
FINAL = (ExitCode.USAGE, ExitCode.DATA, ExitCode.DEFECT, ExitCode.STOPPED)
_USER = 10001  # of our images
WORK = "/work"  # shared by the containers of a pod; in our images also the home, cache, and temporary files
_TERMINATION_LOG = "/dev/termination-log"  # writable even if the root is read-only
_GCS_KEY = "/var/run/secrets/boxcar.dev/gcs"
_KEPT_SECONDS = 7 * 24 * 3600  # for a finished Job; its results stay in the bucket
_BLIND = {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": "-1"}


def run_key(run: str) -> str:
    """What distinguishes a run's objects from those of other runs: ten hexadecimal digits of its URI's hash."""
    return hashlib.sha256(run.encode()).hexdigest()[:10]


def job_name(step: str, run: str) -> str:
    """The name by which the only Job of a step of a run is found again."""
    return f"boxcar-{step}-{run_key(run)}"


def configuration_hash(configuration: Configuration, step: str) -> str:
    """SHA-256 over all settings that differ from the defaults; for training without those of conversion, which may change."""
    unread = {"retraining"} if step == "gate" else {"retraining", "gate"}
    unread |= set(Conversion.model_fields) if step == "train" else set()
    settings = configuration.model_dump(mode="json", exclude=unread, exclude_defaults=True)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def step_job(configuration: Configuration, run: str, step: str, image: str, arguments: Sequence[str]) -> Object:
    """The Job of a step that is one process on a CPU node.

    Args:
        configuration: the run's.
        run: URI of the run's folder, in a bucket.
        step: its name, also for the Job and its container.
        image: name of the container image.
        arguments: of `boxcar`.
    """
    settings = configuration.cluster
    limits = resources(settings.step_cpu, settings.step_memory, settings.ephemeral_gigabytes)
    only = container(settings, step, settings.image(image), arguments, limits, bucket=True)
    spec = pod_spec(settings, [only], gpu=False)
    # Conversion also ends with 1: a file does not agree with its model.
    return make_job(configuration, run, step, step, spec, [exits(step, (ExitCode.NO, *FINAL), "FailJob")])


def make_job(
    configuration: Configuration, run: str, step: str, component: str, spec: Object, rules: Sequence[Object]
) -> Object:
    """A Job of one pod.

    Args:
        configuration: the run's.
        run: URI of the run's folder.
        step: the step's name.
        component: for the label.
        spec: the pod's.
        rules: of its `podFailurePolicy`, after those that every Job has.
    """
    settings = configuration.cluster
    labels = {
        "app.kubernetes.io/name": "boxcar",
        "app.kubernetes.io/component": component,
        "boxcar.dev/run": run_key(run),
    }
    annotations = {RUN_URI: run}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(step, run),
            "labels": labels | ({QUEUE: settings.queue} if settings.queue else {}),
            "annotations": annotations | {CONFIGURATION: configuration_hash(configuration, step)},
        },
        "spec": {
            "backoffLimit": TRIES - 1,
            "podReplacementPolicy": "Failed",  # two pods never write into one folder of a bucket
            "activeDeadlineSeconds": max(1, round(settings.deadline_hours * 3600)),
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    exits(spec["containers"][0]["name"], (ExitCode.AGAIN,), "Ignore"),
                    *rules,
                ]
            },
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
        },
    }


def exits(name: str, codes: Sequence[int], action: str) -> Object:
    """The rule of a `podFailurePolicy` for a container that ends with one of these codes."""
    values = sorted(int(code) for code in codes)
    return {"action": action, "onExitCodes": {"containerName": name, "operator": "In", "values": values}}


def resources(cpu: str, memory: str, disk_gigabytes: int) -> Object:
    """Requests that equal the limits, so that a container gets what it may use."""
    amounts = {"cpu": cpu, "memory": memory, "ephemeral-storage": f"{disk_gigabytes}Gi"}
    return {"requests": dict(amounts), "limits": dict(amounts)}


def container(
    settings: ClusterSettings,
    name: str,
    image: str,
    arguments: Sequence[str],
    limits: Object,
    *,
    bucket: bool,
    blind: bool = True,
) -> Object:
    """One of our containers, as Pod Security's level `restricted` requires.

    Args:
        settings: of the cluster.
        name: the container's.
        image: its reference.
        arguments: of `boxcar`. The image's entry point is kept, because it reaps processes and forwards signals.
        limits: of `resources`.
        bucket: whether it gets credentials for buckets.
        blind: whether GPUs are hidden from it.
    """
    environment = {**settings.environment, IMAGE: image, TERMINATION_LOG: _TERMINATION_LOG}
    mounts: list[Object] = [{"name": "work", "mountPath": WORK}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if blind:
        environment |= _BLIND
    made: Object = {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        # Kubernetes expands $(NAME) and takes $$ for $.
        "args": ["boxcar", *(argument.replace("$", "$$") for argument in arguments)],
        "resources": limits,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The error that `process` writes; for a container that died without one, the end of its log.
        "terminationMessagePath": _TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if bucket and settings.gcs_key_secret:
        environment["GOOGLE_APPLICATION_CREDENTIALS"] = f"{_GCS_KEY}/key.json"
        mounts.append({"name": "gcs-key", "mountPath": _GCS_KEY, "readOnly": True})
    if bucket and settings.credentials_secret:
        made["envFrom"] = [{"secretRef": {"name": settings.credentials_secret}}]
    return made | {"env": [{"name": key, "value": value} for key, value in environment.items()], "volumeMounts": mounts}


def pod_spec(settings: ClusterSettings, containers: Sequence[Object], *, gpu: bool) -> Object:
    """A pod on the GPU or the CPU pool, without a token for the API."""
    selector = settings.gpu_node_selector if gpu else settings.cpu_node_selector
    tolerations = settings.gpu_tolerations if gpu else settings.cpu_tolerations
    volumes: list[Object] = [
        {"name": "work", "emptyDir": {"sizeLimit": f"{settings.ephemeral_gigabytes}Gi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": f"{settings.ephemeral_gigabytes}Gi"}},
    ]
    if settings.gcs_key_secret:
        volumes.append({"name": "gcs-key", "secret": {"secretName": settings.gcs_key_secret}})
    spec: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
        "volumes": volumes,
    }
    if selector:
        spec["nodeSelector"] = dict(selector)
    if tolerations:
        spec["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in tolerations]
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return spec
