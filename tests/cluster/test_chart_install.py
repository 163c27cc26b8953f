"""The chart on a cluster: taken as it stands by the API server, installed, tried, changed and removed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from chart_release import SMALL, Release, bucket_secret, ended_job
from chart_tools import CHART, CI_VALUES, OVERLAYS, ROOT, kustomize, read_objects
from cluster_under_test import TAG, Cluster, Place, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4800)]


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
def test_install_test_upgrade_uninstall(release: Release, minio_image: None) -> None:
    notes = release.install(SMALL)
    assert "helm test boxcar" in notes
    assert "does not exist yet" not in notes
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

    assert {"deployment.apps/boxcar-tensorboard", "role.rbac.authorization.k8s.io/boxcar-launcher"} <= release.everything()
    release.helm("uninstall", "boxcar", "--wait")
    wait_for("the end of the last pod", lambda: not release.get("pods"), 120)
    assert release.everything() == set()


def test_helm_test_fails_with_a_wrong_key(release: Release, minio_image: None) -> None:
    release.install(SMALL)
    release.cluster.apply(bucket_secret(release.namespace, "not-the-secret"))
    with pytest.raises(AssertionError, match="boxcar-test-bucket"):
        release.helm("test", "boxcar", "--timeout", "2m")
    log = release.cluster.kubectl("-n", release.namespace, "logs", "boxcar-test-bucket")
    assert "AWS_SECRET_ACCESS_KEY" in log


def test_the_schedule_starts_a_run_named_after_its_job(release: Release, place: Place) -> None:
    runs, pictures = f"{place.bucket}/scheduled", f"{place.bucket}/no-pictures"
    place.store(pictures).write("one.jpg", b"This is no picture.")
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
        "schedule.data": pictures,
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
    assert "one.jpg" in ended["message"]
    # It started a Job with the launcher's own rights, which belongs to it and goes with it.
    (records,) = release.get("jobs", "-l", "app.kubernetes.io/component=records")
    assert records["metadata"]["annotations"]["boxcar.dev/run-uri"] == f"{runs}/boxcar-schedule-by-hand"
    assert [one["name"] for one in records["metadata"]["ownerReferences"]] == ["boxcar-schedule-by-hand"]
