"""The owner of a Job: the run that its watcher belongs to, so that the Job outlives the watcher and is deleted with the run.

A step of a Kubeflow pipeline is a pod of a Workflow. Elsewhere the watcher's pod belongs to a Job, such as a CronJob's. A run
that is started from a laptop has no owner.
"""

import os

from boxcar.cluster.api import OWN, Api, Object


def owner_reference(job: Object) -> Object:
    """What `metadata.ownerReferences` of an object contains that belongs to a Job."""
    about = job["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "name": about["name"], "uid": about["uid"]}


def find_owner(api: Api) -> Object | None:
    """A reference to the Workflow that owns the pod we are, else to the Job that controls it, else None.

    Raises:
        BoxcarError: 69 if the API does not let us read our own pod.
    """
    name = own_pod()
    pod = None if name is None else api.get("pods", name)
    if pod is None:
        return None
    owners = pod["metadata"].get("ownerReferences", [])
    workflows = [one for one in owners if one["kind"] == "Workflow" and one["apiVersion"].startswith("argoproj.io/")]
    jobs = [one for one in owners if one["kind"] == "Job" and one.get("controller")]
    return next(({key: one[key] for key in ("apiVersion", "kind", "name", "uid")} for one in workflows + jobs), None)


def own_pod() -> str | None:
    """The name of the pod we are; None outside of a cluster."""
    if not OWN.is_dir() or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return None
    # Kubeflow sets the first. The host's name is the pod's if that has at most 63 letters.
    return os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME")


def is_run_ending(api: Api, owner: Object) -> bool:
    """Whether the run that we belong to is being terminated, so that no other watcher will follow.

    Kubeflow terminates a run by a deadline of 0 seconds, Argo by `spec.shutdown`. A deleted run has ended.
    """
    if owner["kind"] != "Workflow":
        return False
    workflow = api.get("workflows", owner["name"])
    if workflow is None or workflow["metadata"]["uid"] != owner["uid"] or "deletionTimestamp" in workflow["metadata"]:
        return True
    return workflow["spec"].get("activeDeadlineSeconds") == 0 or bool(workflow["spec"].get("shutdown"))
