"""A namespace of a cluster in which a test installs the chart."""

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chart_tools import CHART, program, run
from cluster_under_test import KEY, SECRET, TAG, TOOLS, Cluster

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

    def install(self, values: dict[str, str], **tables: Any) -> str:
        """Installs the chart, or changes what is installed; `tables` are values too, of any shape."""
        settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
        settings += [part for name, value in tables.items() for part in ("--set-json", f"{name}={json.dumps(value)}")]
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


@contextlib.contextmanager
def new_release(cluster: Cluster) -> Iterator[Release]:
    """A new namespace with the bucket's Secret, in which nothing is installed yet; it is removed at the end."""
    program("helm")
    namespace = f"boxcar-chart-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "boxcar.dev/test": "yes"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        bucket_secret(namespace, SECRET),
    )
    try:
        yield Release(cluster, namespace)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


def bucket_secret(namespace: str, secret: str) -> dict[str, Any]:
    """The Secret that the chart is told of, with the key's name and this secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "boxcar-bucket", "namespace": namespace},
        "stringData": {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret},
    }


def load_minio_image(cluster: Cluster, folder: Path) -> None:
    """Puts an image of this machine's own MinIO on the nodes: the chart's default, a public one, cannot be pulled here."""
    if cluster.script is not None:
        shutil.copy(TOOLS / "minio", folder / "minio")
        text = "FROM docker.io/library/debian:bookworm-slim\nCOPY minio /usr/local/bin/minio\n"
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
        cluster.run_script("image", MINIO_IMAGE, str(folder))
        cluster.run_script("load", MINIO_IMAGE)


def ended_job(release: Release, name: str) -> dict[str, Any] | None:
    """The Job, once it has ended for good."""
    job = release.cluster.get("-n", release.namespace, "job", name)
    conditions = {one["type"] for one in job["status"].get("conditions", []) if one["status"] == "True"}
    return job if conditions & {"Failed", "Complete"} else None
