"""A step as a Job: the one that is there is adopted, believed, or deleted and created again; then it is watched to its end."""

import socket
import time
from collections.abc import Collection
from dataclasses import dataclass

from boxcar.cluster import bucket
from boxcar.cluster.api import Api, Conflict, Object, open_api
from boxcar.cluster.explain import condition, explain_end, is_over
from boxcar.cluster.job import CONFIGURATION
from boxcar.cluster.lease import Renewal
from boxcar.cluster.owner import Owner, find_owner, is_ending, own_pod
from boxcar.cluster.relay import tell
from boxcar.cluster.trainer_job import EVALUATOR, TRAINER, trainer_job, trainer_service
from boxcar.cluster.watch import Watch
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import Configuration
from boxcar.errors import BoxcarError, ExitCode, Terminated
from boxcar.run.layout import COMMIT, LOCK, TRAIN
from boxcar.storage import Store, make_folder, open_store
from boxcar.sync.mirror import Mirror

_AFTER_GRACE_SECONDS = 60.0  # for which a pod may take longer to go than its grace


@dataclass(frozen=True)
class Work:
    """What one step has a Job do.

    Attributes:
        job: to be created where there is none.
        result: what lies in the run when the step is finished, an object that is JSON.
        listened: names of the containers whose logs are passed on.
        service: that the Job needs beside it.
        leased: whether the Job ends when nobody watches it.
    """

    job: Object
    result: str
    listened: Collection[str]
    service: Object | None = None
    leased: bool = False


def train_on_cluster(configuration: Configuration, run: str) -> None:
    """Trains and evaluates the run whose records and `config.yaml` lie in a bucket, as `run_job` says.

    Args:
        configuration: the run's.
        run: URI of the run's folder.
    """
    work = Work(
        trainer_job(configuration, run),
        f"{TRAIN}/{COMMIT}",
        (TRAINER, EVALUATOR),
        service=trainer_service(configuration, run),
        leased=True,
    )
    run_job(work, configuration.cluster, run)


def run_job(work: Work, settings: ClusterSettings, run: str) -> None:
    """Sees that a step is done by a Job, and returns when it is.

    A running Job of that name is adopted, a succeeded one believed, a failed one deleted and created again, so that its step
    continues. SIGTERM leaves the Job running, for the next watcher to find, unless the run that we are a step of is ending.
    Ctrl-C deletes the Job once its checkpoint is saved.

    Args:
        work: what is to be done.
        settings: of the cluster.
        run: URI of the run's folder, in a bucket.

    Raises:
        BoxcarError: 64 where a Job with another configuration runs; as the step where it failed; 69 where the cluster refuses,
            cannot start the Job, or its memory or time were short; 75 after SIGTERM, 76 where the deadline passed or the run is
            being ended, 130 after Ctrl-C.
    """
    launch: _Launch | None = None
    try:
        launch = _Launch(work, settings, run)
        launch.do()
    except Terminated:
        raise _terminated(launch, settings) from None
    except KeyboardInterrupt:
        raise _interrupted(launch, settings) from None


