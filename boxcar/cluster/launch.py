"""A step as a Job: an existing one is adopted, accepted, or replaced; then it is watched until it ends."""

import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from boxcar.cluster import bucket
from boxcar.cluster.api import Conflict, Object, open_api
from boxcar.cluster.job import CONFIGURATION
from boxcar.cluster.job_status import condition, explain_failure, is_finished
from boxcar.cluster.lease import Renewal
from boxcar.cluster.logs import say
from boxcar.cluster.owner import find_owner, is_run_ending, own_pod, owner_reference
from boxcar.cluster.trainer_job import EVALUATOR, TRAINER, trainer_job, trainer_service
from boxcar.cluster.watch import Watch, find_pods
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import Configuration
from boxcar.errors import BoxcarError, ExitCode, Terminated
from boxcar.run.layout import COMMIT, LOCK, TRAIN
from boxcar.storage import make_folder, open_store
from boxcar.sync.mirror import Mirror

_AFTER_GRACE_SECONDS = 60.0  # that a pod may need to end after its grace period


@dataclass(frozen=True)
class Work:
    """What a Job does for one step.

    Attributes:
        job: to create if there is none.
        result: the JSON object that the run's folder contains when the step is finished.
        listened: names of the containers whose logs are passed on.
        service: that the Job needs, if any.
        leased: whether the Job ends if it has no watcher.
    """

    job: Object
    result: str
    listened: Collection[str]
    service: Object | None = None
    leased: bool = False


def train_on_cluster(configuration: Configuration, run: str) -> None:
    """Trains and evaluates a run (URI) whose records and `config.yaml` are in a bucket, as `run_job` does."""
    job, service = trainer_job(configuration, run), trainer_service(configuration, run)
    work = Work(job, f"{TRAIN}/{COMMIT}", (TRAINER, EVALUATOR), service=service, leased=True)
    run_job(work, configuration.cluster, run)


def run_job(work: Work, settings: ClusterSettings, run: str) -> None:
    """Makes sure that a step is done by a Job, and returns when it is.

    A running Job of that name is adopted, a succeeded one accepted, and a failed one replaced, so that its step continues.
    SIGTERM leaves the Job running for the next watcher, unless the pipeline run that we are a step of is being terminated.
    Ctrl-C deletes the Job once its checkpoint is saved.

    Args:
        work: the step's.
        settings: of the cluster.
        run: URI of the run's folder, in a bucket.

    Raises:
        BoxcarError: 64 if a Job with another configuration is running; the step's own code if the step failed; 69 if the
            cluster denies access, cannot start the Job, or its memory was too small; 75 after SIGTERM; 76 if the deadline
            passed or the pipeline run is being terminated; 130 after Ctrl-C.
    """
    launch = _Launch(work, settings, run)
    try:
        launch.do()
    except KeyboardInterrupt as signal:
        if launch.job is None:
            raise
        raise (launch.terminated(signal.name) if isinstance(signal, Terminated) else launch.interrupted()) from None


