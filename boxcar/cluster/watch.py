"""Watching a Job until it ends: progress and problems are printed as they come, and its Lease is renewed."""

import time
from collections.abc import Collection
from functools import partial

from boxcar.cluster import bucket
from boxcar.cluster.api import Api, Object, ObjectList, container_statuses
from boxcar.cluster.job_status import (
    decisive_exit,
    disruption,
    explain_exit,
    explain_failure,
    is_finished,
    is_lost,
    is_terminating,
)
from boxcar.cluster.lease import Renewal
from boxcar.cluster.logs import LogReader, say
from boxcar.cluster.pending import Pending, find_pending
from boxcar.cluster.trainer_job import EVALUATOR
from boxcar.errors import BoxcarError, ExitCode
from boxcar.retry import poll
from boxcar.storage import Store

POLL_SECONDS = 2.0
# A pod that is being deleted logs its last lines in the second before its log is gone.
TERMINATING_POLL_SECONDS = 0.25
# A scheduler that looks for a node, or a node that starts, needs a moment that is not worth a message.
QUIET_SECONDS = 30.0
REPEAT_SECONDS = 300.0
# How long an image that cannot be pulled, or what a container needs to start, is waited for.
PATIENCE_SECONDS = 300.0
EVALUATOR_STARTS = 3  # of one that scores nothing in between


