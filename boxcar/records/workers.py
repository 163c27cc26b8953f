"""Child processes that read pictures and write shards, one for each core.

They are started as programs of their own, not forked: so they are as small as the records step even where the caller has
TensorFlow loaded, and they end by themselves when the caller is killed, because their end of the socket closes.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import boxcar
from boxcar.errors import BoxcarError, ExitCode

MOST_WORKERS = 3  # each holds some 30 MB; the step as a whole stays below 150


class Workers:
    """A pool that holds one task a process and so never more than a few in memory."""

    def __init__(self) -> None:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        count = min(cores, MOST_WORKERS)
        path = os.pathsep.join(filter(None, [str(Path(boxcar.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        self._processes: dict[Connection, subprocess.Popen[bytes]] = {}
        for _ in range(count):
            ours, theirs = Pipe()
            with theirs:
                self._processes[ours] = subprocess.Popen(
                    [sys.executable, "-m", "boxcar.records.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": path},
                )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.kill()
        for connection, process in self._processes.items():
            connection.close()
            process.wait()

    def kill(self) -> None:
        """Ends all processes at once, whatever they are doing, and waits until they are gone."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def run(self, name: str, tasks: Iterable[Any], advance: Callable[[int], None]) -> Iterator[Any]:
        """Gives each task to a free process and yields the answers as they come, in no particular order.

        Args:
            name: which of `boxcar.records.worker`'s tasks they are.
            tasks: what each is called with.
            advance: called with the number of pictures that were done in the meantime.

        Raises:
            BoxcarError: what the task raised; 69 where a process was killed.
        """
        waiting = iter(tasks)
        free = list(self._processes)
        busy: set[Connection] = set()
        more = True
        while True:
            while free and more:
                task = next(waiting, None)
                if task is None:
                    more = False
                else:
                    self._send(free[-1], (name, task))
                    busy.add(free.pop())
            if not busy:
                return
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                kind, value = self._receive(ready)
                if kind == "advance":
                    advance(value)
                    continue
                busy.remove(ready)
                free.append(ready)
                yield value

    def _send(self, connection: Connection, message: Any) -> None:
        try:
            connection.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._lost(connection) from error

    def _receive(self, connection: Connection) -> tuple[str, Any]:
        try:
            kind, value = connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._lost(connection) from error
        if kind == "refused":
            code, what, do, details = value
            raise BoxcarError(code, what, do, details)
        if kind == "defect":
            raise RuntimeError(f"a process that reads pictures failed:\n{value}")
        return kind, value

    def _lost(self, connection: Connection) -> BoxcarError:
        status = self._processes[connection].wait()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with {status}"
        return BoxcarError(
            ExitCode.ENVIRONMENT,
            f"A process that reads pictures {how}, probably for want of memory.",
            "Free memory, then run the same command again.",
        )
