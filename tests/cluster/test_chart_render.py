"""What the real Helm makes of the chart, for every file of values in ci/."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_tools import CHART, CI_VALUES, KUBERNETES, assert_valid, find, pods, refused, run, template

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import Configuration, make_configuration
from boxcar.kfp.package import compiled_folder
from boxcar.kfp.schedule import read_schedule

pytestmark = pytest.mark.cluster

values_files = pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem.removesuffix("-values"))


def settings(file: Path, name: str, tmp_path: Path) -> Configuration:
    """Boxcar's configuration as it reads a file of the ConfigMap boxcar-settings."""
    objects = template("--values", str(file))
    written = tmp_path / name
    written.write_text(find(objects, "ConfigMap", "boxcar-settings")["data"][name], encoding="utf-8")
    return make_configuration(written, {})


@values_files
def test_lint_finds_nothing(values: Path) -> None:
    assert "0 chart(s) failed" in run("helm", "lint", "--strict", str(CHART), "--values", str(values)).stdout


@values_files
def test_kubernetes_knows_every_field_in_all_its_versions(values: Path) -> None:
    for version in KUBERNETES:
        objects = template("--values", str(values), "--kube-version", version)
        assert len(objects) > 10
        assert_valid(objects, version)


def test_older_versions_are_refused() -> None:
    assert "1.29" in refused("--kube-version", "1.28")


def test_default_values_are_enough() -> None:
    objects = template()
    assert_valid(objects, KUBERNETES[-1])
    assert "MinIO" not in str(objects)


@values_files
def test_nothing_lies_outside_the_namespace_and_no_secret_is_made(values: Path) -> None:
    for one in template("--values", str(values)):
        assert one["metadata"]["namespace"] == "boxcar", one["metadata"]["name"]
        assert not one["kind"].startswith("Cluster")
        assert one["kind"] not in ("Secret", "Namespace", "CustomResourceDefinition")


@values_files
def test_pods_ask_for_little(values: Path) -> None:
    """More than Pod Security `restricted`, which the cluster itself checks: read-only roots, limits, no unasked token."""
    found = dict(pods(template("--values", str(values))))
    assert {"Deployment boxcar-tensorboard", "Pod boxcar-test-bucket"} <= set(found)
    for name, pod in found.items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is (name == "CronJob boxcar-schedule"), name
        assert pod["enableServiceLinks"] is False, name
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert container["securityContext"] == expected, (name, container["name"])
            for kind in ("requests", "limits"):
                assert set(container["resources"][kind]) == {"cpu", "memory"}, (name, container["name"])
        for volume in pod.get("volumes", []):
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], (name, volume["name"])


SCHEDULE = {
    "name": "nightly",
    "pipeline": "retrain-if-changed",
    "parameters": {
        "data": "s3://ml/pictures",
        "models": "s3://ml/models",
        "model": "shelf",
        "runs": "s3://ml/runs",
        "steps": 4_000_000,
        "gpus": "2",
        "gpu_hours": "40",
        "new_pictures": 20,
        "initial_checkpoint": "zoo",
        "webhook_secret": "team-chat",
    },
    "cron": "30 1 * * 1-5",
    "timezone": "Europe/Berlin",
    "enabled": False,
    "experiment": "shelves",
    "service_account": "pipeline-runner",
}


def written(folder: Path, **changes: Any) -> str:
    """The option that gives the chart a file as `boxcar schedule apply` takes it."""
    path = folder / "schedule.yaml"
    path.write_text(yaml.safe_dump(SCHEDULE | changes), encoding="utf-8")
    read_schedule(path)
    return f"schedule.file={path}"