def find_pods(api: Api, job: Object) -> ObjectList:
    """The pods of a Job, oldest first."""
    pods = api.find("pods", labelSelector=_of_job(job))
    pods.sort(key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    return pods


def _of_job(job: Object) -> str:
    return f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"


class Watch:
    """A Job that is watched.

    Args:
        api: of the cluster.
        job: as it was created or found.
        listened: names of the containers whose logs are passed on.
        renewal: of the Job's Lease, if it has one.
        store: the run's folder.
    """

    def __init__(self, api: Api, job: Object, listened: Collection[str], renewal: Renewal | None, store: Store) -> None:
        self._api, self._job, self._renewal, self._store = api, job, renewal, store
        self._last_use = partial(bucket.last_use, store)
        self._logs = LogReader(api, listened)
        self._name, self._uid = job["metadata"]["name"], job["metadata"]["uid"]
        self._seen: dict[str, Object] = {}  # the last state of every pod, by its uid
        self._gone: set[str] = set()  # uids of those that were deleted
        self._version = ""  # of the last listing
        self._reported: set[str] = set()  # uids of the pods whose early end was reported
        self._interruptions = 0
        self._terminating = False  # whether a pod is being deleted
        self._restarts: dict[tuple[str, str], int] = {}
        self._failures, self._scores = 0, 0  # of the evaluator, since so many checkpoints were scored
        self._pending: Pending | None = None
        self._waited = self._said = 0.0  # since when it waits for the same, and when that was said

    def follow(self) -> None:
        """Returns when the Job has succeeded.

        Raises:
            BoxcarError: with the exit code and message of what made the Job fail; 69 if it cannot start, or the API does not
                answer for an hour; 75 if somebody deleted it.
        """
        poll(self._look, lambda: TERMINATING_POLL_SECONDS if self._terminating else POLL_SECONDS, say, "The Job")
        failure = explain_failure(self._job, list(self._seen.values()), self._last_use, self._pending)
        if failure is not None:
            raise failure
        if count := self._interruptions:
            say(f"{self._name} was interrupted {count} {'time' if count == 1 else 'times'}, and resumed each time.")

    def follow_deletion(self, seconds: float) -> bool:
        """Passes on what a Job that is being deleted still logs. Returns whether it is gone within so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self._exists(self._api.get("jobs", self._name)):
                return True
            for pod in find_pods(self._api, self._job):
                self._logs.poll(pod)
            time.sleep(TERMINATING_POLL_SECONDS)
        return False

    def _exists(self, found: Object | None) -> bool:
        return found is not None and found["metadata"]["uid"] == self._uid

    def _look(self) -> Object | None:
        """Looks at everything once. Returns the Job if it is finished."""
        job = self._api.get("jobs", self._name)
        if job is None or not self._exists(job):
            what = f"The Job {self._name} was deleted by a person or another program."
            raise BoxcarError(ExitCode.AGAIN, what, "", again=True)
        self._job = job
        if self._renewal is not None:
            self._renewal.renew()
        pods = find_pods(self._api, job)
        self._terminating = any("deletionTimestamp" in pod["metadata"] for pod in pods)
        self._report_ended_pods(pods)
        for pod in pods:
            if pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-completion-index", "0") == "0":
                self._logs.poll(pod)  # the first of several workers logs for all
            self._report_restarts(pod)
        if not is_terminating(job):
            self._report_pending(pods)
        return job if is_finished(job) else None

    def _report_ended_pods(self, pods: ObjectList) -> None:
        """Says once about each pod that ended early why it did."""
        current = {pod["metadata"]["uid"]: pod for pod in pods}
        is_replaced = bool(current.keys() - self._seen.keys())
        self._seen |= current
        if not is_terminating(self._job):
            self._learn_ends(current)
            self._say_ends(current, is_replaced)
        self._version = pods.version

    def _learn_ends(self, current: Collection[str]) -> None:
        """Learns how pods ended that are gone: between two looks, a pod can be told to stop, save, end, and be deleted."""
        gone = self._seen.keys() - current
        if gone - self._gone:
            for pod in self._api.changes("pods", self._version, labelSelector=_of_job(self._job)):
                if pod["metadata"]["uid"] in gone:
                    self._seen[pod["metadata"]["uid"]] = pod
        self._gone = gone

    def _say_ends(self, current: Collection[str], is_replaced: bool) -> None:
        for uid, pod in self._seen.items():
            if uid in self._reported:
                continue
            gone = uid not in current and pod["status"].get("phase") not in ("Succeeded", "Failed")
            why = disruption(pod) or ("it is gone" if gone else None)
            if why is not None:
                self._interruptions += 1
                name = pod["metadata"]["name"]
                say(f"The pod {name} was interrupted: {why}. Another pod resumes from what is in the bucket.")
            elif is_replaced and (found := decisive_exit([pod])) is not None:
                say(f"{explain_exit(*found, self._last_use).what} Another pod tries again.")
            else:
                continue
            self._reported.add(uid)

    def _report_restarts(self, pod: Object) -> None:
        """Says why a sidecar was restarted, and gives up on an evaluator that scores nothing."""
        lost = []
        for status in container_statuses(pod):
            key, count = (pod["metadata"]["uid"], status["name"]), status["restartCount"]
            ended = status.get("lastState", {}).get("terminated")
            if count <= self._restarts.get(key, 0) or ended is None:
                continue
            self._restarts[key] = count
            if is_lost(ended):
                lost.append(status["name"])
                continue
            error = explain_exit(pod, status, ended, self._last_use)
            say(f"{error.what} It is restarted.")
            if status["name"] == EVALUATOR and (scores := self._scored()) is not None:
                self._failures = 1 if scores > self._scores else self._failures + 1
                self._scores = scores
                if self._failures >= EVALUATOR_STARTS:
                    self._api.delete("jobs", self._name)
                    raise error
        if lost:
            say(f"The node of the pod {pod['metadata']['name']} failed. What ran there is restarted: {', '.join(lost)}.")

    def _scored(self) -> int | None:
        """The number of scored checkpoints; None if the bucket cannot be read at the moment."""
        try:
            return len(bucket.read_scores(self._store))
        except BoxcarError:
            return None  # pods keep what they write until the bucket is reachable again, so the Job continues

    def _report_pending(self, pods: list[Object]) -> None:
        """Says what the Job waits for, repeats it now and then, and gives up on what does not come."""
        pending = find_pending(self._job, pods, self._find_events(pods))
        now = time.monotonic()
        if pending is None or self._pending is None or pending.cause != self._pending.cause:
            self._waited, self._said = now, 0.0
        self._pending = pending
        if pending is None:
            return
        waited = now - self._waited
        if pending.cause in ("image", "start") and (pending.hopeless or waited > PATIENCE_SECONDS):
            self._api.delete("jobs", self._name)
            raise BoxcarError(ExitCode.ENVIRONMENT, pending.what, pending.do)
        quiet = 0.0 if pending.cause == "creation" else QUIET_SECONDS
        if waited >= quiet and (not self._said or now - self._said >= REPEAT_SECONDS):
            self._said = now
            say(f"{pending.what} {pending.do}")

    def _find_events(self, pods: list[Object]) -> list[Object]:
        """Those of the Job and its pods, unless it works or is suspended."""
        if any(pod["status"].get("phase") == "Running" for pod in pods) or self._job["spec"].get("suspend"):
            return []
        uids = [self._uid, *(pod["metadata"]["uid"] for pod in pods)]
        return [event for uid in uids for event in self._api.find("events", fieldSelector=f"involvedObject.uid={uid}")]
