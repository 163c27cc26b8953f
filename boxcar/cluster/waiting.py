"""Why a Job has no pod that works yet, in the cluster's own words: queue, quota, admission, nodes, images, volumes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from boxcar.cluster.api import Object
from boxcar.cluster.relay import container_statuses

# For what is missing: the queue's turn, a right or room to create the pod, a node, an image, something to start with.
Cause = Literal["queue", "creation", "node", "image", "start"]

_IMAGE = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
}
# What the scheduler adds to every reason: that nobody else's pod can be sent away for ours.
_PREEMPTION = re.compile(r"[.,]? (no new claims to deallocate, )?preemption: .*")
_START = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Waiting:
    """What a Job waits for.

    Attributes:
        cause: what is missing.
        since: when that began, by the cluster's clock.
        what: a sentence for it.
        do: a sentence for what can be done.
        hopeless: whether waiting cannot help.
    """

    cause: Cause
    since: str
    what: str
    do: str
    hopeless: bool = False


def find_waiting(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> Waiting | None:
    """What keeps a Job from working.

    Args:
        job: as it is now.
        pods: its pods as they are now.
        events: those of the Job and its pods, in any order.

    Returns:
        None where a pod works, or nothing has been said yet of why none does.
    """
    if job["spec"].get("suspend"):
        return _queue(job)
    alive = [pod for pod in pods if pod["status"].get("phase") in ("Pending", "Running")]
    if not alive:
        return _creation(job, events)
    for pod in alive:
        if "deletionTimestamp" not in pod["metadata"] and (found := _of_pod(pod, events)) is not None:
            return found
    return None


def moment(event: Object) -> str:
    """When an event happened last, as the cluster writes times."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def clock(time: str) -> str:
    """14:03:20 UTC of a time as the cluster writes it."""
    return f"{time[11:19]} UTC"


def about(events: Sequence[Object], uid: str) -> list[Object]:
    """The events of one object, oldest first."""
    return sorted((event for event in events if event["involvedObject"].get("uid") == uid), key=moment)


def _queue(job: Object) -> Waiting:
    conditions = {condition["type"]: condition for condition in job["status"].get("conditions", [])}
    since = conditions.get("Suspended", {}).get("lastTransitionTime") or job["metadata"]["creationTimestamp"]
    queue = job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name")
    which = f"its queue {queue} has not admitted it" if queue else "it was suspended by a person or another program"
    return Waiting(
        "queue",
        since,
        f"The Job {job['metadata']['name']} has been suspended since {clock(since)}: {which}.",
        "Check the queue, or correct cluster.queue." if queue else "To continue it, set its spec.suspend to false.",
    )


def _creation(job: Object, events: Sequence[Object]) -> Waiting | None:
    # A pod that could be created makes older failures to create one a thing of the past.
    told = [event for event in about(events, job["metadata"]["uid"]) if event["reason"] in ("FailedCreate", "SuccessfulCreate")]
    if not told or told[-1]["reason"] != "FailedCreate":
        return None
    last = told[-1]
    since = str(last.get("firstTimestamp") or moment(last))
    reason = one_line(last["message"]).removeprefix("Error creating: ")
    if "exceeded quota" in reason:
        do = "Wait until other pods have ended, ask for a larger quota, or request less: cluster.trainer_memory, gpus."
    elif "serviceaccount" in reason.lower():
        do = "Install the chart, which creates the service account, or correct cluster.service_account."
    else:
        do = "Change the cluster settings that the message names, or the rules of the namespace."
    name = job["metadata"]["name"]
    return Waiting("creation", since, f"The Job {name} has been unable to create its pod since {clock(since)}: {reason}.", do)


def _of_pod(pod: Object, events: Sequence[Object]) -> Waiting | None:
    name, told = pod["metadata"]["name"], about(events, pod["metadata"]["uid"])
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            since, reason = condition["lastTransitionTime"], one_line(condition.get("message", condition.get("reason", "")))
            reason = _PREEMPTION.sub("", reason)
            return Waiting(
                "node",
                since,
                f"The pod {name} has been waiting for a node since {clock(since)}: {reason}.",
                "Check that matching nodes exist and are free. gpus and cluster select them; in a pipeline's form, "
                "gpus, gpu_type, and node_pool do.",
            )
    since = str(pod["status"].get("startTime") or pod["metadata"]["creationTimestamp"])
    for status in container_statuses(pod):
        waiting = status.get("state", {}).get("waiting")
        if waiting is None:
            continue
        reason = waiting.get("reason", "")
        if reason in _IMAGE:
            pulls = [event["message"] for event in told if event["reason"] == "Failed" and "pull" in event["message"]]
            cause = one_line((pulls or [waiting.get("message", reason)])[-1])
            image = f"The container image {status['image']} of {status['name']}"
            return Waiting(
                "image",
                since,
                f"{image} could not be pulled (waiting since {clock(since)}): {cause}.",
                "Correct cluster.image_repository and image_tag, or add cluster.image_pull_secrets.",
                hopeless=reason in ("InvalidImageName", "ErrImageNeverPull"),
            )
        if reason in _START:
            return Waiting(
                "start",
                since,
                f"The container {status['name']} of the pod {name} has been unable to start since {clock(since)}: "
                f"{one_line(waiting.get('message', reason))}.",
                "Create what is missing. cluster.credentials_secret and gcs_key_secret name the Secrets.",
            )
    mounts = [event for event in told if event["type"] == "Warning" and event["reason"].startswith("Failed")]
    if mounts and all("waiting" in status.get("state", {}) for status in container_statuses(pod)):
        cause = one_line(mounts[-1]["message"])
        what = f"The pod {name} has been unable to start since {clock(since)}: {cause}."
        return Waiting("start", since, what, "Create what is missing. cluster.gcs_key_secret names one of the Secrets.")
    return None


def one_line(text: str) -> str:
    """A message of the cluster's without line breaks and full stop."""
    return " ".join(text.split()).rstrip(".")
