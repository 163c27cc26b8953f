"""Following a run on a Kubeflow endpoint until it ends, and its end as an exit code and a sentence."""

from collections.abc import Callable, Collection

from boxcar.errors import BoxcarError, ExitCode, Terminated
from boxcar.kfp.ending import read_failure
from boxcar.kfp.endpoint import Answer, Endpoint
from boxcar.retry import poll

POLL_SECONDS = 5.0
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


def page_of(endpoint: Endpoint, run: str) -> str:
    """Address of a run's page."""
    return f"{endpoint.address}/#/runs/details/{run}"


def follow_run(endpoint: Endpoint, run: str, folder: str | None, tasks: Collection[str], say: Callable[[str], None]) -> None:
    """Reports how a run proceeds until it has succeeded.

    Args:
        endpoint: the server that it runs on.
        run: its id.
        folder: URI of the folder that it writes into, if that is known.
        tasks: names of its tasks.
        say: receives a line for every task that starts or ends.

    Raises:
        BoxcarError: as the step that failed, if the run's folder can be read from here, else 69; 76 if somebody terminated
            it; 69 if the server is unreachable for an hour; 130 or 76 after a signal, which leaves the run as it is.
    """
    try:
        found = _wait(endpoint, run, tasks, say)
    except KeyboardInterrupt as signal:
        # Not 75 after SIGTERM: what starts this command again would start a second run.
        code = ExitCode.STOPPED if isinstance(signal, Terminated) else ExitCode.INTERRUPTED
        what = f"Stopped following the run {run}, which continues."
        raise BoxcarError(code, what, f"See {page_of(endpoint, run)}, and terminate it there if you do not want it.") from None
    if found["state"] != "SUCCEEDED":
        raise _failure(found, folder, page_of(endpoint, run))
    say(f"Done: the run is in {folder}." if folder else "Done.")


def _wait(endpoint: Endpoint, run: str, tasks: Collection[str], say: Callable[[str], None]) -> Answer:
    """The run when it has ended."""
    reported: dict[str, str] = {}

    def look() -> Answer | None:
        found = endpoint.get(f"/runs/{run}")
        for task in (found.get("run_details") or {}).get("task_details") or []:
            name, state = task.get("display_name", ""), task.get("state", "")
            # Kubeflow lists every node of its workflow, four per task: `train`, `train(0)`, ...
            if name in tasks and state and reported.get(name) != state:
                reported[name] = state
                say(f"{name}: {state.lower()}")
        return found if found.get("state") in _ENDED else None

    return poll(look, lambda: POLL_SECONDS, say, "The run")


def _failure(found: Answer, folder: str | None, page: str) -> BoxcarError:
    """Why a run failed."""
    states = [one.get("state") for one in found.get("state_history") or []]
    if found["state"] == "CANCELED" or "CANCELING" in states:
        return BoxcarError(
            ExitCode.STOPPED, "The run was terminated.", f"See {page}. To resume the run, give its folder as resume_from."
        )
    unread = ""
    if folder is not None:
        try:
            failure = read_failure(folder)
        except BoxcarError as error:
            unread = f" Its folder cannot be read from here: {error.what}"
        else:
            if failure is not None:
                what = f"The step {failure['step']} failed: {failure['what']}"
                return BoxcarError(ExitCode(failure["code"]), what, failure["do"])
    tasks = (found.get("run_details") or {}).get("task_details") or []
    words = [(one.get("error") or {}).get("message", "") for one in [found, *tasks]]
    why = next((f": {' '.join(word.split()).rstrip('.')}" for word in words if word), "")
    return BoxcarError(ExitCode.ENVIRONMENT, f"The run {found['state'].lower()}{why}.{unread}", f"See {page}.")