class _Launch:
    """One call of `run_job`."""

    def __init__(self, work: Work, settings: ClusterSettings, run: str) -> None:
        self.work, self.settings, self.run = work, settings, run
        self.job: Object | None = None  # the one that is ours to watch
        self.owner: Object | None = None
        self.watch: Watch | None = None
        self.store = open_store(run)
        self.last_use = partial(bucket.last_use, self.store)
        # Marks the folder as a run's, because failures are recorded in runs only.
        (make_folder(Mirror(run).folder) / LOCK).touch()
        self.api = open_api(settings.namespace)

    def do(self) -> None:
        self.owner = find_owner(self.api)
        job, is_new = self._find()
        if is_finished(job):
            return
        self.job = job
        renewal = None
        try:
            if self.work.service is not None:
                self._serve(job, self.work.service)
            if self.work.leased:
                seconds = max(1, round(self.settings.orphan_minutes * 60))
                renewal = Renewal(self.api, job, own_pod() or socket.gethostname(), seconds)
                renewal.renew()
        except BoxcarError:
            if is_new:  # it could not be watched
                self.api.delete("jobs", job["metadata"]["name"])
            raise
        self.watch = Watch(self.api, job, self.work.listened, renewal, self.store)
        self.watch.follow()
        # Kubernetes counts only the main container. What the uploader could not send is lost with its pod.
        if bucket.read_json(self.store, self.work.result) is None:
            name = job["metadata"]["name"]
            what = f"The Job {name} succeeded, but {self.run} has no {self.work.result}: the bucket was unreachable at the end."
            raise BoxcarError(ExitCode.ENVIRONMENT, what, "Check that the bucket is reachable.", again=True)

    def _find(self) -> tuple[Object, bool]:
        """The Job, and whether it was just created."""
        wanted = self.work.job
        name, hashed = wanted["metadata"]["name"], wanted["metadata"]["annotations"][CONFIGURATION]
        if self.owner is not None:
            wanted = wanted | {"metadata": wanted["metadata"] | {"ownerReferences": [self.owner]}}
        while True:
            job = self.api.get("jobs", name)
            if job is None:
                try:
                    job = self.api.create("jobs", wanted)
                except Conflict:
                    continue  # it was created, and the answer was lost; or by another watcher
                say(f"Created the Job {name} in the namespace {self.api.namespace}.")
                return job, True
            same = job["metadata"].get("annotations", {}).get(CONFIGURATION) == hashed
            if "deletionTimestamp" in job["metadata"]:
                say(f"The Job {name} is being deleted; waiting until it is gone.")
            elif not is_finished(job):
                if not same:
                    what = f"The Job {name} is running for {self.run} with a different configuration."
                    do = f"Wait for it, use its settings, or delete it: kubectl delete job -n {self.api.namespace} {name}."
                    raise BoxcarError(ExitCode.USAGE, what, do)
                say(f"Found the running Job {name}; watching it.")
                return job, False
            elif same and condition(job, "Complete") is not None and bucket.read_json(self.store, self.work.result):
                say(f"The Job {name} has already finished this step.")
                return job, False
            else:
                failure = explain_failure(job, find_pods(self.api, job), self.last_use)
                how = "finished with other settings, or its results are gone." if failure is None else f"failed: {failure.what}"
                say(f"The Job {name} from an earlier start {how} A new one is created.")
                self.api.delete("jobs", name)
            self._wait_until_gone(job)

    def _wait_until_gone(self, job: Object) -> None:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        grace = job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
        until = time.monotonic() + grace + _AFTER_GRACE_SECONDS
        while (now := self.api.get("jobs", name)) is not None and now["metadata"]["uid"] == uid:
            if time.monotonic() > until:
                what = f"The Job {name} is being deleted, but its pods remain."
                do = f"See `kubectl get pods -n {self.api.namespace}`; pods of a lost node disappear with its Node object."
                raise BoxcarError(ExitCode.ENVIRONMENT, what, do)
            time.sleep(1.0)

    def _serve(self, job: Object, service: Object) -> None:
        """Creates the Job's Service, which is deleted with the Job."""
        owner = owner_reference(job)
        wanted = service | {"metadata": service["metadata"] | {"ownerReferences": [owner]}}
        while True:
            found = self.api.get("services", job["metadata"]["name"])
            if found is not None and owner["uid"] in [one["uid"] for one in found["metadata"].get("ownerReferences", [])]:
                return
            if found is not None:
                self.api.delete("services", job["metadata"]["name"])  # of a Job that is gone
                time.sleep(0.5)
                continue
            try:
                self.api.create("services", wanted)
            except Conflict:
                continue  # as for the Job

    def terminated(self, signal: str) -> BoxcarError:
        """After SIGTERM or SIGHUP, which `signal` names.

        A pipeline's step then lives for a second at most: nothing is printed, and little is asked.
        """
        assert self.job is not None, "called after it was found"
        name = self.job["metadata"]["name"]
        if self.owner is not None and is_run_ending(self.api, self.owner):
            self.api.delete("jobs", name)
            what = f"{self.owner['kind']} {self.owner['name']} is being terminated, and the Job {name} with it."
            return BoxcarError(ExitCode.STOPPED, f"{what} Its last checkpoint is kept.", "", again=True)
        limit = f" for {self.settings.orphan_minutes:g} minutes" if self.work.leased else ""
        what = f"Stopped by {signal}; the Job {name} continues without a watcher{limit}."
        return BoxcarError(ExitCode.AGAIN, what, "", again=True)

    def interrupted(self) -> BoxcarError:
        """After Ctrl-C: the Job is deleted, with the grace period in which a trainer saves its checkpoint."""
        assert self.job is not None, "called after it was found"
        name, grace = self.job["metadata"]["name"], self.settings.grace_seconds
        say(f"Ctrl-C: deleting the Job {name}. It has {grace} s to save a checkpoint.")
        self.api.delete("jobs", name)
        gone = self.watch is None or self.watch.follow_deletion(grace + _AFTER_GRACE_SECONDS)
        step = bucket.last_checkpoint(self.store) if self.work.leased else -1
        kept = f" Its checkpoint of step {step} is in {self.run}/train." if step >= 0 else ""
        what = f"Stopped by Ctrl-C; the Job {name} is {'deleted' if gone else 'being deleted, but its pods still exist'}.{kept}"
        return BoxcarError(ExitCode.INTERRUPTED, what, "", again=True)
