"""The Job of a step: one pod, tried again where that may help, on nodes and with limits as the configuration says."""

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
QUEUE = "kueue.x-k8s.io/queue-name"  # the label that Kueue goes by
TRIES = 4
# What no other try would change: wrong usage, bad data, a defect, a run that was given up.
FINAL = (ExitCode.USAGE, ExitCode.DATA, ExitCode.DEFECT, ExitCode.STOPPED)
_USER = 10001  # of our images
WORK = "/work"  # what the containers of a pod share; in our images home, cache and temporary files are there, too
_TERMINATION_LOG = "/dev/termination-log"  # which the kubelet mounts writable, on a read-only root too
_GCS_KEY = "/var/run/secrets/boxcar.dev/gcs"
_KEPT_SECONDS = 7 * 24 * 3600  # for which a finished Job can be looked at; what it made stays in the bucket
_BLIND = {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": "-1"}


def run_key(run: str) -> str:
    """What tells a run's objects from another run's: ten hexadecimal digits of its URI's hash."""
    return hashlib.sha256(run.encode()).hexdigest()[:10]


def job_name(step: str, run: str) -> str:
    """The one Job of a step of a run is found again by its name."""
    return f"boxcar-{step}-{run_key(run)}"


def configuration_hash(configuration: Configuration, step: str) -> str:
    """SHA-256 over all settings that are not the defaults; for training, without those of conversion, which may change."""
    unread = {"retraining"} if step == "gate" else {"retraining", "gate"}
    unread |= set(Conversion.model_fields) if step == "train" else set()
    settings = configuration.model_dump(mode="json", exclude=unread, exclude_defaults=True)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def step_job(configuration: Configuration, run: str, step: str, image: str, arguments: Sequence[str]) -> Object:
    """The Job of a step that is one process on a CPU node.

    Args:
        configuration: whose `cluster` says where and with what.
        run: URI of the run's folder, in a bucket.
        step: which names the Job and its container.
        image: name of the container image.
        arguments: of `boxcar`.
    """
    settings = configuration.cluster
    limits = resources(settings.step_cpu, settings.step_memory, settings.ephemeral_gigabytes)
    only = container(settings, step, settings.image(image), arguments, limits, bucket=True)
    spec = pod_spec(settings, [only], gpu=False)
    # 1 is an answer of conversion's, too: a file does not agree with its model.
    return make_job(configuration, run, step, step, spec, [exits(step, (ExitCode.NO, *FINAL), "FailJob")])


def make_job(
    configuration: Configuration, run: str, step: str, component: str, spec: Object, rules: Sequence[Object]
) -> Object:
    """A Job around a pod.

    Args:
        configuration: whose hash it carries.
        run: URI of the run's folder.
        step: which names it.
        component: its part in the run, for the label.
        spec: the pod's.
        rules: of its `podFailurePolicy`, behind those that every Job has.
    """
    settings = configuration.cluster
    labels = {
        "app.kubernetes.io/name": "boxcar",
        "app.kubernetes.io/component": component,
        "boxcar.dev/run": run_key(run),
    }
    annotations = {RUN_URI: run}
    main = spec["containers"][0]["name"]
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
            "podReplacementPolicy": "Failed",  # never two at once in one folder of a bucket
            "activeDeadlineSeconds": max(1, round(settings.deadline_hours * 3600)),
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    exits(main, (ExitCode.AGAIN,), "Ignore"),
                    *rules,
                ]
            },
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
        },
    }


def exits(name: str, codes: Sequence[int], action: str) -> Object:
    """The rule for a container that ends with one of these codes."""
    values = sorted(int(code) for code in codes)
    return {"action": action, "onExitCodes": {"containerName": name, "operator": "In", "values": values}}


def resources(cpu: str, memory: str, disk_gigabytes: int) -> Object:
    """Requests that are the limits: what a container may use is there when it needs it."""
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
    """One of our containers, as Pod Security's `restricted` wants it.

    Args:
        settings: of the cluster.
        name: the container's.
        image: where it is pulled from.
        arguments: of `boxcar`. Not its command: the image's entry point, which reaps and forwards signals, stays in place.
        limits: of `resources`.
        bucket: whether it reads or writes buckets, and so is given what opens them.
        blind: whether it is to see no GPU.
    """
    environment = {**settings.environment, IMAGE: image, TERMINATION_LOG: _TERMINATION_LOG}
    mounts: list[Object] = [{"name": "work", "mountPath": WORK}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if blind:
        environment |= _BLIND
    made: Object = {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["boxcar", *arguments],
        "resources": limits,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # What happened, as `process` writes it; of a container that died without a word, the end of its log.
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
    """A pod of our containers on the GPU or the CPU pool, without a token for the API."""
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
