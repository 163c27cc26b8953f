"""The Jobs of a run, as manifests: the schemas of Kubernetes, and what the cluster's other parts rely on."""

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from boxcar.cluster.job import configuration_hash, job_name, step_job
from boxcar.cluster.trainer_job import trainer_job, trainer_service
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import Configuration
from boxcar.export import provenance

RUN = "s3://bucket/runs/one"
VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
FULL = {
    "image_pull_secrets": ["registry"],
    "environment": {"BOXCAR_S3_ENDPOINT": "http://minio:9000"},
    "gcs_key_secret": "gcs",
    "gpu_node_selector": {"boxcar.dev/pool": "gpu"},
    "cpu_node_selector": {"boxcar.dev/pool": "cpu"},
    "cpu_tolerations": [{"key": "spot", "operator": "Exists"}],
    "priority_class": "low",
    "queue": "team",
    "machines": 3,
}


def configured(cluster: dict[str, Any] | None = None, **settings: Any) -> Configuration:
    return Configuration.model_validate({"cluster": cluster or {}, **settings})


def containers(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    spec = job["spec"]["template"]["spec"]
    return {one["name"]: one for one in [*spec.get("initContainers", []), *spec["containers"]]}


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cluster", [{}, FULL], ids=["defaults", "everything"])
def test_every_manifest_is_valid(cluster: dict[str, Any], version: str) -> None:
    configuration = configured(cluster, gpus=2)
    made = [
        trainer_job(configuration, RUN),
        trainer_service(configuration, RUN),
        step_job(configuration, RUN, "records", "records", ["records"]),
    ]
    for manifest in filter(None, made):
        kubernetes_validate.validate(manifest, version, strict=True)
        assert yaml.safe_load(yaml.safe_dump(manifest)) == manifest


@pytest.mark.parametrize("cluster", [{}, FULL], ids=["defaults", "everything"])
def test_every_container_passes_restricted_and_has_limits(cluster: dict[str, Any]) -> None:
    configuration = configured(cluster)
    for job in (trainer_job(configuration, RUN), step_job(configuration, RUN, "convert", "convert", ["convert"])):
        spec = job["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"] == {
            "type": "RuntimeDefault"
        }
        assert not spec["automountServiceAccountToken"]
        for container in containers(job).values():
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] and context["allowPrivilegeEscalation"] is False
            requests, limits = (container["resources"][kind] for kind in ("requests", "limits"))
            assert requests == limits | {"cpu": requests["cpu"]}
            assert requests["cpu"] == limits["cpu"] or container["name"] in ("fetch", "uploader")
            assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()
            assert "command" not in container  # the image's entry point forwards signals


