"""The logs of a Job's containers, passed on to the watcher: each line once, also across restarts and new pods."""

import contextlib
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass

from boxcar.cluster.api import Api, Object, container_statuses

_OVERLAP_SECONDS = 10  # that are asked for again; lines that were passed on are known by their times


def say(line: str) -> None:
    """Prints a line to the watcher."""
    # The reader can be gone, as the launcher of a pipeline's step is. The Job is watched all the same.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201


@dataclass
class _Cursor:
    """How far the log of one container of one pod was read."""

    time: str = ""  # of the last line that was passed on, as the log gives it
    read: float | None = None
    restarts: int = 0
    finished: bool = False


class LogReader:
    """Reads the logs of the containers with these names."""

    def __init__(self, api: Api, names: Collection[str]) -> None:
        self._api, self._names = api, names
        self._cursors: dict[tuple[str, str], _Cursor] = {}

    def poll(self, pod: Object) -> None:
        """Passes on what is new in a pod's logs.

        Raises:
            BoxcarError: 69 if the API denies access or does not answer.
        """
        for status in container_statuses(pod):
            if status["name"] not in self._names:
                continue
            cursor = self._cursors.setdefault((pod["metadata"]["uid"], status["name"]), _Cursor())
            if status["restartCount"] > cursor.restarts:
                self._read(pod, status["name"], cursor, previous=True)
                cursor.restarts, cursor.finished = status["restartCount"], False
            state = status.get("state", {})
            if ("running" in state or "terminated" in state) and not cursor.finished:
                was_read = self._read(pod, status["name"], cursor, previous=False)
                cursor.finished = was_read and "terminated" in state

    def _read(self, pod: Object, name: str, cursor: _Cursor, *, previous: bool) -> bool:
        now = time.monotonic()
        since = None if cursor.read is None else int(now - cursor.read) + _OVERLAP_SECONDS
        lines = self._api.log(pod["metadata"]["name"], name, since_seconds=since, previous=previous)
        if lines is None:
            return False
        for line in lines:
            # The times come from one clock and have one length, so their order as texts is their order in time.
            when, _, text = line.partition(" ")
            if when > cursor.time:
                cursor.time = when
                say(f"[{name}] {text}")
        cursor.read = now
        return True
