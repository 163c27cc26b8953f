"""What the state of a Job, its pods, and their containers means: whether it is finished, and why it failed."""

import json
import signal
from collections.abc import Callable, Sequence

from boxcar.cluster.api import Object, container_statuses, open_api
from boxcar.cluster.job import RUN_URI, TRIES
from boxcar.cluster.pending import Pending, one_line
from boxcar.errors import BoxcarError, ExitCode, read_error

_SIDECARS = ("uploader", "evaluator")
_OUR_CODES = {int(code) for code in ExitCode if code != ExitCode.DONE}
# The setting with a container's memory limit. All others have that of a step.
_MEMORY = {"trainer": "trainer_memory", "evaluator": "evaluator_memory", "fetch": None, "uploader": None}
# Why a pod is terminated, by the reason of its condition DisruptionTarget.
_DISRUPTIONS = {
    "EvictionByEvictionAPI": "its node was drained",
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "DeletionByTaintManager": "its node was lost",
    "DeletionByPodGC": "its node was lost",
    "TerminationByKubelet": "its node was shut down or ran short",
}


def condition(of: Object, kind: str) -> Object | None:
    """The condition of that type, if it is true of a Job or pod."""
    conditions: list[Object] = of.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), None)


def is_finished(job: Object) -> bool:
    """Whether a Job has succeeded or failed, and all its pods have ended."""
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def is_terminating(job: Object) -> bool:
    """Whether a Job's pods are being terminated and not replaced."""
    kinds = ("Complete", "SuccessCriteriaMet", "Failed", "FailureTarget")
    return "deletionTimestamp" in job["metadata"] or any(condition(job, kind) is not None for kind in kinds)


def active_runs(namespace: str | None) -> frozenset[str]:
    """URIs of the runs with an unfinished Job in a namespace; None for that of `open_api`.

    Raises:
        BoxcarError: 69 if no cluster is configured, or it does not answer or denies access.
    """
    jobs = open_api(namespace).find("jobs", labelSelector="app.kubernetes.io/name=boxcar,boxcar.dev/run")
    return frozenset(job["metadata"]["annotations"][RUN_URI] for job in jobs if not is_finished(job))


def explain_failure(
    job: Object, pods: Sequence[Object], last_use: Callable[[str], str], pending: Pending | None = None
) -> BoxcarError | None:
    """Why a finished Job failed; None if it succeeded.

    Args:
        job: its last state.
        pods: the last states of all its pods, also of those that are gone.
        last_use: returns a clause about the memory that a container last reported.
        pending: what the Job was still waiting for at its end.
    """
    failed = condition(job, "Failed")
    if failed is None:
        return None
    name = job["metadata"]["name"]
    if failed.get("reason") == "DeadlineExceeded":
        hours = job["spec"]["activeDeadlineSeconds"] / 3600
        passed = f"The Job {name} was ended by its deadline of {hours:.3g} hours"
        if pending is not None:
            return BoxcarError(ExitCode.STOPPED, f"{passed} before it could work: {pending.what}", pending.do)
        return BoxcarError(ExitCode.STOPPED, f"{passed}.", "Raise cluster.deadline_hours.", again=True)
    found = decisive_exit(pods)
    if found is None:
        why = one_line(str(failed.get("message") or failed.get("reason")))
        return BoxcarError(ExitCode.ENVIRONMENT, f"The Job {name} failed: {why}.", "", again=True)
    error = explain_exit(*found, last_use)
    if failed.get("reason") == "BackoffLimitExceeded":
        error.details = (f"The Job {name} was tried {TRIES} times. This is how the last attempt ended:",)
    return error


def explain_exit(pod: Object, status: Object, ended: Object, last_use: Callable[[str], str]) -> BoxcarError:
    """Why a container ended.

    Args:
        pod: the container's pod.
        status: the container's.
        ended: `terminated` of its current or last state.
        last_use: as for `explain_failure`.
    """
    name, code = status["name"], int(ended["exitCode"])
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(pod, name, last_use)
    if pod["status"].get("reason") == "Evicted":
        what = f"The pod {pod['metadata']['name']} was evicted from its node: {one_line(pod['status'].get('message', ''))}."
        do = "If its disk was short, raise cluster.ephemeral_gigabytes."
        return BoxcarError(ExitCode.ENVIRONMENT, what, do, again=True)
    reported = reported_error(ended)
    if reported is not None and code == reported.code:
        return reported
    if is_lost(ended):
        return BoxcarError(ExitCode.ENVIRONMENT, f"The container {name} was lost with its node.", "", again=True)
    lines = [line.strip() for line in ended.get("message", "").splitlines() if line.strip()]
    said = f". Its last line was: {one_line(lines[-1])}" if lines else " without a message."
    said += "" if said.endswith((".", "!", "?")) else "."
    if code > 128 and code - 128 in signal.valid_signals():
        what = f"The container {name} was ended by {signal.Signals(code - 128).name}{said}"
        return BoxcarError(ExitCode.ENVIRONMENT, what, "", again=True)
    what = f"The container {name} of the pod {pod['metadata']['name']} ended with exit code {code}{said}"
    do = f"See `kubectl logs {pod['metadata']['name']} -c {name}`."
    return BoxcarError(ExitCode(code) if code in _OUR_CODES else ExitCode.DEFECT, what, do, again=True)


def is_lost(ended: Object) -> bool:
    """Whether nobody knows how a container ended, because its node failed or was restarted."""
    return ended.get("reason") == "ContainerStatusUnknown"


def reported_error(ended: Object) -> BoxcarError | None:
    """The error that a container of ours wrote as its termination message; None if it wrote none."""
    try:
        error = read_error(json.loads(ended.get("message", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # the end of its log, or nothing
    error.step = None  # the watcher sets the Job's step
    return error


def disruption(pod: Object) -> str | None:
    """Why a pod was terminated without a fault of its own; None if it was not."""
    target = condition(pod, "DisruptionTarget")
    if target is not None:
        reason = target.get("reason", "")
        return _DISRUPTIONS.get(reason, target.get("message") or reason or "it was disrupted")
    ended = [status.get("state", {}).get("terminated") for status in pod["status"].get("containerStatuses", [])]
    if any(one is not None and one["exitCode"] == ExitCode.AGAIN for one in ended):
        return "it was asked to stop"
    return None


def decisive_exit(pods: Sequence[Object]) -> tuple[Object, Object, Object] | None:
    """The last failed container, which made its Job or pod fail: its pod, its status, and `terminated` of its state."""
    failed = []
    for pod in pods:
        for status in container_statuses(pod):
            ended = status.get("state", {}).get("terminated")
            # Sidecars end because the trainer has.
            if ended is not None and ended["exitCode"] != 0 and status["name"] not in _SIDECARS and disruption(pod) is None:
                failed.append((pod, status, ended))
    final = [one for one in failed if one[2]["exitCode"] in _OUR_CODES - {ExitCode.ENVIRONMENT, ExitCode.AGAIN}]
    return max(final or failed, key=lambda one: str(one[2].get("finishedAt", "")), default=None)


def _out_of_memory(pod: Object, name: str, last_use: Callable[[str], str]) -> BoxcarError:
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    limit = next(one["resources"]["limits"]["memory"] for one in containers if one["name"] == name)
    setting = _MEMORY.get(name, "step_memory")
    do = f"Raise cluster.{setting}."
    if setting is None:
        do = "Please report this: it should not need that much memory."
    what = f"The {name} ran out of memory: its limit is {limit}, and {last_use(name)}."
    return BoxcarError(ExitCode.ENVIRONMENT, what, do, again=setting is not None)
