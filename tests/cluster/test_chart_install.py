"""The chart on a cluster: taken as it stands by the API server, installed, tried, changed and removed."""

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chart_tools import CHART, CI_VALUES, OVERLAYS, ROOT, kustomize, program, read_objects, run
from cluster_under_test import KEY, SECRET, TAG, TOOLS, Cluster, Place, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

MINIO_IMAGE = f"docker.io/boxcar/minio:{TAG}"
# The test cluster has two cores and no storage classes.
SMALL = {
    "image.tag": TAG,
    "minio.enabled": "true",
    "minio.image": MINIO_IMAGE,
    "minio.persistence.enabled": "false",
    "minio.persistence.size": "1Gi",
    "tensorboard.resources.requests.cpu": "50m",
    "tensorboard.resources.requests.memory": "256Mi",
}
# What Kubernetes or the tests themselves put into a namespace.
NOT_OURS = {"configmap/kube-root-ca.crt", "serviceaccount/default", "secret/boxcar-bucket"}


class Release:
    """A namespace with Pod Security's `restricted`, and the chart in it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def helm(self, *arguments: str) -> str:
        return run("helm", "--kubeconfig", self.cluster.kubeconfig, "--namespace", self.namespace, *arguments).stdout

    def install(self, values: dict[str, str]) -> str:
        settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
        return self.helm("upgrade", "--install", "boxcar", str(CHART), "--wait", "--timeout", "5m", *settings)

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.get("-n", self.namespace, *arguments)["items"]
        return found

    def pod(self, component: str) -> dict[str, Any]:
        """The one pod of a component that is not on its way out."""
        pods = self.get("pods", "-l", f"app.kubernetes.io/component={component}")
        (pod,) = [one for one in pods if "deletionTimestamp" not in one["metadata"]]
        return pod

    def everything(self) -> set[str]:
        """All objects of the namespace, as kind/name; events, Leases and endpoints left out, which nobody installs."""
        listed = self.cluster.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
        passing = ("events", "events.events.k8s.io", "endpoints", "endpointslices.discovery.k8s.io", "controllerrevisions.apps")
        kinds = ",".join(sorted(set(listed) - set(passing)))
        names = self.cluster.kubectl("-n", self.namespace, "get", kinds, "-o", "name", "--ignore-not-found").split()
        return {name.replace(".v1", "") for name in names} - NOT_OURS


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    program("helm")
    namespace = f"boxcar-chart-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "boxcar.dev/test": "yes"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "boxcar-bucket", "namespace": namespace},
            "stringData": {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
        },
    )
    yield Release(cluster, namespace)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


@pytest.fixture(scope="session")
def minio_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of the machine's own MinIO server, on the nodes. The chart's default, a public one, cannot be pulled here."""
    if cluster.script is not None:
        folder = tmp_path_factory.mktemp("minio-image")
        shutil.copy(TOOLS / "minio", folder / "minio")
        text = "FROM docker.io/library/debian:bookworm-slim\nCOPY minio /usr/local/bin/minio\n"
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
        cluster.run_script("image", MINIO_IMAGE, str(folder))
        cluster.run_script("load", MINIO_IMAGE)
    return MINIO_IMAGE


def strict_dry_run(cluster: Cluster, objects: list[dict[str, Any]]) -> None:
    """Has the API server take the objects as if in earnest; a field that it does not know is an error."""
    text = "\n---\n".join(json.dumps(one) for one in objects)
    arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-"]
    answered = cluster.kubectl(*arguments, stdin=text).splitlines()
    assert len(answered) == len(objects)


