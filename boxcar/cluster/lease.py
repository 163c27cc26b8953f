"""The Lease by which a training knows that somebody watches it.

The watcher renews it; the uploader in the trainer's pod looks whether it changes, by its own clock alone. A Lease that nobody
renews for longer than the limit makes an orphan of the training.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from boxcar.cluster.api import CONNECT_SECONDS, OWN, READ_SECONDS, Api, Conflict, Object
from boxcar.cluster.relay import tell
from boxcar.errors import BoxcarError, ExitCode

RENEW_SECONDS = 15.0
LOOK_SECONDS = 10.0
INTERRUPTED = "boxcar.dev/interrupted"  # annotation: the uids of the pods that were taken away, as far as was seen


class Renewal:
    """The watcher's side: keeps a Job's Lease fresh, and in it what the next watcher should know.

    Args:
        api: of the cluster.
        job: whose Lease it is: it has the same name, and goes with the Job.
        holder: who watches.
        seconds: for which the Lease holds, to whoever reads it.
    """

    def __init__(self, api: Api, job: Object, holder: str, seconds: int) -> None:
        self._api, self._job, self._holder, self._seconds = api, job, holder, seconds
        self._renewed: float | None = None
        self._pods: set[str] = set()  # that were interrupted

    @property
    def interruptions(self) -> int:
        """How often a pod of the Job was taken away."""
        return len(self._pods)

    def count(self, pod: str) -> None:
        """Notes that a pod, by its uid, was taken away: once, whoever notes it."""
        if pod not in self._pods:
            self._pods.add(pod)
            self.renew(at_once=True)

    def take(self) -> None:
        """The first renewal; takes over what an earlier watcher counted."""
        lease = self._api.get("leases", self._job["metadata"]["name"])
        if lease is not None and self._job["metadata"]["uid"] in [
            owner["uid"] for owner in lease["metadata"].get("ownerReferences", [])
        ]:
            self._pods = set(lease["metadata"].get("annotations", {}).get(INTERRUPTED, "").split())
        self.renew(at_once=True)

    def renew(self, *, at_once: bool = False) -> None:
        """Renews the Lease where it is time to, or made where there is none (any more).

        Raises:
            BoxcarError: 69 where the API refuses, or does not answer.
        """
        now = time.monotonic()
        if not at_once and self._renewed is not None and now - self._renewed < RENEW_SECONDS:
            return
        name = self._job["metadata"]["name"]
        lease = self._api.get("leases", name)
        wanted = self._wanted()
        try:
            if lease is None:
                self._api.create("leases", wanted)
            else:
                wanted["metadata"]["resourceVersion"] = lease["metadata"]["resourceVersion"]
                self._api.replace("leases", wanted)
        except Conflict:
            return  # another watcher has renewed it this very moment, which serves as well
        self._renewed = now

    def _wanted(self) -> Object:
        about = self._job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": about["name"], "uid": about["uid"]}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": about["name"],
                "namespace": self._api.namespace,
                "labels": about["labels"],
                "annotations": {INTERRUPTED: " ".join(sorted(self._pods))},
                "ownerReferences": [owner],
            },
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": self._seconds,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }


class Watchdog:
    """The pod's side: tells whether a training is an orphan.

    Only time between two answers of the API counts: while it does not answer, nothing is known of the watcher. A Lease that is
    not there is one that nobody renews.

    Args:
        name: the Lease's, in the pod's own namespace.
        orphan_minutes: for which it may stay as it is.
        read: answers with the Lease, or None where there is none, and raises OSError where that cannot be told; reads as the
            pod that we are where it is not given.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        orphan_minutes: float,
        read: Callable[[], Object | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._minutes = name, orphan_minutes
        self._read = read or (lambda: read_as_pod(name))
        self._clock = clock
        self._looked: float | None = None
        self._answered: float | None = None  # when the last look was answered; None where it was not
        self._seen: tuple[str, str] | None = None
        self._silence = 0.0
        self._trouble = ""

    def reason(self) -> BoxcarError | None:
        """Why training is to end: nobody has watched for too long. May be called as often as one likes."""
        now = self._clock()
        if self._looked is None or now - self._looked >= min(LOOK_SECONDS, self._minutes * 15):
            self._looked = now
            self._look(now)
        if self._silence < self._minutes * 60:
            return None
        return BoxcarError(
            ExitCode.STOPPED,
            f"This training has had no watcher for {self._minutes:g} minutes: its Lease {self._name} was not renewed.",
            "Start the run again with --resume; it resumes from its last checkpoint.",
        )

    def _look(self, now: float) -> None:
        try:
            lease = self._read()
        except OSError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                tell(f"The watcher's Lease cannot be read, and training continues: {error}")
            self._answered = None
            return
        self._trouble = ""
        seen = None if lease is None else (lease["metadata"]["resourceVersion"], lease["spec"].get("renewTime", ""))
        if seen is not None and seen != self._seen:
            self._silence = 0.0
        elif self._answered is not None:
            self._silence += now - self._answered
        self._seen, self._answered = seen or self._seen, now


def read_as_pod(name: str) -> Object | None:
    """A Lease of the namespace of the pod that we are; None where there is none.

    Without the Kubernetes client, which weighs more than all the rest of the uploader.

    Raises:
        OSError: where the API does not say.
    """
    import urllib3

    try:
        # Read each time: the token is a new one every hour.
        token, namespace = (OWN / "token").read_text().strip(), (OWN / "namespace").read_text().strip()
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        with urllib3.PoolManager(ca_certs=str(OWN / "ca.crt"), retries=False) as pool:
            response = pool.request(
                "GET",
                f"{server}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}",
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )
        if response.status == 404:
            return None
        answer: Object = json.loads(response.data)
    except KeyError as error:
        raise OSError(f"{error.args[0]} is not set: this is not a pod.") from error
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise OSError(f"the Kubernetes API does not answer: {error}.") from error
    if response.status != 200:
        raise OSError(f"the Kubernetes API returned: {answer.get('message', response.status)}.")
    return answer
