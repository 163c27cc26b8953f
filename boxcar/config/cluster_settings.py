"""The part of the configuration that says how a run uses a Kubernetes cluster: `cluster:` in the YAML."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from boxcar import __version__
from boxcar.config.settings import Settings


def matching(pattern: str, what: str, longest: int = 253) -> AfterValidator:
    """Refuses a text that is too long or does not match as a whole. `what` describes those that do."""

    def check(value: str) -> str:
        if len(value) > longest or not re.fullmatch(pattern, value):
            raise ValueError(f"Input should be {what}")
        return value

    return AfterValidator(check)


# apimachinery, util/validation/validation.go
_LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL_KEY = rf"((?=[^/]{{1,253}}/){_DNS_NAME}/)?{_LABEL_NAME}"
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
# apimachinery, api/resource/quantity.go; with a digit that is not 0
_QUANTITY = r"(?=[0-9.]*[1-9])([0-9]+|[0-9]*\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9]+)?"
_IMAGE_REPOSITORY = r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
_IMAGES = ("records", "train", "train-gpu", "convert", "ops")  # `train-gpu` trains on GPUs

Quantity = Annotated[
    str,
    BeforeValidator(str),  # `4` in YAML is a number
    matching(_QUANTITY, "a Kubernetes quantity above 0, such as 500m, 4, or 16Gi"),
]
LabelKey = Annotated[str, matching(_LABEL_KEY, "a label's key, such as boxcar.dev/pool", longest=253 + 1 + 63)]
LabelValue = Annotated[str, matching(f"({_LABEL_NAME})?", "a label's value: at most 63 letters, digits, -, _, and .")]
ObjectName = Annotated[str, matching(_DNS_NAME, "a name of lower-case letters, digits, -, and .")]
Namespace = Annotated[str, matching(_DNS_LABEL, "a name of at most 63 lower-case letters, digits, and -")]
ImageName = Annotated[str, matching("|".join(_IMAGES), f"one of {', '.join(_IMAGES)}")]
ImageDigest = Annotated[str, matching("sha256:[0-9a-f]{64}", "sha256: and 64 hexadecimal digits")]
Variable = Annotated[str, matching("[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]


class Toleration(Settings):
    """A taint that pods tolerate."""

    key: LabelKey | None = Field(None, description="Key of the taint. Not set, with operator Exists: all keys.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="Exists tolerates every value of the key.")
    value: LabelValue | None = Field(None, description="Value of the taint, for operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint. Not set: all effects."
    )


class ClusterSettings(Settings):
    """Where the pods of a run go, what they may use, and when they are given up."""

    namespace: Namespace | None = Field(
        None, description="Namespace of the Jobs. Not set: the pod's own, or that of the kubeconfig's context."
    )
    service_account: ObjectName = Field(
        "boxcar-trainer", description="Service account of all pods. It must be allowed to read Leases."
    )
    image_repository: Annotated[str, matching(_IMAGE_REPOSITORY, "an image repository, such as docker.io/boxcar")] = Field(
        "docker.io/boxcar", description="Prefix of the container images' names: records, train, convert."
    )
    image_tag: Annotated[str, matching("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "an image's tag")] = Field(
        __version__, description="Tag of all container images."
    )
    gpu_image_suffix: Annotated[str, matching("[A-Za-z0-9_.-]{0,60}", "letters, digits, -, _, and .")] = Field(
        "-gpu", description="Suffix of the tag for training on GPUs. Empty if one container image serves both."
    )
    image_digests: dict[ImageName, ImageDigest] = Field(
        {}, description="Digests of container images by name; train-gpu trains on GPUs. Without a digest, the tag is used."
    )
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        "IfNotPresent", description="When to pull container images."
    )
    image_pull_secrets: tuple[ObjectName, ...] = Field((), description="Secrets to pull container images with.")
    environment: dict[Variable, str] = Field(
        {}, description="Environment variables of every container, such as BOXCAR_S3_ENDPOINT; no secrets."
    )
    credentials_secret: ObjectName | None = Field(
        "boxcar-bucket",
        description="A Secret whose keys become environment variables, such as AWS_ACCESS_KEY_ID; null if none is needed.",
    )
    gcs_key_secret: ObjectName | None = Field(None, description="A Secret whose key.json is a key to Google Cloud Storage.")
    gpu_resource: LabelKey = Field("nvidia.com/gpu", description="Resource name of a GPU.")
    gpu_node_selector: dict[LabelKey, LabelValue] = Field({}, description="Labels of the nodes to train on with GPUs.")
    gpu_tolerations: tuple[Toleration, ...] = Field(
        (Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
        description="Taints of those nodes that the pods tolerate.",
    )
    cpu_node_selector: dict[LabelKey, LabelValue] = Field(
        {}, description="Labels of the nodes for every other step, and for training with `gpus: 0`."
    )
    cpu_tolerations: tuple[Toleration, ...] = Field((), description="Taints of those nodes that the pods tolerate.")
    machines: int = Field(1, ge=1, le=64, description="Workers of a training: pods that each have their own GPUs.")
    trainer_cpu: Quantity = Field("4", description="CPUs of the trainer, as request and limit.")
    trainer_memory: Quantity = Field("16Gi", description="Memory of the trainer, as request and limit.")
    evaluator_cpu: Quantity = Field("2", description="CPUs of the evaluator sidecar.")
    evaluator_memory: Quantity = Field("6Gi", description="Memory of the evaluator sidecar.")
    step_cpu: Quantity = Field("2", description="CPUs of every other step.")
    step_memory: Quantity = Field("8Gi", description="Memory of every other step.")
    shm_megabytes: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Size of the trainer's /dev/shm, which is part of its memory.",
    )
    ephemeral_gigabytes: int = Field(
        20, ge=1, le=100_000, description="Disk of a pod for records, checkpoints, and exported files."
    )
    priority_class: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    queue: LabelValue | None = Field(None, min_length=1, description="Kueue LocalQueue that admits the Jobs.")
    deadline_hours: float = Field(
        24.0, gt=0, le=24 * 365, allow_inf_nan=False, description="Deadline of a step in hours; it is not retried after that."
    )
    grace_seconds: int = Field(
        120, ge=1, le=3600, description="Seconds between SIGTERM and SIGKILL, in which a last checkpoint is saved."
    )
    orphan_minutes: float = Field(
        10.0,
        gt=0,
        le=24 * 60,
        allow_inf_nan=False,
        description="Minutes without a watcher after which training ends with exit code 76.",
    )

    def image(self, name: str, *, gpu: bool = False) -> str:
        """The reference of one of the container images; `gpu` selects the one that trains on GPUs."""
        suffix = self.gpu_image_suffix if gpu else ""
        digest = self.image_digests.get(f"{name}-gpu" if suffix else name)
        return f"{self.image_repository}/{name}" + (f"@{digest}" if digest else f":{self.image_tag}{suffix}")

    def image_settings(self) -> dict[str, Any]:
        """The settings that determine the references, without the suffix."""
        return self.model_dump(include={"image_repository", "image_tag", "image_digests"})
