"""What containers write to their logs, passed on to the watcher: each line once, also across restarts and new pods."""

import contextlib
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass

from boxcar.cluster.api import Api, Object

_SLACK_SECONDS = 10  # more than was asked for is asked for; what was passed on already is known by its time


def tell(line: str) -> None:
    """Says a line to the watcher."""
    # Whoever listened may be gone, as the launcher of a pipeline's step is. The Job is to be watched all the same.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def container_statuses(pod: Object) -> list[Object]:
    """Of all containers of a pod, in the order in which they start."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


@dataclass
class _Cursor:
    """How far the log of one container of one pod was read."""

    time: str = ""  # of the last line that was passed on, as the log has it
    read: float | None = None
    restarts: int = 0
    over: bool = False


class Relay:
    """Reads logs again and again.

    Args:
        api: of the cluster.
        names: of the containers to listen to.
    """

    def __init__(self, api: Api, names: Collection[str]) -> None:
        self._api, self._names = api, names
        self._cursors: dict[tuple[str, str], _Cursor] = {}

    def poll(self, pod: Object) -> None:
        """Passes on what is new in a pod's logs.

        Raises:
            BoxcarError: 69 where the API refuses, or does not answer.
        """
        for status in container_statuses(pod):
            if status["name"] not in self._names:
                continue
            cursor = self._cursors.setdefault((pod["metadata"]["uid"], status["name"]), _Cursor())
            if status["restartCount"] > cursor.restarts:
                self._read(pod, status["name"], cursor, previous=True)
                cursor.restarts, cursor.over = status["restartCount"], False
            state = status.get("state", {})
            if ("running" in state or "terminated" in state) and not cursor.over:
                was_read = self._read(pod, status["name"], cursor, previous=False)
                cursor.over = was_read and "terminated" in state

    def _read(self, pod: Object, name: str, cursor: _Cursor, *, previous: bool) -> bool:
        now = time.monotonic()
        since = None if cursor.read is None else int(now - cursor.read) + _SLACK_SECONDS
        lines = self._api.log(pod["metadata"]["name"], name, since_seconds=since, previous=previous)
        if lines is None:
            return False
        for line in lines:
            # The times are of one clock and of one length, so that as texts they are in order.
            when, _, text = line.partition(" ")
            if when > cursor.time:
                cursor.time = when
                tell(f"[{name}] {text}")
        cursor.read = now
        return True