def test_only_the_trainer_sees_a_gpu() -> None:
    job = trainer_job(configured(FULL, gpus=2), RUN)
    spec, parts = job["spec"]["template"]["spec"], containers(job)
    assert parts["trainer"]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert parts["trainer"]["args"][-2:] == ["--gpus", "2"]
    assert "NVIDIA_VISIBLE_DEVICES" not in variables(parts["trainer"])
    for name in ("fetch", "uploader", "evaluator"):
        assert "nvidia.com/gpu" not in parts[name]["resources"]["limits"]
        assert variables(parts[name])["NVIDIA_VISIBLE_DEVICES"] == "void"
        assert variables(parts[name])["CUDA_VISIBLE_DEVICES"] == "-1"
    assert spec["nodeSelector"] == {"boxcar.dev/pool": "gpu"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert parts["trainer"]["image"].endswith("-gpu")


def test_without_gpus_training_goes_to_the_cpu_pool() -> None:
    job = trainer_job(configured(FULL, gpus=0), RUN)
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"boxcar.dev/pool": "cpu"}
    trainer = containers(job)["trainer"]
    assert "nvidia.com/gpu" not in trainer["resources"]["limits"] and not trainer["image"].endswith("-gpu")
    assert variables(trainer)["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_on_a_cluster_one_gpu_is_asked_for_where_nothing_was_said() -> None:
    trainer = containers(trainer_job(configured(), RUN))["trainer"]
    assert trainer["resources"]["limits"]["nvidia.com/gpu"] == "1" and trainer["args"][-2:] == ["--gpus", "1"]


def test_only_what_opens_the_bucket_is_given_its_keys_and_only_the_uploader_a_token() -> None:
    parts = containers(trainer_job(configured({"gcs_key_secret": "gcs"}), RUN))
    assert [name for name, one in parts.items() if "envFrom" in one] == ["fetch", "uploader"]
    assert [name for name, one in parts.items() if "GOOGLE_APPLICATION_CREDENTIALS" in variables(one)] == ["fetch", "uploader"]
    mounts = {name: [mount["name"] for mount in one["volumeMounts"]] for name, one in parts.items()}
    assert [name for name, found in mounts.items() if "api" in found] == ["uploader"]
    assert [name for name, found in mounts.items() if "gcs-key" in found] == ["fetch", "uploader"]
    # A checkpoint in a bucket is read by the trainer itself.
    parts = containers(trainer_job(configured(init="gs://zoo/ckpt-0"), RUN))
    assert "envFrom" in parts["trainer"]


def test_sidecars_stop_in_the_order_in_which_they_need_each_other() -> None:
    init = trainer_job(configured(), RUN)["spec"]["template"]["spec"]["initContainers"]
    assert [one["name"] for one in init] == ["fetch", "uploader", "evaluator"]
    assert [one.get("restartPolicy") for one in init] == [None, "Always", "Always"]


def test_what_is_tried_again() -> None:
    policy = trainer_job(configured(), RUN)["spec"]["podFailurePolicy"]["rules"]
    assert policy[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    by_exit = [(rule["action"], rule["onExitCodes"]["containerName"], rule["onExitCodes"]["values"]) for rule in policy[1:]]
    assert by_exit == [
        ("Ignore", "trainer", [75]),
        ("FailJob", "trainer", [64, 65, 70, 76]),
        ("FailJob", "fetch", [64, 65, 70, 76]),
        ("Ignore", "fetch", [75]),
    ]
    spec = trainer_job(configured({"deadline_hours": 1.5, "grace_seconds": 30}), RUN)["spec"]
    assert spec["backoffLimit"] == 3 and spec["podReplacementPolicy"] == "Failed" and spec["activeDeadlineSeconds"] == 5400
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    rules = step_job(configured(), RUN, "convert", "convert", [])["spec"]["podFailurePolicy"]["rules"]
    assert rules[-1]["onExitCodes"]["values"] == [1, 64, 65, 70, 76]


def test_several_machines_know_each_other() -> None:
    configuration = configured({"machines": 2}, gpus=0)
    job, service = trainer_job(configuration, RUN), trainer_service(configuration, RUN)
    assert service is not None and service["spec"]["clusterIP"] == "None"
    name = job["metadata"]["name"]
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"] == name
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    for container in containers(job).values():
        order = [one["name"] for one in container["env"]]
        assert order.index("BOXCAR_MACHINE") < order.index("TF_CONFIG")  # or Kubernetes would not put it in
        text = variables(container)["TF_CONFIG"]
        config = json.loads(text.replace("$(BOXCAR_MACHINE)", "1"))
        assert config["cluster"]["worker"] == [f"{name}-0.{name}:2222", f"{name}-1.{name}:2222"]
        assert config["task"] == {"type": "worker", "index": 1}
    assert trainer_service(configured(), RUN) is None


def test_memory_disk_queue_and_priority() -> None:
    job = trainer_job(configured({**FULL, "shm_megabytes": 256, "ephemeral_gigabytes": 7, "trainer_memory": "3Gi"}), RUN)
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "256Mi"}
    limits = containers(job)["trainer"]["resources"]["limits"]
    assert limits["ephemeral-storage"] == "7Gi" and limits["memory"] == "3Gi"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert job["spec"]["template"]["spec"]["priorityClassName"] == "low"


def test_a_job_is_found_by_its_run_and_told_by_its_configuration() -> None:
    assert job_name("train", RUN) == job_name("train", RUN) != job_name("train", RUN + "x")
    assert (
        job_name("train", RUN).startswith("boxcar-train-") and len(job_name("evaluate", RUN)) <= 52
    )  # with index and suffix: 63
    base = configuration_hash(configured(), "train")
    assert base == configuration_hash(configured(seed=0), "train")  # the default, spelled out
    assert base != configuration_hash(configured(steps=7), "train")
    assert base != configuration_hash(configured({"trainer_memory": "1Gi"}), "train")
    assert base == configuration_hash(configured(formats=["tflite_int8"]), "train")
    assert configuration_hash(configured(), "convert") != configuration_hash(configured(formats=["tflite_int8"]), "convert")
    job = trainer_job(configured(), RUN)
    assert job["metadata"]["annotations"] == {"boxcar.dev/run-uri": RUN, "boxcar.dev/configuration": base}


def test_what_runs_in_an_image_is_told_so() -> None:
    job = step_job(configured(), RUN, "freeze", "train", ["freeze"])
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": provenance.IMAGE, "value": container["image"]} in container["env"]


def test_an_image_is_pulled_by_its_digest_where_there_is_one() -> None:
    digest = "sha256:" + "1f" * 32
    settings = ClusterSettings.model_validate({"image_digests": {"train-gpu": digest}})
    assert settings.image("train", gpu=True) == f"docker.io/boxcar/train@{digest}"
    assert settings.image("train") == f"docker.io/boxcar/train:{settings.image_tag}"
    for digests in ({"tensorboard": digest}, {"train": "sha256:1f"}):
        with pytest.raises(ValueError, match="Input should be"):
            ClusterSettings.model_validate({"image_digests": digests})
