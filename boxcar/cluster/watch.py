"""Watching a Job to its end: progress and trouble are said as they come, and its Lease is renewed."""

import time
from collections.abc import Callable, Collection

from boxcar.cluster.api import Api, Object
from boxcar.cluster.explain import decisive_end, disruption, explain_container, explain_end, is_ending, is_over
from boxcar.cluster.lease import Renewal
from boxcar.cluster.relay import Relay, container_statuses, tell
from boxcar.cluster.trainer_job import EVALUATOR
from boxcar.cluster.waiting import Waiting, find_waiting
from boxcar.errors import BoxcarError, ExitCode
from boxcar.retry import poll

POLL_SECONDS = 2.0
# A pod that is being deleted says its last words in the second before its log is gone.
LEAVING_SECONDS = 0.25
# A scheduler that looks for room, or a node that is being started, needs a moment that nobody has to hear of.
QUIET_SECONDS = 30.0
REPEAT_SECONDS = 300.0
# For which an image that cannot be pulled, or what a container needs to start, may yet come.
PATIENCE_SECONDS = 300.0
SIDECAR_STARTS = 3  # of an evaluator that scores nothing in between


class Watch:
    """A Job that is watched.

    Args:
        api: of the cluster.
        job: as it was created or found.
        listened: names of the containers whose logs are passed on.
        renewal: of its Lease, where it has one.
        last_use: answers with the memory that a container has reported last, in words.
        scored: answers with the number of checkpoints that are scored; None where that cannot be told now.
    """

    def __init__(
        self,
        api: Api,
        job: Object,
        listened: Collection[str],
        renewal: Renewal | None,
        last_use: Callable[[str], str],
        scored: Callable[[], int | None],
    ) -> None:
        self._api, self._job, self._renewal = api, job, renewal
        self._last_use, self._scored = last_use, scored
        self._relay = Relay(api, listened)
        self._name, self._uid = job["metadata"]["name"], job["metadata"]["uid"]
        self._seen: dict[str, Object] = {}  # every pod, by its uid, as it was last seen
        self._ended: set[str] = set()  # of those, by uid, that went before their time and of which that was said
        self._leaving = False  # whether a pod is being deleted
        self._restarts: dict[tuple[str, str], int] = {}
        self._failures, self._scores = 0, 0  # of the evaluator, since so many checkpoints were scored
        self._waiting: Waiting | None = None
        self._waited = self._told = 0.0  # since when it waits for the same, and when that was said

    def follow(self) -> None:
        """Returns when the Job has ended well.

        Raises:
            BoxcarError: why it did not: with the exit code and the words of what ended it; 69 where it cannot start or the API
                does not answer for an hour, 75 where somebody deleted it.
        """
        poll(lambda: self.look() or None, lambda: LEAVING_SECONDS if self._leaving else POLL_SECONDS, tell, "The Job")
        failure = explain_end(self._job, list(self._seen.values()), self._last_use, self._waiting)
        if failure is not None:
            raise failure
        if self._renewal is not None and (count := self._renewal.interruptions):
            tell(f"{self._name} was interrupted {count} {'time' if count == 1 else 'times'}, and resumed each time.")

    def see_off(self, seconds: float) -> bool:
        """Passes on what a Job that is being deleted still says; whether it is gone within so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            job = self._api.get("jobs", self._name)
            if job is None or job["metadata"]["uid"] != self._uid:
                return True
            for pod in self._pods():
                self._relay.poll(pod)
            time.sleep(LEAVING_SECONDS)
        return False

    def look(self) -> bool:
        """One look at everything; whether the Job is over.

        Raises:
            BoxcarError: as `follow`.
        """
        job = self._api.get("jobs", self._name)
        if job is None or job["metadata"]["uid"] != self._uid:
            do = "If this was not intended, run again with --resume."
            raise BoxcarError(ExitCode.AGAIN, f"The Job {self._name} was deleted by a person or another program.", do)
        self._job = job
        if self._renewal is not None:
            self._renewal.renew()
        pods = self._pods()
        self._leaving = any("deletionTimestamp" in pod["metadata"] for pod in pods)
        self._note_pods(pods)
        for pod in pods:
            if pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-completion-index", "0") == "0":
                self._relay.poll(pod)  # of several machines the first one speaks for all
            self._note_restarts(pod)
        if not is_ending(job):
            self._note_waiting(pods)
        return is_over(job)

    def _note_pods(self, pods: list[Object]) -> None:
        """Remembers the pods, and says once of each that went before its time why."""
        there = {pod["metadata"]["uid"] for pod in pods}
        follows = bool(there - self._seen.keys())
        for pod in pods:
            self._seen[pod["metadata"]["uid"]] = pod
        if is_ending(self._job):
            return
        for uid, pod in self._seen.items():
            gone = uid not in there and pod["status"].get("phase") not in ("Succeeded", "Failed")
            why = disruption(pod) or ("it is gone" if gone else None)
            if uid in self._ended:
                continue
            if why is not None:
                self._ended.add(uid)
                if self._renewal is not None:
                    self._renewal.count(uid)
                tell(
                    f"The pod {pod['metadata']['name']} was interrupted: {why}. Another pod resumes from what is in the bucket."
                )
            elif follows and (found := decisive_end([pod])) is not None:
                self._ended.add(uid)
                tell(f"{explain_container(*found, self._last_use).what} Another pod tries again.")

    def _note_restarts(self, pod: Object) -> None:
        """Says why a sidecar was started again, and gives up on an evaluator that gets nothing done."""
        for status in container_statuses(pod):
            key, count = (pod["metadata"]["uid"], status["name"]), status["restartCount"]
            ended = status.get("lastState", {}).get("terminated")
            if count <= self._restarts.get(key, 0) or ended is None:
                continue
            self._restarts[key] = count
            error = explain_container(pod, status, ended, self._last_use)
            tell(f"{error.what} It is restarted.")
            if status["name"] == EVALUATOR and (scores := self._scored()) is not None:
                self._failures = 1 if scores > self._scores else self._failures + 1
                self._scores = scores
                if self._failures >= SIDECAR_STARTS:
                    self._give_up()
                    raise error

    def _note_waiting(self, pods: list[Object]) -> None:
        """Says what the Job waits for, again now and then, and gives up on what does not come."""
        waiting = find_waiting(self._job, pods, self._events(pods))
        now = time.monotonic()
        if waiting is None or self._waiting is None or waiting.cause != self._waiting.cause:
            self._waited, self._told = now, 0.0
        self._waiting = waiting
        if waiting is None:
            return
        waited = now - self._waited
        if waiting.cause in ("image", "start") and (waiting.hopeless or waited > PATIENCE_SECONDS):
            self._give_up()
            raise BoxcarError(ExitCode.ENVIRONMENT, waiting.what, waiting.do)
        quiet = 0.0 if waiting.cause == "creation" else QUIET_SECONDS
        if waited >= quiet and (not self._told or now - self._told >= REPEAT_SECONDS):
            self._told = now
            tell(f"{waiting.what} {waiting.do}")

    def _events(self, pods: list[Object]) -> list[Object]:
        """Of the Job and its pods, where there is anything to ask for."""
        if any(pod["status"].get("phase") == "Running" for pod in pods) or self._job["spec"].get("suspend"):
            return []
        uids = [self._uid, *(pod["metadata"]["uid"] for pod in pods)]
        return [event for uid in uids for event in self._api.find("events", fieldSelector=f"involvedObject.uid={uid}")]

    def _pods(self) -> list[Object]:
        """Of the Job, oldest first."""
        pods = self._api.find("pods", labelSelector=f"batch.kubernetes.io/controller-uid={self._uid}")
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def _give_up(self) -> None:
        self._api.delete("jobs", self._name)
