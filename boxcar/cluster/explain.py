"""How a Job ended, in plain words, from what it, its pods and their containers say."""

import json
import signal
from collections.abc import Callable, Sequence

from boxcar.cluster.api import Object
from boxcar.cluster.job import TRIES
from boxcar.cluster.relay import container_statuses
from boxcar.cluster.waiting import Waiting, one_line
from boxcar.errors import BoxcarError, ExitCode, read_error

_RESUME = "Run again with --resume, which continues from what is in the bucket."
_SIDECARS = ("uploader", "evaluator")
_OUR_CODES = {int(code) for code in ExitCode if code != ExitCode.DONE}
# What holds a container's limit, where it is not that of a step.
_MEMORY = {"trainer": "trainer_memory", "evaluator": "evaluator_memory", "fetch": None, "uploader": None}
# Why a pod is taken away, by the reason of its condition DisruptionTarget.
_DISRUPTIONS = {
    "EvictionByEvictionAPI": "its node was drained",
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "DeletionByTaintManager": "its node was lost",
    "DeletionByPodGC": "its node was lost",
    "TerminationByKubelet": "its node was shut down or ran short",
}


def condition(job: Object, kind: str) -> Object | None:
    """The Job's condition of that type, where it holds."""
    for one in job.get("status", {}).get("conditions", []):
        if one["type"] == kind and one["status"] == "True":
            found: Object = one
            return found
    return None


def is_over(job: Object) -> bool:
    """Whether a Job has ended, well or badly, and all its pods with it."""
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def is_ending(job: Object) -> bool:
    """Whether a Job's pods are taken away because it ends: no others will follow."""
    kinds = ("Complete", "SuccessCriteriaMet", "Failed", "FailureTarget")
    return "deletionTimestamp" in job["metadata"] or any(condition(job, kind) is not None for kind in kinds)


def explain_end(
    job: Object, pods: Sequence[Object], last_use: Callable[[str], str], waiting: Waiting | None = None
) -> BoxcarError | None:
    """Why a Job that is over failed; None where it did not.

    Args:
        job: as it is now.
        pods: those that were seen, also if they are gone.
        last_use: answers with the memory that a container has reported last, in words.
        waiting: what the Job was still waiting for, where it was.
    """
    failed = condition(job, "Failed")
    if failed is None:
        return None
    if failed.get("reason") == "DeadlineExceeded":
        return _deadline(job, waiting)
    found = decisive_end(pods)
    if found is None:
        why = str(failed.get("message") or failed.get("reason")).rstrip(".")
        what = f"The Job {job['metadata']['name']} failed: {why}."
        return BoxcarError(ExitCode.ENVIRONMENT, what, _RESUME)
    error = explain_container(*found, last_use)
    if failed.get("reason") == "BackoffLimitExceeded":
        error.details = (f"The Job {job['metadata']['name']} was tried {TRIES} times. This is how the last attempt ended:",)
    return error


def explain_container(pod: Object, status: Object, ended: Object, last_use: Callable[[str], str]) -> BoxcarError:
    """Why a container ended.

    Args:
        pod: whose it is.
        status: the container's.
        ended: `terminated` of its state, or of its last.
        last_use: as for `explain_end`.
    """
    name, code = status["name"], int(ended["exitCode"])
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(pod, name, last_use)
    if pod["status"].get("reason") == "Evicted":
        what = f"The pod {pod['metadata']['name']} was evicted from its node: {one_line(pod['status'].get('message', ''))}."
        do = "If its disk was short, raise cluster.ephemeral_gigabytes; then run again with --resume."
        return BoxcarError(ExitCode.ENVIRONMENT, what, do)
    words = last_words(ended)
    if words is not None and code == words.code:
        return words
    lines = [line.strip() for line in ended.get("message", "").splitlines() if line.strip()]
    said = f". Its last line was: {lines[-1]}" if lines else " without a message."
    if code > 128 and code - 128 in signal.valid_signals():
        what = f"The container {name} was ended by {signal.Signals(code - 128).name}{said}"
        return BoxcarError(ExitCode.ENVIRONMENT, what, _RESUME)
    return BoxcarError(
        ExitCode(code) if code in _OUR_CODES else ExitCode.DEFECT,
        f"The container {name} of the pod {pod['metadata']['name']} ended with exit code {code}{said}",
        f"See `kubectl logs {pod['metadata']['name']} -c {name}`; then run again with --resume.",
    )


def last_words(ended: Object) -> BoxcarError | None:
    """The error that a container of ours has left; None where it died without one."""
    try:
        error = read_error(json.loads(ended.get("message", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # the end of its log, or nothing
    error.step = None  # the Job's is for its watcher to say
    return error


def disruption(pod: Object) -> str | None:
    """Why a pod is taken away, or was stopped for another one to go on; None where it was not."""
    for one in pod["status"].get("conditions", []):
        if one["type"] == "DisruptionTarget" and one["status"] == "True":
            return _DISRUPTIONS.get(one.get("reason", ""), one.get("message") or one.get("reason") or "it was disrupted")
    ended = [main_end(status) for status in pod["status"].get("containerStatuses", [])]
    if any(one is not None and one["exitCode"] == ExitCode.AGAIN for one in ended):
        return "it was asked to stop"
    return None


def main_end(status: Object) -> Object | None:
    """How a container that is not started again ended; None where it has not."""
    ended: Object | None = status.get("state", {}).get("terminated")
    return ended


def decisive_end(pods: Sequence[Object]) -> tuple[Object, Object, Object] | None:
    """The container whose end made its Job, or its pod, fail: the last that ended badly, with its pod and how it ended."""
    bad = []
    for pod in pods:
        for status in container_statuses(pod):
            ended = main_end(status)
            # Sidecars end because the trainer has.
            if ended is not None and ended["exitCode"] != 0 and status["name"] not in _SIDECARS and disruption(pod) is None:
                bad.append((pod, status, ended))
    final = [one for one in bad if one[2]["exitCode"] in _OUR_CODES - {ExitCode.ENVIRONMENT, ExitCode.AGAIN}]
    return max(final or bad, key=lambda one: str(one[2].get("finishedAt", "")), default=None)


def _deadline(job: Object, waiting: Waiting | None) -> BoxcarError:
    hours = job["spec"]["activeDeadlineSeconds"] / 3600
    passed = f"The Job {job['metadata']['name']} was ended by its deadline of {hours:.3g} hours"
    if waiting is not None:
        return BoxcarError(ExitCode.STOPPED, f"{passed} before it could work: {waiting.what}", waiting.do)
    do = "Raise cluster.deadline_hours and run again with --resume, which continues from what is in the bucket."
    return BoxcarError(ExitCode.STOPPED, f"{passed}.", do)


def _out_of_memory(pod: Object, name: str, last_use: Callable[[str], str]) -> BoxcarError:
    spec = pod["spec"]
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    limit = next(one["resources"]["limits"]["memory"] for one in containers if one["name"] == name)
    setting = _MEMORY.get(name, "step_memory")
    do = (
        f"Raise cluster.{setting} and run again with --resume."
        if setting
        else "Please report this: it should not need that much memory."
    )
    what = f"The {name} ran out of memory: its limit is {limit}, and {last_use(name)}."
    return BoxcarError(ExitCode.ENVIRONMENT, what, do)
