"""What takes a training's pod, its helpers or its bucket away, and what is lost by it: nothing that was saved."""

import json
import re
import signal
import time
from typing import Any

import pytest
from cluster_under_test import IMAGES, TAG, Place, wait_for
from watched import (
    Watcher,
    after_checkpoint,
    begun,
    checkpoints,
    failed_count,
    read_object,
    running_pod,
    scored_steps,
    step_losses,
    train_job,
)

from boxcar.cluster.api import open_api
from boxcar.cluster.job_status import disruption

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4800)]
INTERVAL, STEPS = 20, 120
# With the image for processors: what it trains on is no GPU, but its node is one of that pool.
GPU_POOL = {"cpu_node_selector": {"boxcar.dev/pool": "gpu"}}
ALL = list(range(INTERVAL, STEPS + 1, INTERVAL))


@pytest.fixture
def training(place: Place, records: str) -> tuple[str, Watcher]:
    """A training of the toy's records that has sent its first checkpoint."""
    run, settings = begun(place, records, cluster=GPU_POOL)
    watcher = Watcher(place, run, settings)
    after_checkpoint(place, run, INTERVAL)
    return run, watcher


def resumed_at(text: str) -> list[int]:
    return [int(step) for step in re.findall(r"Resuming from the checkpoint of step (\d+)", text)]


def went_on(place: Place, run: str, watcher: Watcher, toy: str) -> int:
    """Sees that a training that was interrupted ended as one that was not; answers with the step it went on from."""
    watcher.must_succeed()
    steps = resumed_at(watcher.text)
    assert len(steps) == 1 and INTERVAL <= steps[0] < STEPS, watcher.text
    assert step_losses(place, run) == step_losses(place, toy)
    assert scored_steps(place, run) == sorted({*ALL, steps[0]})  # that of the interruption, too
    assert checkpoints(place, run)[-1] == STEPS
    assert failed_count(place, run) == 0  # nothing of that counts
    return steps[0]


@pytest.mark.cluster_core
def test_a_drained_node(place: Place, toy: tuple[str, str], training: tuple[str, Watcher]) -> None:
    run, watcher = training
    pod = running_pod(place, run)
    node = pod["spec"]["nodeName"]
    selector = f"batch.kubernetes.io/job-name={train_job(run)}"
    try:
        place.cluster.kubectl("drain", node, "--delete-emptydir-data", "--ignore-daemonsets", "--pod-selector", selector)
        saved = checkpoints(place, run)[-1]
        wait_for("another pod", lambda: len([one for one in place.pods(train_job(run)) if one["metadata"] != pod["metadata"]]))
        watcher.says(r"has been waiting for a node since \d\d:\d\d:\d\d UTC: .*unschedulable")
    finally:
        place.cluster.kubectl("uncordon", node)
    # Its grace was long enough for a checkpoint of where it was, and for sending it.
    assert went_on(place, run, watcher, toy[0]) == saved
    assert re.search(r"was interrupted: its node was drained", watcher.text), watcher.text
    assert re.search(r"was interrupted 1 time, and resumed", watcher.text), watcher.text


