"""The real Helm and kubectl, and what they make of the chart and the kustomize tree."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "boxcar"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
OVERLAYS = sorted(path for path in (ROOT / "k8s" / "overlays").iterdir() if path.is_dir())
# From the chart's kubeVersion to the newest whose schemas the lock has.
KUBERNETES = [f"1.{minor}" for minor in range(29, 38)]
_PROGRAMS = Path("/opt/boxcar-cluster/bin")

Object = dict[str, Any]


def program(name: str) -> str:
    """The program's path; the test is skipped where it is not installed."""
    found = shutil.which(name, path=os.pathsep.join([str(_PROGRAMS), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is neither in {_PROGRAMS} nor on the PATH.")
    return found


def run(name: str, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `helm` or `kubectl`; where it must succeed, a failure shows what it said."""
    path = os.pathsep.join([str(_PROGRAMS), os.environ["PATH"]])
    result = subprocess.run(
        [program(name), *arguments], capture_output=True, text=True, input=stdin, env={**os.environ, "PATH": path}, check=False
    )
    if check:
        assert result.returncode == 0, f"{name} {' '.join(arguments)}\n{result.stdout}\n{result.stderr}"
    return result


def template(*options: str) -> list[Object]:
    """The objects of `helm template`, tests included, in a namespace called boxcar."""
    return read_objects(run("helm", "template", "boxcar", str(CHART), "--namespace", "boxcar", *options).stdout)


def refused(*options: str) -> str:
    """What `helm template` says against these options, which it must refuse."""
    result = run("helm", "template", "boxcar", str(CHART), "--namespace", "boxcar", *options, check=False)
    assert result.returncode != 0, f"helm took {options}"
    return result.stderr


def kustomize(folder: Path) -> list[Object]:
    """The objects of a folder of the kustomize tree."""
    return read_objects(run("kubectl", "kustomize", str(folder)).stdout)


def read_objects(text: str) -> list[Object]:
    return [one for one in yaml.safe_load_all(text) if one]


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of that kind and name."""
    (found,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The specifications of all pods that the objects are or start, each with a name."""
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] == "Pod":
            yield name, one["spec"]
        elif one["kind"] == "CronJob":
            yield name, one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif one["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield name, one["spec"]["template"]["spec"]


def assert_valid(objects: list[Object], version: str) -> None:
    """Holds the objects to Kubernetes' schemas of that version, in which every field must be known."""
    for one in objects:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            # The Gateway API's only kind that the chart knows; its schema is not Kubernetes' own.
            assert one["kind"] == "HTTPRoute", f"{one['kind']} is unknown to Kubernetes {version}"
