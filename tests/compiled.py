"""Compiled pipelines as tests read them, and components started as a pod of Kubeflow starts them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from boxcar.kfp.package import compiled_folder

Spec = dict[str, Any]


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline."""

    spec: Spec
    platform: Spec

    @property
    def executors(self) -> dict[str, Spec]:
        """What runs in pods: by the executor's label, its container."""
        return {name: one["container"] for name, one in self.spec["deploymentSpec"]["executors"].items()}

    @property
    def kubernetes(self) -> dict[str, Spec]:
        """What Kubernetes is told of each executor."""
        return self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def tasks(self) -> Iterator[tuple[str, Spec]]:
        """Every task of every level that runs in a pod."""
        components = self.spec["components"]
        for level in (self.spec["root"], *components.values()):
            for name, task in level.get("dag", {}).get("tasks", {}).items():
                if "executorLabel" in components[task["componentRef"]["name"]]:
                    yield name, task


def read(text: str) -> Compiled:
    spec, platform = yaml.safe_load_all(text)
    return Compiled(spec, platform)


def lying(name: str) -> Compiled:
    return read((compiled_folder() / f"{name}.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Ended:
    """A component that was run."""

    code: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def outputs(self) -> dict[str, Any]:
        return json.loads((self.folder / "outputs.json").read_text())["parameterValues"]

    def artifact(self, name: str) -> dict[str, Any]:
        (one,) = json.loads((self.folder / "outputs.json").read_text())["artifacts"][name]["artifacts"]
        return one

    @property
    def last_line(self) -> str:
        return self.stderr.splitlines()[-1]


def run_component(pipeline: str, component: str, folder: Path, parameters: dict[str, Any], **variables: str) -> Ended:
    """Runs a component's compiled command with an executor input, as Kubeflow's launcher does."""
    compiled = lying(pipeline)
    container, spec = compiled.executors[f"exec-{component}"], compiled.spec["components"][f"comp-{component}"]
    folder.mkdir()
    outputs: Spec = {"outputFile": str(folder / "outputs.json"), "parameters": {}, "artifacts": {}}
    defined = spec.get("outputDefinitions", {})
    for name in defined.get("parameters", {}):
        outputs["parameters"][name] = {"outputFile": str(folder / name)}
    for name, one in defined.get("artifacts", {}).items():
        artifact = {"name": name, "type": one["artifactType"], "uri": str(folder / name), "metadata": {}}
        outputs["artifacts"][name] = {"artifacts": [artifact]}
    given = json.dumps({"inputs": {"parameterValues": parameters}, "outputs": outputs})
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # python3 of an image is our own
        **{entry["name"]: entry["value"] for entry in container.get("env", [])},
        **variables,
    }
    command = [*container["command"], *(given if argument == "{{$}}" else argument for argument in container["args"])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return Ended(done.returncode, done.stdout, done.stderr, folder)