@pytest.fixture
def with_accounts(release: Release) -> Release:
    """Pods are only admitted where their service accounts are."""
    for name in ("trainer", "launcher", "tensorboard"):
        release.cluster.kubectl("-n", release.namespace, "create", "serviceaccount", f"boxcar-{name}")
    return release


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def test_the_api_server_takes_what_the_chart_renders(with_accounts: Release, values: Path) -> None:
    text = with_accounts.helm("template", "boxcar", str(CHART), "--values", str(values))
    # The Gateway API is not part of Kubernetes; without its definitions nobody can take one of its routes.
    objects = [one for one in read_objects(text) if one["kind"] != "HTTPRoute"]
    strict_dry_run(with_accounts.cluster, objects)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_the_api_server_takes_the_overlays(with_accounts: Release, overlay: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    own = tmp_path / "k8s" / "overlays" / "own"
    own.mkdir()
    text = f"namespace: {with_accounts.namespace}\nresources: [../{overlay.name}]\n"
    (own / "kustomization.yaml").write_text(text, encoding="utf-8")
    strict_dry_run(with_accounts.cluster, kustomize(own))


@pytest.mark.cluster_core
def test_install_test_upgrade_uninstall(release: Release, minio_image: str) -> None:
    notes = release.install(SMALL)
    assert "helm test boxcar" in notes
    assert "There is no Secret" not in notes
    for component in ("tensorboard", "minio"):
        ready = {one["type"]: one["status"] for one in release.pod(component)["status"]["conditions"]}
        assert ready["Ready"] == "True", component
    assert release.get("events", "--field-selector", "reason=FailedCreate") == []  # Pod Security refused nothing
    assert "Phase:          Succeeded" in release.helm("test", "boxcar", "--timeout", "3m")

    before = {component: release.pod(component)["metadata"]["uid"] for component in ("tensorboard", "minio")}
    release.install({**SMALL, "tensorboard.pathPrefix": "/board"})
    after = {component: release.pod(component)["metadata"]["uid"] for component in ("tensorboard", "minio")}
    assert after["minio"] == before["minio"], "what did not change is left alone"
    assert after["tensorboard"] != before["tensorboard"]
    assert "--path_prefix=/board" in release.pod("tensorboard")["spec"]["containers"][0]["args"]
    assert release.helm("test", "boxcar", "--timeout", "3m").count("Succeeded") == 2

    release.helm("uninstall", "boxcar", "--wait")
    wait_for("the end of the last pod", lambda: not release.get("pods"), 120)
    assert release.everything() == set()


def test_helm_test_fails_with_a_wrong_key(release: Release, minio_image: str) -> None:
    release.install(SMALL)
    wrong = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "not-the-secret"}
    release.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "boxcar-bucket", "namespace": release.namespace},
            "stringData": wrong,
        }
    )
    with pytest.raises(AssertionError, match="boxcar-test-bucket"):
        release.helm("test", "boxcar", "--timeout", "2m")
    log = release.cluster.kubectl("-n", release.namespace, "logs", "boxcar-test-bucket")
    assert "AWS_SECRET_ACCESS_KEY" in log


def test_the_schedule_starts_a_run_named_after_its_job(release: Release, place: Place) -> None:
    runs = f"{place.bucket}/scheduled"
    values = {
        "image.tag": TAG,
        "tensorboard.enabled": "false",
        "bucket.runs": runs,
        "bucket.endpoint": place.endpoint,
        "cluster.step_cpu": "500m",
        "cluster.step_memory": "1Gi",
        "cluster.ephemeral_gigabytes": "1",
        "schedule.enabled": "true",
        "schedule.cron": "0 0 1 1 *",
        "schedule.data": f"{place.bucket}/no-such-pictures",
    }
    release.install(values)
    release.cluster.kubectl(
        "-n", release.namespace, "create", "job", "--from=cronjob/boxcar-schedule", "boxcar-schedule-by-hand"
    )
    job = wait_for("the end of the schedule's Job", lambda: ended_job(release, "boxcar-schedule-by-hand"), 300)
    # Bad data stops it at once, by its own exit code; it was not tried again.
    assert [one["reason"] for one in job["status"]["conditions"] if one["type"] == "Failed"] == ["PodFailurePolicy"]
    (pod,) = release.get("pods", "-l", "batch.kubernetes.io/job-name=boxcar-schedule-by-hand")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 65, ended
    assert "no-such-pictures" in ended["message"]
    # It started a Job with the launcher's own rights, which belongs to it and goes with it.
    (records,) = release.get("jobs", "-l", "app.kubernetes.io/component=records")
    assert records["metadata"]["annotations"]["boxcar.dev/run-uri"] == f"{runs}/boxcar-schedule-by-hand"
    assert [one["name"] for one in records["metadata"]["ownerReferences"]] == ["boxcar-schedule-by-hand"]


def ended_job(release: Release, name: str) -> dict[str, Any] | None:
    """The Job, once it has ended for good."""
    job = release.cluster.get("-n", release.namespace, "job", name)
    conditions = {one["type"] for one in job["status"].get("conditions", []) if one["status"] == "True"}
    return job if conditions & {"Failed", "Complete"} else None
