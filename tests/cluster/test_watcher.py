"""Watchers come and go; whose the Job is decides what becomes of it."""

import signal
import time
from typing import Any

import pytest
from cluster_under_test import TAG, Place, wait_for
from watched import Watcher, after_checkpoint, begun, checkpoints, running_pod, scored_steps, train_job

from boxcar.cluster.job import step_job
from boxcar.cluster.launch import Work, run_job
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError, ExitCode

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4800)]
INTERVAL, STEPS = 20, 120


def gone(place: Place, kind: str, name: str) -> bool:
    return place.kubectl("get", kind, name, "--ignore-not-found") == ""


class Workflow:
    """A run of Kubeflow's, as far as a step of it sees: it owns the pod in which `boxcar run` watches."""

    def __init__(self, place: Place, run: str, settings: dict[str, Any], data: str) -> None:
        import yaml

        self.place, self.run, self.name = place, run, train_job(run).replace("train", "workflow")
        self.owner = place.make_workflow(self.name)
        place.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": self.name, "namespace": place.namespace},
                "data": {"config.yaml": yaml.safe_dump(settings)},
            },
        )
        arguments = ["run", "--launcher", "cluster", "--data", data, "--output", run, "--resume", "--config"]
        self.container = {
            "name": "main",
            "image": f"docker.io/boxcar/ops:{TAG}",
            "args": ["boxcar", *arguments, "/config/config.yaml"],
            "env": [
                {"name": "BOXCAR_S3_ENDPOINT", "value": place.endpoint},
                {"name": "BOXCAR_CACHE", "value": "/work/cache"},
                {"name": "HOME", "value": "/work"},
            ],
            "envFrom": [{"secretRef": {"name": "boxcar-bucket"}}],
            "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
            "volumeMounts": [{"name": "config", "mountPath": "/config"}, {"name": "work", "mountPath": "/work"}],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }

    def start(self, name: str) -> str:
        """Starts a watcher's pod of that name."""
        self.place.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": self.place.namespace,
                    "ownerReferences": [self.owner],
                },
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "boxcar-launcher",
                    "nodeSelector": {"boxcar.dev/pool": "cpu"},
                    "terminationGracePeriodSeconds": 5,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 10001,
                        "fsGroup": 10001,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [self.container],
                    "volumes": [
                        {"name": "config", "configMap": {"name": self.name}},
                        {"name": "work", "emptyDir": {}},
                    ],
                },
            }
        )
        return name

    def end(self, patch: str) -> None:
        self.place.kubectl("patch", "workflow", self.name, "--type", "merge", "-p", patch)


