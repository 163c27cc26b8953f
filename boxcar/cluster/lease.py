"""The Lease by which a training knows that it is watched.

The watcher renews it. The uploader in the trainer's pod checks whether it changes, by its own clock alone. If it is not renewed
for longer than the limit, the training is an orphan and ends.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from boxcar.cluster.api import Api, Conflict, Object, open_pod_api
from boxcar.cluster.logs import say
from boxcar.cluster.owner import owner_reference
from boxcar.errors import BoxcarError, ExitCode

RENEW_SECONDS = 15.0
LOOK_SECONDS = 10.0


class Renewal:
    """The watcher's side: renews the Lease of a Job, which has the Job's name and is deleted with it.

    Args:
        api: of the cluster.
        job: the Job.
        holder: name of the watcher.
        seconds: duration of the Lease, for those who read it.
    """

    def __init__(self, api: Api, job: Object, holder: str, seconds: int) -> None:
        self._api, self._job, self._holder, self._seconds = api, job, holder, seconds
        self._renewed = -RENEW_SECONDS

    def renew(self) -> None:
        """Renews the Lease if it is time to, or creates it if there is none.

        Raises:
            BoxcarError: 69 if the API denies access or does not answer.
        """
        now = time.monotonic()
        if now - self._renewed < RENEW_SECONDS:
            return
        about = self._job["metadata"]
        wanted: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": about["name"],
                "namespace": self._api.namespace,
                "labels": about["labels"],
                "ownerReferences": [owner_reference(self._job)],
            },
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": self._seconds,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
        lease = self._api.get("leases", about["name"])
        try:
            if lease is None:
                self._api.create("leases", wanted)
            else:
                wanted["metadata"]["resourceVersion"] = lease["metadata"]["resourceVersion"]
                self._api.replace("leases", wanted)
        except Conflict:
            return  # it was renewed since it was read, which serves as well
        self._renewed = now


class Watchdog:
    """The pod's side: decides whether a training is an orphan.

    Only the time between two answers of the API counts: while it does not answer, nothing is known about the watcher. A missing
    Lease counts as one that is not renewed.

    Args:
        name: of the Lease, in the pod's own namespace.
        orphan_minutes: after which a Lease that is not renewed expires.
        read: returns the Lease or None, and raises BoxcarError if the API does not answer; default: asks it as the pod.
        clock: returns seconds.
    """

    def __init__(
        self,
        name: str,
        orphan_minutes: float,
        read: Callable[[], Object | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._minutes = name, orphan_minutes
        self._read = read or (lambda: open_pod_api().get("leases", name, retry=False))
        self._clock = clock
        self._looked: float | None = None
        self._answered: float | None = None  # when the last look was answered; None if it was not
        self._seen: tuple[str, str] | None = None
        self._silence = 0.0
        self._trouble = ""

    def reason(self) -> BoxcarError | None:
        """Why training must end: it has had no watcher for too long. None if it may continue. Cheap to call often."""
        now = self._clock()
        if self._looked is None or now - self._looked >= min(LOOK_SECONDS, self._minutes * 15):
            self._looked = now
            self._look(now)
        if self._silence < self._minutes * 60:
            return None
        what = f"This training has had no watcher for {self._minutes:g} minutes: its Lease {self._name} was not renewed."
        return BoxcarError(ExitCode.STOPPED, f"{what} Its last checkpoint is kept.", "", again=True)

    def _look(self, now: float) -> None:
        try:
            lease = self._read()
        except BoxcarError as error:
            if error.what != self._trouble:
                self._trouble = error.what
                say(f"The watcher's Lease cannot be read, and training continues: {error.what}")
            self._answered = None
            return
        self._trouble = ""
        seen = None if lease is None else (lease["metadata"]["resourceVersion"], lease["spec"].get("renewTime", ""))
        if seen is not None and seen != self._seen:
            self._silence = 0.0
        elif self._answered is not None:
            self._silence += now - self._answered
        self._seen, self._answered = seen or self._seen, now