def test_a_file_for_kubeflow_makes_the_same_cronjob_as_the_values(tmp_path: Path) -> None:
    by_file = template("--set-file", written(tmp_path), "--set", "schedule.settings.gate.max_megabytes=8")
    values = {
        "schedule.enabled": True,
        "schedule.suspend": True,
        "schedule.cron": "30 1 * * 1-5",
        "schedule.timeZone": "Europe/Berlin",
        "schedule.data": "s3://ml/pictures",
        "schedule.models": "s3://ml/models",
        "schedule.model": "shelf",
        "schedule.webhookExistingSecret": "team-chat",
        "schedule.settings": {
            "steps": 4_000_000,
            "gpus": 2,
            "init": "zoo",
            "retraining": {"gpu_hours": 40, "new_pictures": 20, "start": "init"},
            "gate": {"max_megabytes": 8},
        },
    }
    by_values = template(*(part for name, value in values.items() for part in ("--set-json", f"{name}={json.dumps(value)}")))
    cron = find(by_file, "CronJob", "nightly")
    other = find(by_values, "CronJob", "boxcar-schedule")
    as_values = json.loads(json.dumps(cron).replace('"nightly"', '"boxcar-schedule"').replace("s3://ml/runs", "$(BOXCAR_RUNS)"))
    assert as_values == other
    rest = [one for one in by_file if one["kind"] != "CronJob"]
    assert rest == [one for one in by_values if one["kind"] != "CronJob"]
    data = find(by_file, "ConfigMap", "boxcar-settings")["data"]["schedule.yaml"]
    path = tmp_path / "settings.yaml"
    path.write_text(data, encoding="utf-8")
    read = make_configuration(path, {})
    assert (read.steps, read.retraining.gpu_hours, read.gate.max_megabytes) == (4_000_000, 40, 8)


