"""How a pipeline ended, in words, and to whom that is told."""

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.failure import FAILURE
from boxcar.storage import Mirror, Missing, open_store
from boxcar.storage.retry import Hindrance, Retry

WEBHOOK = "BOXCAR_WEBHOOK"
# Kubeflow 2.17 says COMPLETE to the last task, the word of its metadata store; its local runner says SUCCEEDED.
_WELL = ("SUCCEEDED", "COMPLETE")
_SECONDS = 10.0


def tell_end(state: str, task: str, message: str, run: str) -> str:
    """Reads why a run failed, where it did, and sends it to the webhook, where one is set.

    Args:
        state: Kubeflow's word for it.
        task: the task that Kubeflow names.
        message: what Kubeflow says of an error; may be empty.
        run: URI of the run's folder.

    Returns:
        The words.

    Raises:
        BoxcarError: 69 where the bucket or the webhook fails.
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
        why = f"why cannot be read: {unread.what}" if unread else "none of its steps left word why."
        text = f"The run in {run} {state.lower()}, and {why} {message or f'See the log of {task}.'}"
    url = os.environ.get(WEBHOOK)
    if url:
        _post(url, {"text": text, "state": "SUCCEEDED" if well else state, "run": run, "failure": failure})
    if unread is not None:
        raise unread
    return text


def read_failure(run: str) -> dict[str, Any] | None:
    """What stands in a run's `failure.json`; None where there is none.

    Raises:
        BoxcarError: 69 where the bucket fails.
    """
    try:
        found: dict[str, Any] = json.loads(open_store(Mirror(run).uri).read(FAILURE))
    except Missing:
        return None
    return found


def _post(url: str, body: Mapping[str, Any]) -> None:
    """Sends a message; its address may hold a key, and is never repeated."""
    import urllib3

    host = urlsplit(url).hostname
    what, do = "The webhook", f"Correct the address in the Secret that {WEBHOOK} comes from."
    if urlsplit(url).scheme not in ("http", "https") or not host:
        raise BoxcarError(ExitCode.SURROUNDINGS, f"{what}'s address is none.", do)
    with urllib3.PoolManager(retries=False, timeout=_SECONDS) as pool:

        def send() -> int:
            answer = pool.request("POST", url, json=body, redirect=False)
            if answer.status in (429, 500, 502, 503, 504):
                raise _Busy(answer.status)
            return answer.status

        try:
            status = Retry(_hindrance)(send)
        except _Busy as error:
            status = error.status
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = type(error).__name__
            raise BoxcarError(ExitCode.SURROUNDINGS, f"{what} at {host} cannot be reached ({reason}).", do) from None
    if status >= 300:
        raise BoxcarError(ExitCode.SURROUNDINGS, f"{what} at {host} answers with status {status}.", do)


class _Busy(Exception):
    """The server cannot just now."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _hindrance(error: BaseException) -> Hindrance | None:
    import urllib3

    if isinstance(error, _Busy):
        return "busy"
    return "unreachable" if isinstance(error, urllib3.exceptions.HTTPError | OSError) else None