class _Launch:
    """One start of `run_job`."""

    def __init__(self, work: Work, settings: ClusterSettings, run: str) -> None:
        self.work, self.settings, self.run = work, settings, run
        self.job: Object | None = None  # the one that is ours to watch
        self.owner: Owner | None = None
        self.watch: Watch | None = None
        self.store: Store = open_store(run)
        # What is written of a failure is written into a run's folder only: this is one.
        (make_folder(Mirror(run).folder) / LOCK).touch()
        self.api: Api = open_api(settings.namespace)

    def do(self) -> None:
        self.owner = find_owner(self.api)
        job, is_new = self._find()
        if is_over(job):
            return
        self.job = job
        renewal = None
        try:
            if self.work.service is not None:
                self._serve(job)
            if self.work.leased:
                seconds = max(1, round(self.settings.orphan_minutes * 60))
                renewal = Renewal(self.api, job, own_pod() or socket.gethostname(), seconds)
                renewal.take()
        except BoxcarError:
            if is_new:  # nobody could watch it
                self.api.delete("jobs", job["metadata"]["name"])
            raise
        self.watch = Watch(self.api, job, self.work.listened, renewal, self._last_use, self._scored)
        self.watch.follow()
        # Kubernetes counts a Job by its main container alone: what the uploader could not send any more went with its pod.
        if bucket.read_json(self.store, self.work.result) is None:
            name = job["metadata"]["name"]
            what = f"The Job {name} succeeded, but {self.run} has no {self.work.result}: the bucket was unreachable at the end."
            do = "Check that the bucket is reachable, then resume the run with --resume."
            raise BoxcarError(ExitCode.ENVIRONMENT, what, do)

    def _find(self) -> tuple[Object, bool]:
        """The Job, and whether it was created just now."""
        wanted = self.work.job
        name, hashed = wanted["metadata"]["name"], wanted["metadata"]["annotations"][CONFIGURATION]
        if self.owner is not None:
            metadata = wanted["metadata"] | {"ownerReferences": [self.owner.reference()]}
            wanted = wanted | {"metadata": metadata}
        while True:
            job = self.api.get("jobs", name)
            if job is None:
                try:
                    job = self.api.create("jobs", wanted)
                except Conflict:
                    continue  # another watcher was quicker; its Job serves as well
                tell(f"Created the Job {name} in the namespace {self.api.namespace}.")
                return job, True
            same = job["metadata"].get("annotations", {}).get(CONFIGURATION) == hashed
            if "deletionTimestamp" in job["metadata"]:
                tell(f"The Job {name} is being deleted; waiting until it is gone.")
            elif not is_over(job):
                if not same:
                    raise BoxcarError(
                        ExitCode.USAGE,
                        f"The Job {name} is running for {self.run} with a different configuration.",
                        f"Wait for it, use its settings, or delete it: kubectl delete job -n {self.api.namespace} {name}.",
                    )
                tell(f"Found the running Job {name}; watching it.")
                return job, False
            elif same and condition(job, "Complete") is not None and bucket.read_json(self.store, self.work.result):
                tell(f"The Job {name} has already finished this step.")
                return job, False
            else:
                self._tell_end(job)
                self.api.delete("jobs", name)
            self._wait_until_gone(job)

    def _tell_end(self, job: Object) -> None:
        """Says how a Job ended that perhaps nobody saw end."""
        selector = f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"
        failure = explain_end(job, self.api.find("pods", labelSelector=selector), self._last_use)
        how = "finished its step with other settings, or its results are gone" if failure is None else f"failed: {failure.what}"
        tell(f"The Job {job['metadata']['name']} from an earlier start {how.rstrip('.')}. A new one is created.")

    def _wait_until_gone(self, job: Object) -> None:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        grace = job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
        until = time.monotonic() + grace + _AFTER_GRACE_SECONDS
        while (now := self.api.get("jobs", name)) is not None and now["metadata"]["uid"] == uid:
            if time.monotonic() > until:
                raise BoxcarError(
                    ExitCode.ENVIRONMENT,
                    f"The Job {name} is being deleted, but its pods remain.",
                    f"See `kubectl get pods -n {self.api.namespace}`; pods of a lost node disappear with its Node object.",
                )
            time.sleep(1.0)

    def _serve(self, job: Object) -> None:
        """The Service beside the Job; it goes with it."""
        assert self.work.service is not None, "asked for where there is one"
        about = job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": about["name"], "uid": about["uid"]}
        while True:
            service = self.api.get("services", about["name"])
            if service is None:
                metadata = self.work.service["metadata"] | {"ownerReferences": [owner]}
                try:
                    self.api.create("services", self.work.service | {"metadata": metadata})
                except Conflict:
                    continue
                return
            if about["uid"] in [one["uid"] for one in service["metadata"].get("ownerReferences", [])]:
                return
            self.api.delete("services", about["name"])  # of a Job that is gone
            time.sleep(0.5)

    def _last_use(self, container: str) -> str:
        return bucket.last_use(self.store, container)

    def _scored(self) -> int | None:
        try:
            return len(bucket.read_scores(self.store))
        except BoxcarError:
            return None  # pods keep what they write until the bucket is there again, and so the Job goes on


def _terminated(launch: _Launch | None, settings: ClusterSettings) -> BoxcarError:
    """After SIGTERM, of which a step of a pipeline survives a second at most: nothing is printed, and little asked."""
    if launch is None or launch.job is None:
        return BoxcarError(
            ExitCode.AGAIN, "Stopped by SIGTERM before a Job was created.", "Run the same command to start again."
        )
    name = launch.job["metadata"]["name"]
    if launch.owner is not None and is_ending(launch.api, launch.owner):
        launch.api.delete("jobs", name)
        what = f"{launch.owner.kind} {launch.owner.name} is being terminated, and the Job {name} with it."
        return BoxcarError(ExitCode.STOPPED, what, "To resume from the last checkpoint, start the run again with --resume.")
    limit = f" for {settings.orphan_minutes:g} minutes" if launch.work.leased else ""
    return BoxcarError(
        ExitCode.AGAIN,
        f"Stopped by SIGTERM; the Job {name} continues without a watcher{limit}.",
        "To watch it again, run the same command with --resume.",
    )


def _interrupted(launch: _Launch | None, settings: ClusterSettings) -> BoxcarError:
    """After Ctrl-C: the Job goes, with the grace in which a trainer saves its checkpoint."""
    again = "Run the same command with --resume to continue from there."
    if launch is None or launch.job is None:
        return BoxcarError(ExitCode.INTERRUPTED, "Stopped by Ctrl-C before a Job was created.", again)
    name = launch.job["metadata"]["name"]
    tell(f"Ctrl-C: deleting the Job {name}. It has {settings.grace_seconds} s to save a checkpoint.")
    launch.api.delete("jobs", name)
    gone = launch.watch is None or launch.watch.see_off(settings.grace_seconds + _AFTER_GRACE_SECONDS)
    step = bucket.last_checkpoint(launch.store) if launch.work.leased else -1
    kept = f" Its checkpoint of step {step} is in {launch.run}/train." if step >= 0 else ""
    what = f"Stopped by Ctrl-C; the Job {name} is {'deleted' if gone else 'being deleted, but its pods still exist'}.{kept}"
    return BoxcarError(ExitCode.INTERRUPTED, what, again)
