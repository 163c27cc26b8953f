"""Whose a Job is: that of the run which its watcher belongs to, so that it outlives the watcher and goes with the run.

A step of a Kubeflow pipeline is a pod of a Workflow. Elsewhere the watcher's pod is a Job's (a CronJob's, for one). Whoever
starts a run from a laptop has nothing that could own it.
"""

import os
from dataclasses import dataclass

from boxcar.cluster.api import OWN, Api, Object


@dataclass(frozen=True)
class Owner:
    """An object that a Job belongs to."""

    kind: str  # "Workflow" or "Job"
    name: str
    uid: str
    api_version: str

    def reference(self) -> Object:
        """As it stands in `metadata.ownerReferences` of what it owns."""
        return {"apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid}


def find_owner(api: Api) -> Owner | None:
    """The Workflow that owns the pod we are, else the Job that controls it, else nobody.

    Raises:
        BoxcarError: 69 where the API does not let us read our own pod.
    """
    name = own_pod()
    pod = None if name is None else api.get("pods", name)
    if pod is None:
        return None
    owners = pod["metadata"].get("ownerReferences", [])
    workflow = [one for one in owners if one["kind"] == "Workflow" and one["apiVersion"].startswith("argoproj.io/")]
    job = [one for one in owners if one["kind"] == "Job" and one.get("controller")]
    for one in workflow + job:
        return Owner(one["kind"], one["name"], one["uid"], one["apiVersion"])
    return None


def own_pod() -> str | None:
    """The name of the pod we are; None outside of a cluster."""
    if not OWN.is_dir() or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return None
    # Kubeflow tells its steps; the host's name is the pod's where that has at most 63 letters.
    return os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME")


def is_ending(api: Api, owner: Owner) -> bool:
    """Whether the run that we belong to is being ended, so that nobody will come and watch in our place.

    Kubeflow ends a run by a deadline of 0 seconds, Argo by `spec.shutdown`. What is gone, or is going, has ended.
    """
    if owner.kind != "Workflow":
        return False
    workflow = api.get("workflows", owner.name)
    if workflow is None or workflow["metadata"]["uid"] != owner.uid or "deletionTimestamp" in workflow["metadata"]:
        return True
    return workflow["spec"].get("activeDeadlineSeconds") == 0 or bool(workflow["spec"].get("shutdown"))