def test_a_file_for_kubeflow_may_name_the_pipeline_that_trains_each_time(tmp_path: Path) -> None:
    parameters = {"data": "s3://ml/pictures", "output": "s3://ml/runs/"}
    option = written(tmp_path, pipeline="train-detector", parameters=parameters, enabled=True, timezone="UTC")
    cron = find(template("--set-file", option), "CronJob", "nightly")["spec"]
    assert (cron["suspend"], cron["timeZone"]) == (False, "Etc/UTC")
    arguments = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[:2] == ["boxcar", "run"]
    assert arguments[-2:] == ["--output=s3://ml/runs/$(JOB_NAME)", "--resume"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pipeline": "convert-only"}, "retrain-if-changed and train-detector can be scheduled, not convert-only"),
        ({"parameters": SCHEDULE["parameters"] | {"config": "s3://ml/config.yaml"}}, "schedule.settings instead"),
        ({"parameters": SCHEDULE["parameters"] | {"node_pool": "a=b"}}, "cluster.gpu_node_selector instead"),
        ({"parameters": SCHEDULE["parameters"] | {"bucket_secret": "other"}}, "bucket.existingSecret instead"),
        ({"parameters": SCHEDULE["parameters"] | {"epochs": 3}}, "retrain-if-changed has no parameter epochs"),
        ({"parameters": SCHEDULE["parameters"] | {"model": ""}}, "the parameter model is missing"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_file_for_kubeflow_that_cannot_be_a_cronjob(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refused("--set-file", written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "schedule.file cannot be read"),
        ("name: x\ncrno: y\n", "there is no field crno"),
        ("name: x\npipeline: train-detector\n", "cron is missing"),
        ("name: X\npipeline: train-detector\ncron: 0 2 * * *\n", "write at most 52"),
        ("name: x\npipeline: train-detector\ncron: nightly\n", "it needs five fields"),
    ],
)
def test_a_file_that_is_no_schedule_is_refused_by_the_chart_too(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(text, encoding="utf-8")
    assert words in refused("--set-file", f"schedule.file={path}")


def test_roles_are_these_and_no_wider() -> None:
    objects = template()
    roles = {one["metadata"]["name"]: one["rules"] for one in objects if one["kind"] == "Role"}
    assert {
        name: {(rule["apiGroups"][0], resource): set(rule["verbs"]) for rule in rules for resource in rule["resources"]}
        for name, rules in roles.items()
    } == {
        "boxcar-trainer": {("coordination.k8s.io", "leases"): {"get"}},
        "boxcar-launcher": {
            ("batch", "jobs"): {"create", "get", "list", "delete"},
            ("", "pods"): {"get", "list"},
            ("", "pods/log"): {"get"},
            ("", "events"): {"list"},
            ("coordination.k8s.io", "leases"): {"create", "get", "update"},
            ("", "services"): {"create", "get", "delete"},
            ("argoproj.io", "workflows"): {"get"},
        },
    }
    bound = {
        one["metadata"]["name"]: (one["roleRef"]["name"], [subject["name"] for subject in one["subjects"]])
        for one in objects
        if one["kind"] == "RoleBinding"
    }
    assert bound == {
        "boxcar-trainer": ("boxcar-trainer", ["boxcar-trainer"]),
        "boxcar-launcher": ("boxcar-launcher", ["boxcar-launcher"]),
    }


def test_further_service_accounts_may_start_runs() -> None:
    binding = find(template("--set", "serviceAccounts.launcher.sharedWith={pipeline-runner}"), "RoleBinding", "boxcar-launcher")
    assert [subject["name"] for subject in binding["subjects"]] == ["boxcar-launcher", "pipeline-runner"]


def test_settings_are_what_boxcar_reads(tmp_path: Path) -> None:
    assert settings(CHART / "values.yaml", "cluster.yaml", tmp_path).cluster == ClusterSettings(gpu_image_suffix="-gpu")
    everything = settings(CHART / "ci" / "everything-values.yaml", "schedule.yaml", tmp_path)
    assert (everything.steps, everything.augmentations, everything.limits.matched) == (
        2000,
        ("horizontal_flip", "colour"),
        0.95,
    )
    assert (everything.retraining.gpu_hours, everything.gate.max_megabytes) == (40, 8)
    cluster = everything.cluster
    assert (cluster.image_tag, cluster.image_pull_secrets) == ("0.1.0-rc.1", ("registry", "mirror"))
    assert cluster.environment == {"AWS_REGION": "us-east-1", "BOXCAR_S3_ENDPOINT": "http://boxcar-minio:9000"}
    assert (cluster.credentials_secret, cluster.gcs_key_secret) == ("bucket-key", "gcs-key")
    assert (cluster.machines, cluster.queue, cluster.deadline_hours) == (2, "vision", 12.5)
    assert cluster.gpu_tolerations[0].value == "present"
    assert settings(CHART / "ci" / "gke-values.yaml", "cluster.yaml", tmp_path).cluster.credentials_secret is None


EVERYTHING = ("--values", str(CHART / "ci" / "everything-values.yaml"))


def test_the_schedule_goes_on_after_a_restart_and_begins_anew_each_night() -> None:
    cron = find(template(*EVERYTHING), "CronJob", "boxcar-schedule")["spec"]
    assert (cron["concurrencyPolicy"], cron["timeZone"], cron["schedule"]) == ("Forbid", "Europe/Berlin", "30 1 * * 1-5")
    job = cron["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] == 12 * 3600
    pod = job["template"]["spec"]
    assert pod["serviceAccountName"] == "boxcar-launcher"
    launcher = pod["containers"][0]
    first = ["--launcher=cluster", "--data=s3://boxcar/pictures", "--config=/etc/boxcar/schedule.yaml"]
    of_model = ["--models=s3://boxcar/models", "--model=shelf", "--runs=$(BOXCAR_RUNS)"]
    assert launcher["args"] == ["boxcar", "retrain", *first, *of_model]
    webhook = {"secretKeyRef": {"name": "team-chat", "key": "url"}}
    assert {"name": "BOXCAR_WEBHOOK", "valueFrom": webhook} in launcher["env"]
    plain = find(
        template(*EVERYTHING, "--set", "schedule.model=,schedule.webhookExistingSecret="), "CronJob", "boxcar-schedule"
    )
    alone = plain["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert alone["args"] == ["boxcar", "run", *first, "--output=$(BOXCAR_RUNS)/$(JOB_NAME)", "--resume"]
    assert "BOXCAR_WEBHOOK" not in {one["name"] for one in alone["env"]}
    job_name = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    assert {"name": "JOB_NAME", "valueFrom": job_name} in launcher["env"]
    by_code = {
        code: rule["action"]
        for rule in job["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {"values": ["disrupted"]})["values"]
    }
    failing = dict.fromkeys([1, 64, 65, 70, 76], "FailJob")
    assert by_code == {"disrupted": "Ignore", 75: "Ignore", **failing}


def test_tensorboard_starts_anew_when_what_its_pod_reads_at_the_start_changes() -> None:
    def checksum(*options: str) -> Any:
        pod = find(template(*options), "Deployment", "boxcar-tensorboard")["spec"]["template"]
        return pod["metadata"]["annotations"]["checksum/settings"]

    assert checksum() == checksum("--set", "cluster.machines=2")
    different = {
        checksum(),
        checksum("--set", "bucket.runs=s3://other/runs"),
        checksum("--set", "bucket.endpoint=http://other"),
    }
    assert len(different) == 3


@pytest.mark.parametrize(
    ("options", "ports"),
    [
        ([], [443]),
        (["--set", "bucket.endpoint=http://minio.example.com"], [80]),
        (["--set", "bucket.endpoint=https://minio.example.com:9443"], [9443]),
        (["--set", "networkPolicy.bucket.ports={8080,8081}"], [8080, 8081]),
        (["--set", "minio.enabled=true"], [9000]),
    ],
)
def test_egress_goes_to_the_buckets_port(options: list[str], ports: list[int]) -> None:
    policy = find(template(*options), "NetworkPolicy", "boxcar-to-bucket")
    (rule,) = policy["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == ports
    assert ("podSelector" in rule["to"][0]) == ("minio.enabled=true" in options)


def test_no_policy_closes_a_task_of_kubeflow() -> None:
    # It has to reach Kubeflow's own servers, which no policy of the chart names.
    objects = template("--values", str(CHART / "ci" / "everything-values.yaml"))
    closed = [one["spec"]["podSelector"]["matchLabels"] for one in objects if one["kind"] == "NetworkPolicy"]
    assert {"app.kubernetes.io/name": "boxcar"} in closed
    for file in compiled_folder().glob("*.yaml"):
        _, platform = yaml.safe_load_all(file.read_text(encoding="utf-8"))
        for task, executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
            labels = executor["podMetadata"]["labels"]
            assert not [one for one in closed if one.items() <= labels.items()], task


def test_a_secret_that_only_reads_is_tensorboards_alone() -> None:
    objects = template("--values", str(CHART / "ci" / "onprem-values.yaml"))
    secrets = {
        (name, container["name"]): [source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source]
        for name, pod in pods(objects)
        for container in pod["containers"]
        if "envFrom" in container
    }
    assert secrets == {
        ("Deployment boxcar-tensorboard", "follow"): ["boxcar-bucket-read-only"],
        ("Pod boxcar-test-bucket", "bucket"): ["boxcar-bucket"],
    }


def _closed(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if schema.get("additionalProperties") is False:
        yield path
    for name, nested in schema.get("properties", {}).items():
        yield from _closed(nested, (*path, name))


SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", list(_closed(SCHEMA)), ids=lambda path: ".".join(path) or "top")
def test_a_value_that_is_not_known_is_refused(path: tuple[str, ...], tmp_path: Path) -> None:
    given: dict[str, Any] = {"surprise": 1}
    for name in reversed(path):
        given = {name: given}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(given), encoding="utf-8")
    assert "additional properties 'surprise' not allowed" in refused("--values", str(file))


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("bucket.runs=/runs", "/bucket/runs"),
        ("bucket.runs=s3://boxcar", "/bucket/runs"),
        ("bucket.runs=s3://boxcar/runs/", "/bucket/runs"),
        ("bucket.endpoint=minio:9000", "/bucket/endpoint"),
        ("cluster.trainer_memory=much", "/cluster/trainer_memory"),
        ("schedule.cron=nightly", "/schedule/cron"),
        ("schedule.enabled=true", "schedule.data is empty"),
        ("schedule.enabled=true,schedule.data=s3://a-bucket,schedule.model=shelf", "schedule.models is empty"),
        ("schedule.enabled=true,schedule.data=s3://a-bucket,schedule.settings.cluster.machines=2", "schedule.settings.cluster"),
        ("tensorboard.pathPrefix=board/", "/tensorboard/pathPrefix"),
        ("tensorboard.ingress.enabled=true", "tensorboard.ingress.host is empty"),
        ("tensorboard.httpRoute.enabled=true", "tensorboard.httpRoute.parentRefs is empty"),
        ("minio.enabled=true,bucket.runs=gs://boxcar/runs", "minio.enabled: bucket.runs must be an s3:// folder"),
        ("minio.enabled=true,bucket.existingSecret=", "minio.enabled: bucket.existingSecret must name a Secret"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_name(option: str, word: str) -> None:
    assert word in refused("--set", option).replace("'", "")
