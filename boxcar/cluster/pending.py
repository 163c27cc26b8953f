"""Why a Job has no working pod yet, in the cluster's own words: queue, quota, admission, nodes, images, volumes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from boxcar.cluster.api import Object, container_statuses

# What is missing: the queue's turn, permission or quota to create the pod, a node, an image, something to start with.
Cause = Literal["queue", "creation", "node", "image", "start"]

_PULL_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
_START_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
# The scheduler adds to every reason that no other pod can be preempted for ours.
_PREEMPTION = re.compile(r"[.,]? (no new claims to deallocate, )?preemption: .*")


@dataclass(frozen=True)
class Pending:
    """What a Job waits for.

    Attributes:
        cause: what is missing.
        since: when the wait began, by the cluster's clock.
        what: a sentence about it.
        do: a sentence about what to do.
        hopeless: whether waiting cannot help.
    """

    cause: Cause
    since: str
    what: str
    do: str
    hopeless: bool = False


def find_pending(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> Pending | None:
    """What keeps a Job from working; None if a pod works, or the cluster has given no reason yet.

    Args:
        job: its current state.
        pods: the current states of its pods.
        events: those of the Job and its pods, in any order.
    """
    if job["spec"].get("suspend"):
        return _in_queue(job)
    alive = [pod for pod in pods if pod["status"].get("phase") in ("Pending", "Running")]
    if not alive:
        return _not_created(job, events)
    found = (_of_pod(pod, events) for pod in alive if "deletionTimestamp" not in pod["metadata"])
    return next((one for one in found if one is not None), None)


def one_line(text: str) -> str:
    """A message of the cluster without line breaks and final full stop."""
    return " ".join(text.split()).rstrip(".")


def _moment(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def _clock(time: str) -> str:
    """14:03:20 UTC of a time in the cluster's format."""
    return f"{time[11:19]} UTC"


def _events_of(about: Object, events: Sequence[Object]) -> list[Object]:
    """The events of one object, oldest first."""
    uid = about["metadata"]["uid"]
    return sorted((event for event in events if event["involvedObject"].get("uid") == uid), key=_moment)


def _in_queue(job: Object) -> Pending:
    conditions = {condition["type"]: condition for condition in job["status"].get("conditions", [])}
    since = conditions.get("Suspended", {}).get("lastTransitionTime") or job["metadata"]["creationTimestamp"]
    queue = job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name")
    which = f"its queue {queue} has not admitted it" if queue else "it was suspended by a person or another program"
    what = f"The Job {job['metadata']['name']} has been suspended since {_clock(since)}: {which}."
    do = "Check the queue, or correct cluster.queue." if queue else "To continue it, set its spec.suspend to false."
    return Pending("queue", since, what, do)


def _not_created(job: Object, events: Sequence[Object]) -> Pending | None:
    # A pod that was created makes earlier failures to create one irrelevant.
    creations = [one for one in _events_of(job, events) if one["reason"] in ("FailedCreate", "SuccessfulCreate")]
    if not creations or creations[-1]["reason"] != "FailedCreate":
        return None
    last = creations[-1]
    since = str(last.get("firstTimestamp") or _moment(last))
    reason = one_line(last["message"]).removeprefix("Error creating: ")
    if "exceeded quota" in reason:
        do = "Wait until other pods have ended, ask for a larger quota, or request less: cluster.trainer_memory, gpus."
    elif "serviceaccount" in reason.lower():
        do = "Install the chart, which creates the service account, or correct cluster.service_account."
    else:
        do = "Change the cluster settings that the message names, or the rules of the namespace."
    name = job["metadata"]["name"]
    return Pending("creation", since, f"The Job {name} has been unable to create its pod since {_clock(since)}: {reason}.", do)


def _of_pod(pod: Object, events: Sequence[Object]) -> Pending | None:
    name = pod["metadata"]["name"]
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            since = condition["lastTransitionTime"]
            reason = _PREEMPTION.sub("", one_line(condition.get("message", condition.get("reason", ""))))
            return Pending(
                "node",
                since,
                f"The pod {name} has been waiting for a node since {_clock(since)}: {reason}.",
                "Check that matching nodes exist and are free. gpus and cluster select them; in a pipeline's form, "
                "gpus, gpu_type, and node_pool do.",
            )
    since = str(pod["status"].get("startTime") or pod["metadata"]["creationTimestamp"])
    own, statuses = _events_of(pod, events), container_statuses(pod)
    for status in statuses:
        waiting = status.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in _PULL_REASONS:
            pulls = [event["message"] for event in own if event["reason"] == "Failed" and "pull" in event["message"]]
            cause = one_line((pulls or [waiting.get("message", reason)])[-1])
            image = f"The container image {status['image']} of {status['name']}"
            return Pending(
                "image",
                since,
                f"{image} could not be pulled (waiting since {_clock(since)}): {cause}.",
                "Correct cluster.image_repository and image_tag, or add cluster.image_pull_secrets.",
                hopeless=reason in ("InvalidImageName", "ErrImageNeverPull"),
            )
        if reason in _START_REASONS:
            subject, cause = f"The container {status['name']} of the pod {name}", waiting.get("message", reason)
            break
    else:
        warnings = [event for event in own if event["type"] == "Warning" and event["reason"].startswith("Failed")]
        if not warnings or not all("waiting" in status.get("state", {}) for status in statuses):
            return None
        subject, cause = f"The pod {name}", warnings[-1]["message"]
    what = f"{subject} has been unable to start since {_clock(since)}: {one_line(cause)}."
    return Pending(
        "start", since, what, "Create what is missing. cluster.credentials_secret and gcs_key_secret name the Secrets."
    )
