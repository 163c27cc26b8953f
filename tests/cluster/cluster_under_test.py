"""The cluster that the tests of this folder work on, and a namespace in it with what the chart would install."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from image_builds import IMAGES, build_images

from boxcar.storage import Store, open_store

REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("BOXCAR_SHARED", REPOSITORY.parent / "shared"))
SCRIPT = SHARED / "cluster" / "cluster"
TOOLS = Path(os.environ.get("CLUSTER_BIN", "/opt/boxcar-cluster/bin"))
TAG = os.environ.get("BOXCAR_TEST_TAG", "test")
KEY, SECRET = "tester", "tester-secret"
# Where pods reach a server that runs on this machine: the address of the test cluster's bridge.
ADDRESS = os.environ.get("BOXCAR_TEST_ADDRESS", "10.99.0.1")

WORKFLOWS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "workflows.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "scope": "Namespaced",
        "names": {"kind": "Workflow", "plural": "workflows", "singular": "workflow"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        kubeconfig: of an administrator.
        script: which the cluster was made with; None for one that was there.
    """

    kubeconfig: str
    script: Path | None

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", *arguments], input=stdin, capture_output=True, text=True, env=self.environment(), check=False
        )
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def environment(self) -> dict[str, str]:
        return os.environ | {"KUBECONFIG": self.kubeconfig, "PATH": f"{TOOLS}:{os.environ['PATH']}"}

    def run_script(self, *arguments: str) -> None:
        assert self.script is not None, "only a cluster that the tests made can be treated so"
        subprocess.run([str(self.script), *arguments], check=True, stdout=subprocess.DEVNULL, timeout=1800)


def find_cluster() -> Cluster:
    """The one that KUBECONFIG names, else one that is built and started."""
    named = os.environ.get("KUBECONFIG")
    if named:
        return Cluster(named, None)
    if not os.access(SCRIPT, os.X_OK):
        pytest.skip(f"There is no cluster: KUBECONFIG is not set, and {SCRIPT} is not there (BOXCAR_SHARED names its folder).")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("KUBECONFIG names no cluster, and to make one needs the right to make network namespaces.")
    state = Path(os.environ.get("CLUSTER_STATE", "/var/tmp/boxcar-cluster"))
    cluster = Cluster(str(state / "admin.conf"), SCRIPT)
    cluster.run_script("build")
    cluster.run_script("up")
    return cluster


def load_images(cluster: Cluster) -> None:
    """Builds our images and puts them on the nodes; those that BOXCAR_TEST_IMAGES says are there are taken as they are."""
    if os.environ.get("BOXCAR_TEST_IMAGES"):
        return
    if cluster.script is None:
        names = ", ".join(f"docker.io/boxcar/{name}:{TAG}" for name in IMAGES)
        pytest.skip(f"Load {names} into the cluster that KUBECONFIG names, then set BOXCAR_TEST_IMAGES=loaded.")
    cluster.run_script("load", *build_images(IMAGES, TAG).values())


def install(cluster: Cluster, namespace: str, endpoint: str) -> str:
    """Makes a namespace with Pod Security's `restricted`, as the chart leaves it; returns a kubeconfig of its launcher."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "boxcar.dev/test": "yes"}
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "boxcar-bucket", "namespace": namespace},
            "stringData": keys,
        },
        *_accounts(namespace),
    )
    token = cluster.kubectl("create", "token", "boxcar-launcher", "-n", namespace, "--duration", "12h").strip()
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"] = [{"name": "launcher", "user": {"token": token}}]
    for context in config["contexts"]:
        context["context"] |= {"user": "launcher", "namespace": namespace}
    return yaml.safe_dump(config)


def _accounts(namespace: str) -> list[dict[str, Any]]:
    """The accounts of the launcher and the trainer, with the permissions that Boxcar's own manifests give them."""
    roles = [one for one in yaml.safe_load_all((REPOSITORY / "k8s/base/roles.yaml").read_text()) if one["kind"] == "Role"]
    made: list[dict[str, Any]] = []
    for role in roles:
        about = {"name": role["metadata"]["name"], "namespace": namespace}
        made += [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about},
            {**role, "metadata": about},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": about,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": about["name"]},
                "subjects": [{"kind": "ServiceAccount", **about}],
            },
        ]
    return made


@dataclass
class Place:
    """A namespace, a bucket, and what starts runs between them.

    Attributes:
        cluster: where.
        namespace: of the tests.
        kubeconfig: a file that makes a process the namespace's launcher.
        bucket: URI.
        endpoint: of the bucket's server, from here and from pods.
        folder: for caches and logs.
    """

    cluster: Cluster
    namespace: str
    kubeconfig: Path
    bucket: str
    endpoint: str
    folder: Path
    watchers: list[subprocess.Popen[str]] = field(default_factory=list)

    def variables(self) -> dict[str, str]:
        """What a process here needs for bucket and cluster."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "BOXCAR_S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The toy run's configuration; `cluster` is merged."""
        cluster = {
            "namespace": self.namespace,
            "image_tag": TAG,
            "environment": {"BOXCAR_S3_ENDPOINT": self.endpoint},
            "cpu_tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "trainer_cpu": "1",
            "trainer_memory": "3Gi",
            "evaluator_cpu": "400m",
            "evaluator_memory": "3Gi",
            "step_cpu": "1",
            "step_memory": "4Gi",
            "shm_megabytes": 128,
            "ephemeral_gigabytes": 3,
            "grace_seconds": 60,
            "deadline_hours": 0.5,
        }
        toy = {
            "image_size": 128,
            "steps": 120,
            "batch_size": 8,
            "checkpoint_interval_steps": 20,
            "init": "none",
            "gpus": 0,
            "formats": ["tflite_float32"],
            "parity_pictures": 4,
            "limits": {"raw_difference": 1.0, "mean_raw_difference": 1.0, "matched": 0, "mean_iou": 0},
        }
        return {**toy, **changes, "cluster": cluster | changes.get("cluster", {})}

    def new_run(self) -> str:
        """URI of a run that is not there yet."""
        return f"{self.bucket}/runs/{secrets.token_hex(4)}"

    def store(self, run: str) -> Store:
        return open_store(run)

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, check=check)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.cluster.get("-n", self.namespace, *arguments)

    def make_workflow(self, name: str) -> dict[str, Any]:
        """Makes a run of Kubeflow's, as far as a step of it sees; returns how it owns the pods of its steps."""
        about = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
        metadata = {"name": name, "namespace": self.namespace}
        self.cluster.apply({**about, "metadata": metadata, "spec": {"entrypoint": "entrypoint"}})
        return {**about, "name": name, "uid": self.get("workflow", name)["metadata"]["uid"], "controller": True}

    def pods(self, job: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("pods", "-l", f"batch.kubernetes.io/job-name={job}")["items"]
        return found


def wait_for(what: str, true: Callable[[], Any], seconds: float = 300) -> Any:
    """What `true` answers as soon as it answers with something; fails after so many seconds."""
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until, f"{what} did not come in {seconds:.0f} s"
        time.sleep(0.5)
    return found
