"""The scripts for kind and minikube: those of their parts that run without either."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from chart_release import SMALL, Release
from chart_tools import ROOT
from cluster_under_test import TAG, Cluster

LAPTOP = ROOT / "k8s" / "laptop"
SCRIPTS = ("dump", "kind-up", "kind-down", "minikube-up")


def bash(command: str, cluster: Cluster, *arguments: str) -> str:
    """What a command says that has the steps of the scripts at hand; it must succeed, as in a script that ends at an error."""
    lines = f'set -euo pipefail; source "{LAPTOP}/pins.sh"; source "{LAPTOP}/platform.sh"; {command}'
    done = subprocess.run(
        ["bash", "-c", lines, "laptop", *arguments], capture_output=True, text=True, env=cluster.environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def programs(folder: Path, names: Sequence[str], **said: str) -> dict[str, str]:
    """An environment whose PATH has a few programs of this machine, and others that only say something."""
    for name in names:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    for name, text in said.items():
        (folder / name).write_text(f"#!/bin/sh\necho '{text}'\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


TOOLS = ("bash", "env", "sed", "awk", "dirname", "basename")


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (apt-get install shellcheck).")
    files = [*SCRIPTS, "platform.sh", "pins.sh"]
    done = subprocess.run(["shellcheck", "--external-sources", *files], cwd=LAPTOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_started_and_say_at_their_head_what_they_do(script: str) -> None:
    assert os.access(LAPTOP / script, os.X_OK)
    assert (LAPTOP / script).read_text(encoding="utf-8").splitlines()[1].startswith(f"# {script}")


@pytest.mark.parametrize(("script", "missing"), [("kind-up", "docker"), ("kind-down", "kind"), ("minikube-up", "docker")])
def test_a_missing_program_is_named(script: str, missing: str, tmp_path: Path) -> None:
    done = subprocess.run([LAPTOP / script], capture_output=True, text=True, env=programs(tmp_path, TOOLS), check=False)
    assert done.returncode == 69
    assert done.stderr == f"{script}: {missing} is not installed. Install it, then run this again.\n"


@pytest.mark.parametrize(
    ("script", "tool", "version"), [("kind-up", "kind", "kind v0.1.0 go1.1"), ("minikube-up", "minikube", "v0.1.0")]
)
def test_another_version_is_refused(script: str, tool: str, version: str, tmp_path: Path) -> None:
    said = {"docker": "", "git": "", "kubectl": "", "helm": "", tool: version}
    environment = programs(tmp_path, TOOLS, **said)
    done = subprocess.run([LAPTOP / script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 69
    pins = (LAPTOP / "pins.sh").read_text(encoding="utf-8")
    pinned = next(line.partition("=")[2] for line in pins.splitlines() if line.startswith(f"{tool.upper()}="))
    assert f"This script needs {tool} {pinned}, but v0.1.0 is installed." in done.stderr


def test_the_pools_of_kind_are_those_of_the_overlay() -> None:
    nodes = yaml.safe_load((LAPTOP / "kind.yaml").read_text(encoding="utf-8"))["nodes"]
    pools = {node["labels"]["boxcar.dev/pool"] for node in nodes if "labels" in node}
    text = (ROOT / "k8s" / "overlays" / "kind" / "settings.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(yaml.safe_load(text)["data"]["cluster.yaml"])["cluster"]
    assert pools == {settings[f"{pool}_node_selector"]["boxcar.dev/pool"] for pool in ("cpu", "gpu")}


def test_dump_asks_for_what_it_needs() -> None:
    done = subprocess.run([LAPTOP / "dump", "somewhere"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (64, "usage: dump FOLDER NAMESPACE...\n")


@pytest.mark.cluster
@pytest.mark.timeout(4800)
def test_installing_twice_changes_nothing_and_a_dump_shows_all(release: Release, minio_image: None, tmp_path: Path) -> None:
    namespace, cluster = release.namespace, release.cluster
    cluster.kubectl("-n", namespace, "delete", "secret", "boxcar-bucket")
    options = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    command = f'NAMESPACE={namespace}; install_boxcar "$@"'
    bash(command, cluster, *options)
    key = cluster.get("-n", namespace, "secret", "boxcar-bucket")["data"]
    pods = {component: release.pod(component)["metadata"]["uid"] for component in ("tensorboard", "minio")}
    bash(command, cluster, *options)
    assert cluster.get("-n", namespace, "secret", "boxcar-bucket")["data"] == key
    assert {component: release.pod(component)["metadata"]["uid"] for component in pods} == pods

    folder = tmp_path / "dump"
    done = subprocess.run(
        [LAPTOP / "dump", folder, namespace], capture_output=True, text=True, env=cluster.environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert f"docker.io/boxcar/ops:{TAG}" in written[f"{namespace}.described.txt"]
    assert "Created pod: boxcar-tensorboard" in written[f"{namespace}.events.txt"]
    name = release.pod("tensorboard")["metadata"]["name"]
    assert "TensorBoard 2." in written[f"{namespace}.{name}.log"]
    assert name in done.stderr and "Running" in done.stderr


@pytest.mark.cluster
@pytest.mark.timeout(4800)
def test_a_pretended_gpu_is_schedulable_and_may_be_made_twice(cluster: Cluster) -> None:
    if cluster.script is None:
        pytest.skip("Only nodes of a cluster that the tests made are changed.")
    for _ in range(2):
        bash('pretend_gpu "$1"', cluster, "gpu")
    node = cluster.get("node", "gpu")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
    taints = [one for one in node["spec"]["taints"] if one["key"] == "nvidia.com/gpu"]
    assert taints == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]


@pytest.mark.cluster
@pytest.mark.timeout(4800)
def test_everything_goes_to_one_cluster_and_a_failure_leaves_a_dump(cluster: Cluster, tmp_path: Path) -> None:
    context = cluster.kubectl("config", "current-context").strip()
    script = f'ROOT={tmp_path}; NAMESPACE=default; only_this_cluster "{context}"; echo "$KUBECONFIG"; kubectl get no-such-kind'
    (tmp_path / "k8s" / "laptop").mkdir(parents=True)
    shutil.copy(LAPTOP / "dump", tmp_path / "k8s" / "laptop" / "dump")
    lines = f'set -euo pipefail; source "{LAPTOP}/platform.sh"; {script}'
    done = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, env=cluster.environment(), check=False)
    assert done.returncode == 1
    assert "no-such-kind" in done.stderr
    assert (tmp_path / "runs" / "cluster-dump" / "default.pods.txt").is_file()
    assert not Path(done.stdout.strip()).exists(), "a copy of the credentials is left behind"
