"""Tasks of a compiled pipeline as pods: made as Kubeflow 2.17's driver makes them, under the security context that it sets."""

import json
import secrets
import uuid
from pathlib import Path
from typing import Any

import yaml
from cluster_under_test import KEY, SECRET, TAG, Place, wait_for
from compiled import Compiled, Spec, read

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.storage import open_store
from pipelines.compile import compile_pipeline

LAUNCHER = Path(__file__).with_name("pod_launcher.py")
_LAUNCHER_SECRET = "kfp-launcher"
# Folders that Kubeflow lets every step write to: emptyDirs, on which nothing of its group is set.
_SCRATCH = ("/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config")
_HANDLED = {
    *("activeDeadlineSeconds", "configMapAsVolume", "emptyDirMounts", "fieldPathAsEnv", "imagePullPolicy", "podMetadata"),
    *("secretAsEnv", "secretAsVolume", "securityContext"),
}


def install(place: Place, **webhook: str) -> None:
    """Makes what the operator has made: the chart's two ConfigMaps, a webhook's Secret; and the keys of Kubeflow's launcher.

    Args:
        place: where.
        webhook: the keys of its Secret.
    """
    settings = place.settings()["cluster"]
    del settings["image_tag"]  # the pipeline's own counts
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "BOXCAR_S3_ENDPOINT": place.endpoint}
    made = (
        ("ConfigMap", "boxcar-environment", {"data": {"BOXCAR_S3_ENDPOINT": place.endpoint}}),
        ("ConfigMap", "boxcar-settings", {"data": {"cluster.yaml": yaml.safe_dump({"cluster": settings})}}),
        ("Secret", "boxcar-webhook", {"stringData": webhook}),
        ("Secret", _LAUNCHER_SECRET, {"stringData": {**keys, LAUNCHER.name: LAUNCHER.read_text()}}),
    )
    for kind, name, content in made:
        about = {"name": name, "namespace": place.namespace}
        place.cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": about, **content})


class Step:
    """A task's pod.

    Args:
        place: where it is.
        name: the pod's.
        root: URI of the folder that its outputs are sent to.
    """

    def __init__(self, place: Place, name: str, root: str) -> None:
        self.place, self.name = place, name
        self._store = open_store(root)

    @property
    def log(self) -> str:
        return self.place.kubectl("logs", self.name, check=False)

    @property
    def last_line(self) -> str:
        return self.log.rstrip().rpartition("\n")[2]

    def must_succeed(self, seconds: float = 600) -> "Step":
        assert self.end(seconds) == 0, self.log
        return self

    def end(self, seconds: float) -> int:
        """The exit code, once its container has ended: so many seconds after it started, at the most."""
        wait_for(f"the start of {self.name}", lambda: self._state() and "waiting" not in self._state(), 600)
        ended = wait_for(f"the end of {self.name}", lambda: self._state().get("terminated"), seconds)
        return int(ended["exitCode"])

    def _state(self) -> Spec:
        found = self.place.get("pod", self.name)["status"].get("containerStatuses", [])
        return dict(found[0]["state"]) if found else {}

    @property
    def parameters(self) -> Spec:
        """Values of its output parameters."""
        found: Spec = json.loads(self.read("output_metadata.json")).get("parameterValues", {})
        return found

    def metadata(self, artifact: str) -> Spec:
        """What the UI shows of an artifact."""
        (one,) = json.loads(self.read("output_metadata.json"))["artifacts"][artifact]["artifacts"]
        return dict(one["metadata"])

    def read(self, name: str) -> bytes:
        """The content of an artifact, by its name."""
        return self._store.read(name)