def test_a_job_that_ends_well_and_leaves_nothing_is_no_success(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes asks only the main container; what the uploader could not send any more went with its pod."""
    monkeypatch.setenv("KUBECONFIG", str(place.kubeconfig))
    run = place.new_run()
    job = step_job(make_configuration(None, place.settings()), run, "records", "records", ["architectures"])
    with pytest.raises(BoxcarError, match=r"succeeded, but .* has no records/step\.json") as caught:
        run_job(Work(job, "records/step.json", ("records",)), ClusterSettings(namespace=place.namespace), run)
    assert caught.value.code == ExitCode.ENVIRONMENT


@pytest.fixture
def workflow(place: Place, records: str, pictures: str) -> Workflow:
    """One of a run that has its records."""
    run, settings = begun(place, records, data=pictures)
    return Workflow(place, run, settings, pictures)


@pytest.mark.parametrize("patch", ['{"spec":{"activeDeadlineSeconds":0}}', '{"spec":{"shutdown":"Terminate"}}'])
def test_a_terminated_run_takes_its_job_with_it(place: Place, workflow: Workflow, patch: str) -> None:
    run, job = workflow.run, train_job(workflow.run)
    pod = workflow.start(f"{workflow.name}-watcher")
    after_checkpoint(place, run, INTERVAL)
    running_pod(place, run)
    owners = place.get("job", job)["metadata"]["ownerReferences"]
    assert [(owner["kind"], owner["uid"]) for owner in owners] == [("Workflow", workflow.owner["uid"])]
    workflow.end(patch)
    place.kubectl("delete", "pod", pod)
    wait_for("the end of the Job", lambda: gone(place, "job", job), 120)
    wait_for("no Lease", lambda: gone(place, "lease", job), 60)
    assert checkpoints(place, run)[-1] < STEPS  # its pod had its grace, and saved where it was
    assert checkpoints(place, run)[-1] % INTERVAL


def test_a_watcher_that_is_killed_is_followed_by_another(place: Place, workflow: Workflow) -> None:
    run = workflow.run
    first = workflow.start(f"{workflow.name}-first")
    after_checkpoint(place, run, INTERVAL)
    job = place.get("job", train_job(run))["metadata"]["uid"]
    place.kubectl("delete", "pod", first)  # SIGTERM, and the run goes on
    second = workflow.start(f"{workflow.name}-second")
    wait_for("the Job's adoption", lambda: "Found the running Job" in place.kubectl("logs", second, check=False))
    wait_for("the end", lambda: place.get("pod", second)["status"]["phase"] in ("Succeeded", "Failed"), 900)
    log = place.kubectl("logs", second)
    assert place.get("pod", second)["status"]["phase"] == "Succeeded", log
    assert place.get("job", train_job(run))["metadata"]["uid"] == job
    assert len(place.pods(train_job(run))) == 1  # the trainer did not notice
    assert scored_steps(place, run) == list(range(INTERVAL, STEPS + 1, INTERVAL))


def test_from_a_laptop_sigterm_leaves_the_job_for_the_next_watcher(place: Place, records: str) -> None:
    run, settings = begun(place, records)
    first = Watcher(place, run, settings)
    after_checkpoint(place, run, INTERVAL)
    first.send(signal.SIGTERM)
    first.must_fail(75, r"Stopped by SIGTERM; the Job boxcar-train-\w+ continues without a watcher for 10 minutes")
    other = Watcher(place, run, place.settings(steps=STEPS + 20))
    other.must_fail(64, r"is running for s3://.* with a different configuration")
    second = Watcher(place, run, settings)
    second.must_succeed()
    assert "Found the running Job" in second.text and len(place.pods(train_job(run))) == 1
    # Done is done: the Job that is there is believed.
    third = Watcher(place, run, settings)
    third.must_succeed()
    assert "has already finished this step" in third.text and len(place.pods(train_job(run))) == 1


def test_an_orphan_saves_and_ends_for_good(place: Place, records: str) -> None:
    run, settings = begun(place, records, steps=100_000, cluster={"orphan_minutes": 0.5})
    watcher = Watcher(place, run, settings)
    after_checkpoint(place, run, INTERVAL)
    watcher.send(signal.SIGKILL)
    assert watcher.end() == -signal.SIGKILL

    def failed() -> Any:
        conditions = place.get("job", train_job(run))["status"].get("conditions", [])
        return [one for one in conditions if one["type"] == "Failed"]

    (condition,) = wait_for("the end of the Job", failed, 300)
    assert condition["reason"] == "PodFailurePolicy" and "exit code 76" in condition["message"]
    (pod,) = place.pods(train_job(run))
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 76
    last = checkpoints(place, run)[-1]
    assert f"The checkpoint of step {last} of 100000 is saved" in ended["message"]
    assert "This training has had no watcher for 0.5 minutes" in ended["message"]
    time.sleep(15)
    assert len(place.pods(train_job(run))) == 1
    # Whoever comes later hears of it, and goes on from there.
    later = Watcher(place, run, settings)
    later.says(r"from an earlier start failed: This training has had no watcher for 0.5 minutes.*A new one is created")
    later.says(rf"\[trainer\] Resuming from the checkpoint of step {last}")
    later.send(signal.SIGINT)
    assert later.end() == 130
