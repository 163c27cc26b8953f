"""Which runs Jobs on a cluster work on."""

from boxcar.cluster.api import open_api
from boxcar.cluster.explain import is_over
from boxcar.cluster.job import RUN_URI


def runs_at_work(namespace: str | None) -> frozenset[str]:
    """URIs of the runs of which a Job of ours has not ended, in a namespace; None for that of `open_api`.

    Raises:
        BoxcarError: 69 where no cluster is named, or it does not answer or let us in.
    """
    jobs = open_api(namespace).find("jobs", labelSelector="app.kubernetes.io/name=boxcar,boxcar.dev/run")
    return frozenset(job["metadata"]["annotations"][RUN_URI] for job in jobs if not is_over(job))
