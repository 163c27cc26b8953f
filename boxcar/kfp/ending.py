"""How a pipeline ended, in a sentence, and the webhook that it is posted to."""

from typing import Any

from boxcar.cluster.bucket import read_json
from boxcar.errors import BoxcarError
from boxcar.run.layout import FAILURE
from boxcar.run.webhook import post
from boxcar.storage import open_store
from boxcar.sync.mirror import Mirror

# Kubeflow 2.17 gives the last task COMPLETE, the word of its metadata store; its local runner gives SUCCEEDED.
_WELL = ("SUCCEEDED", "COMPLETE")


def tell_end(state: str, task: str, message: str, run: str) -> str:
    """A sentence about how a run ended and why it failed, if it did. Posts it to the webhook, if one is set.

    Args:
        state: Kubeflow's word for how it ended; RUNNING if a step was killed.
        task: the task that Kubeflow names.
        message: Kubeflow's message about an error; may be empty.
        run: URI of the run's folder.

    Raises:
        BoxcarError: 69 if the bucket or the webhook fails.
    """
    failure, unread = None, None
    well = state in _WELL
    try:
        failure = None if well else read_failure(run)
    except BoxcarError as error:
        unread = error
    if well:
        text = f"Done: the run is in {run}."
    elif failure is not None:
        text = f"The step {failure['step']} ended with {failure['code']}: {failure['what']} {failure['do']}"
    else:
        why = f"the reason cannot be read: {unread.what}" if unread else "none of its steps recorded a reason."
        text = f"The run in {run} did not succeed, and {why} {message or f'See the log of {task}.'}"
    post({"text": text, "state": "SUCCEEDED" if well else state, "run": run, "failure": failure})
    if unread is not None:
        raise unread
    return text


def read_failure(run: str) -> dict[str, Any] | None:
    """The content of a run's `failure.json`; None if there is none.

    Raises:
        BoxcarError: 69 if the bucket fails.
    """
    return read_json(open_store(Mirror(run).uri), FAILURE)