class PipelineRun:
    """A run of the pipeline `train-detector`: a Workflow that owns the pods of its tasks.

    Args:
        place: where.
        parameters: of the pipeline, as a person fills them in.
    """

    def __init__(self, place: Place, **parameters: Any) -> None:
        self.place, self.id = place, str(uuid.uuid4())
        self.name = f"train-detector-{secrets.token_hex(3)}"
        self.compiled: Compiled = read(compile_pipeline("train_detector", ClusterSettings(image_tag=TAG)))
        defined = self.compiled.spec["root"]["inputDefinitions"]["parameters"]
        assert parameters.keys() <= defined.keys()
        self.parameters = {name: one.get("defaultValue") for name, one in defined.items()} | parameters
        self.run = f"{parameters['output']}/{self.id}"
        self.steps: dict[str, Step] = {}
        self._owner = place.make_workflow(self.name)

    def start(self, task: str, state: str = "", **given: Any) -> Step:
        """Makes the task's pod.

        Args:
            task: its name.
            state: for the task that is told how the others ended: how, in the server's words.
            given: inputs that do not come from where the pipeline takes them from.
        """
        spec = next(spec for name, spec in self.compiled.tasks() if name == task)
        definition = self.compiled.spec["components"][spec["componentRef"]["name"]]
        label = definition["executorLabel"]
        inputs = spec["inputs"]["parameters"]
        values = {name: given.get(name) or self._resolve(one, state) for name, one in inputs.items()}
        # Everything of a task lies in one folder of the run's in the bucket of artifacts, and in the pod below /minio.
        folder = f"{self.place.bucket.removeprefix('s3://')}/v2/artifacts/train-detector/{self.id}/{task}/{uuid.uuid4()}"
        outputs = _outputs(folder, definition.get("outputDefinitions", {}))
        executor_input = json.dumps({"inputs": {"parameterValues": values}, "outputs": outputs})
        name = f"{self.name}-{task}"
        self.place.cluster.apply(self._pod(name, label, executor_input))
        self.steps[task] = Step(self.place, name, f"s3://{folder}")
        return self.steps[task]

    def terminate(self) -> None:
        """Ends the run, as Kubeflow does."""
        self.place.kubectl("patch", "workflow", self.name, "--type", "merge", "-p", '{"spec":{"activeDeadlineSeconds":0}}')
        for step in self.steps.values():
            self.place.kubectl("delete", "pod", step.name, "--wait=false")

    def _resolve(self, given: Spec, state: str) -> Any:
        """The value of a task's input."""
        (kind,) = given
        if kind == "runtimeValue":
            constant = given[kind]["constant"]
            return self.id if constant == "{{$.pipeline_job_uuid}}" else constant
        if kind == "taskOutputParameter":
            return self.steps[given[kind]["producerTask"]].parameters[given[kind]["outputParameterKey"]]
        if kind == "taskFinalStatus":
            resource = {"pipelineJobResourceName": self.name, "pipelineTaskName": given[kind]["producerTask"]}
            return {"state": state, "error": {}, **resource}
        return self.parameters[given[kind].removeprefix("pipelinechannel--")]

    def _pod(self, name: str, label: str, executor_input: str) -> Spec:
        container, told = self.compiled.executors[label], self.compiled.kubernetes[label]
        assert told.keys() <= _HANDLED, "something of the platform's part is new here"
        resources, user = container["resources"], told["securityContext"]
        volumes: list[Spec] = [{"name": "launcher", "secret": {"secretName": _LAUNCHER_SECRET}}]
        mounts: list[Spec] = [{"name": "launcher", "mountPath": "/kfp-launcher"}]

        def mount(volume: str, path: str, source: Spec) -> None:
            volumes.append({"name": volume, **source})
            mounts.append({"name": volume, "mountPath": path})

        for path in _SCRATCH:
            mount(f"scratch{path.replace('/', '-').replace('.', 'dot-')}", path, {"emptyDir": {}})
        for one in told["emptyDirMounts"]:
            medium = {"medium": one["medium"]} if "medium" in one else {}
            mount(one["volumeName"], one["mountPath"], {"emptyDir": {"sizeLimit": one["sizeLimit"], **medium}})
        for one in told["secretAsVolume"]:
            secret = self._resolve(one["secretNameParameter"], "")
            mount(secret, one["mountPath"], {"secret": {"secretName": secret, "optional": one["optional"]}})
        for one in told["configMapAsVolume"]:
            source = {"configMap": {"name": one["configMapName"], "optional": one["optional"]}}
            mount(one["configMapName"], one["mountPath"], source)
        environment: list[Spec] = [*container["env"]]
        fields = {"KFP_POD_NAME": "metadata.name", "KFP_POD_UID": "metadata.uid"}
        fields |= {one["name"]: one["fieldPath"] for one in told["fieldPathAsEnv"]}
        environment += [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()]
        for one in told.get("secretAsEnv", []):
            secret = self._resolve(one["secretNameParameter"], "")
            for key in one["keyToEnv"]:
                source = {"name": secret, "key": key["secretKey"], "optional": one["optional"]}
                environment.append({"name": key["envVar"], "valueFrom": {"secretKeyRef": source}})
        command = ["python3", f"/kfp-launcher/{LAUNCHER.name}", executor_input, *container["command"], *container["args"]]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.place.namespace,
                "ownerReferences": [self._owner],
                **told["podMetadata"],
            },
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": "boxcar-launcher",
                "activeDeadlineSeconds": int(told["activeDeadlineSeconds"]),
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": volumes,
                "containers": [
                    {
                        "name": "main",
                        "image": container["image"],
                        "imagePullPolicy": told["imagePullPolicy"],
                        "command": command[:1],
                        "args": command[1:],
                        "env": environment,
                        "volumeMounts": mounts,
                        # The limits are the pipeline's. What it requests, no node of a small test cluster has free.
                        "resources": {
                            "requests": {"cpu": "100m", "memory": "256Mi"},
                            "limits": {
                                "cpu": resources["resourceCpuLimit"],
                                "memory": resources["resourceMemoryLimit"],
                            },
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "seccompProfile": {"type": "RuntimeDefault"},
                            "runAsUser": int(user["runAsUser"]),
                            "runAsGroup": int(user["runAsGroup"]),
                            "runAsNonRoot": user["runAsNonRoot"],
                        },
                    }
                ],
            },
        }


def _outputs(folder: str, defined: Spec) -> Spec:
    """Where a task is to leave what it makes."""
    artifacts = {
        name: {"artifacts": [{"name": name, "type": one["artifactType"], "uri": f"minio://{folder}/{name}"}]}
        for name, one in defined.get("artifacts", {}).items()
    }
    parameters = {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in defined.get("parameters", {})}
    return {"parameters": parameters, "artifacts": artifacts, "outputFile": f"/minio/{folder}/output_metadata.json"}