@pytest.mark.cluster_core
def test_why_a_pod_ended_is_known_after_it_is_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod can be drained, save, and be deleted between two looks at it."""
    monkeypatch.setenv("KUBECONFIG", str(place.kubeconfig))
    container = {
        "name": "main",
        "image": f"docker.io/boxcar/ops:{TAG}",
        "command": ["sleep", "600"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    secure = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    about = {"name": "evicted", "namespace": place.namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**about, "labels": {"of": "eviction"}}}
    spec = {"containers": [container], "securityContext": secure, "terminationGracePeriodSeconds": 1, "restartPolicy": "Never"}
    place.cluster.apply({**pod, "spec": {**spec, "nodeSelector": {"boxcar.dev/pool": "cpu"}}})
    place.kubectl("wait", "--for=condition=Ready", "pod/evicted", "--timeout=120s")
    api = open_api(None)
    seen = api.find("pods", labelSelector="of=eviction")
    eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about})
    path = f"/api/v1/namespaces/{place.namespace}/pods/evicted/eviction"
    place.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=eviction)
    place.kubectl("wait", "--for=delete", "pod/evicted", "--timeout=120s")
    assert [disruption(one) for one in seen] == [None] and api.find("pods", labelSelector="of=eviction") == []
    assert disruption(api.changes("pods", seen.version, labelSelector="of=eviction")[-1]) == "its node was drained"
    assert api.changes("pods", "1", labelSelector="of=none") == []  # whatever the server remembers


def test_a_deleted_pod(place: Place, toy: tuple[str, str], training: tuple[str, Watcher]) -> None:
    run, watcher = training
    place.kubectl("delete", "pod", running_pod(place, run)["metadata"]["name"])
    went_on(place, run, watcher, toy[0])


def test_a_killed_evaluator(place: Place, training: tuple[str, Watcher], toy: tuple[str, str]) -> None:
    run, watcher = training
    name = running_pod(place, run)["metadata"]["name"]
    kill = 'for process in /proc/[0-9]*; do p=${process#/proc/}; [ "$p" = 1 ] || [ "$p" = $$ ] || kill -9 $p; done'
    place.kubectl("exec", name, "-c", "evaluator", "--", "sh", "-c", kill, check=False)
    watcher.says(r"The container evaluator was ended by SIGKILL.*It is restarted")
    watcher.must_succeed()
    assert scored_steps(place, run) == ALL
    assert step_losses(place, run) == step_losses(place, toy[0])
    assert failed_count(place, run) == 0


def test_a_bucket_that_is_away_for_a_minute(
    place: Place, minio: Any, training: tuple[str, Watcher], toy: tuple[str, str]
) -> None:
    run, watcher = training
    minio.stop()
    time.sleep(60)
    minio.start()
    watcher.must_succeed()
    assert scored_steps(place, run) == ALL
    assert step_losses(place, run) == step_losses(place, toy[0])
    assert read_object(place.store(run), "eval/step.json") is not None
    assert failed_count(place, run) == 0 and len(place.pods(train_job(run))) == 1


def test_two_machines_of_which_one_is_taken_away(place: Place, records: str) -> None:
    small = {"trainer_cpu": "700m", "evaluator_cpu": "200m", "trainer_memory": "2500Mi"}
    run, settings = begun(place, records, cluster={"machines": 2, **small})
    watcher = Watcher(place, run, settings)
    after_checkpoint(place, run, INTERVAL, 600)
    first = {pod["metadata"]["name"] for pod in place.pods(train_job(run))}
    assert len(first) == 2
    second = next(name for name in first if re.search(r"-1-\w+$", name))
    place.kubectl("delete", "pod", second)
    watcher.must_succeed(1200)
    pods = place.pods(train_job(run))
    codes = {
        pod["metadata"]["name"]: status["state"]["terminated"]["exitCode"]
        for pod in pods
        for status in pod["status"]["containerStatuses"]
        if "terminated" in status["state"]
    }
    assert sorted(codes.values()) == [0, 0, 75], codes  # the one that was deleted is gone, and 75 is the other's
    (step,) = resumed_at(watcher.text)
    assert step < STEPS
    assert failed_count(place, run) == 0
    assert scored_steps(place, run) == sorted({*ALL, step})


def test_a_lost_node(place: Place, training: tuple[str, Watcher], toy: tuple[str, str]) -> None:
    if place.cluster.script is None:
        pytest.skip("Only the cluster of BOXCAR_SHARED can lose a node.")
    run, watcher = training
    node = running_pod(place, run)["spec"]["nodeName"]
    before = after_checkpoint(place, run, 2 * INTERVAL)[-1]
    place.cluster.run_script("lose", node)
    reached = read_object(place.store(run), "train/status.json")["step"]
    try:
        watcher.says(r"was interrupted: (its node was lost|it is gone)")
    finally:
        place.cluster.run_script("restore", node)
        place.cluster.run_script("load", *(f"docker.io/boxcar/{name}:{TAG}" for name in IMAGES))
    step = went_on(place, run, watcher, toy[0])
    assert step >= before and reached - step <= INTERVAL


def test_ctrl_c_ends_the_job_behind_its_checkpoint(place: Place, training: tuple[str, Watcher]) -> None:
    run, watcher = training
    running_pod(place, run)
    watcher.send(signal.SIGINT)
    watcher.must_fail(130, r"Stopped by Ctrl-C; the Job boxcar-train-\w+ is deleted\. Its checkpoint of step \d+ is in s3://")
    assert re.search(r"\[trainer\] .*Stopped at step \d+ of 120; its checkpoint is saved", watcher.text), watcher.text
    last = checkpoints(place, run)[-1]
    assert f"checkpoint of step {last} " in watcher.text and last % INTERVAL  # where it was, not where it had saved
    assert place.kubectl("get", "job", train_job(run), "--ignore-not-found") == ""
