"""Child processes that check images and write shards.

They are spawned, not forked, so that they stay small even if the caller has loaded TensorFlow.
"""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import shown

MOST_WORKERS = 3  # each needs about 25 MB; with two, 100,000 images need less than 150 MB in all
_AHEAD = 1  # tasks that are prepared before a process is free; one may contain 5,000 images

Task = TypeVar("Task")
Result = TypeVar("Result")

_note: int | None = None  # in a worker: the file with the name of the image that it reads


class WorkerPool:
    """A pool of processes that end when this process ends for any reason.

    Args:
        folder: an empty folder in which each worker notes the image that it is reading.
    """

    def __init__(self, folder: Path) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._count = min(cores, MOST_WORKERS)
        self._folder = folder
        self._others = multiprocessing.active_children()
        self._processes: list[BaseProcess] = []
        self._executor = ProcessPoolExecutor(
            self._count, multiprocessing.get_context("spawn"), initializer=_initialize, initargs=(str(folder),)
        )
        try:
            for _ in range(self._count):
                self._submit(int, "0")  # starts a process
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.kill()
        self.close()

    def close(self) -> None:
        """Ends the processes after their current tasks."""
        self._executor.shutdown()

    def kill(self) -> None:
        """Kills all processes at once and waits until they are gone."""
        for process in self._processes:
            process.kill()
        self._executor.shutdown()

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Calls a function with each task, and yields the results as they come, in no particular order.

        Raises:
            BoxcarError: what the function raised; 69 if a process was killed.
        """
        waiting = iter(tasks)
        running: dict[Future[Result], Task] = {}
        try:
            while True:
                for task in islice(waiting, self._count + _AHEAD - len(running)):
                    running[self._submit(function, task)] = task
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise self._lost() from error

    def _submit(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        """Gives a task to the executor, which starts another process if none is idle and there are fewer than `_count`."""
        if len(self._processes) == self._count:
            return self._executor.submit(function, task)
        with _interrupts_held():
            future = self._executor.submit(function, task)
            self._processes = [child for child in multiprocessing.active_children() if child not in self._others]
        return future

    def _lost(self) -> BoxcarError:
        self._executor.shutdown()  # the executor ends the others with SIGTERM
        for process in self._processes:
            code = process.exitcode or 0
            if code not in (0, -signal.SIGTERM):
                how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                note = self._folder / str(process.pid)
                image = os.fsdecode(note.read_bytes().partition(b"\0")[0]) if note.exists() else ""
                at = f" while it read {shown(image)}" if image else ""
                return BoxcarError(
                    ExitCode.ENVIRONMENT,
                    f"A process that reads images {how}{at}.",
                    "Free memory. If it fails at the same image again, remove that image.",
                    again=True,
                )
        return BoxcarError(ExitCode.ENVIRONMENT, "The processes that read images were stopped.", "", again=True)


_OF_A_TERMINAL = (signal.SIGINT, signal.SIGHUP)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delays Ctrl-C and SIGHUP until the block ends, and hides them from processes that start in the block.

    A terminal sends both to all processes, but only this one is to act. Processes inherit the mask. The handler is needed as
    well, because another thread, such as NumPy's, may receive the signal, and KeyboardInterrupt would leave a process half
    started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    handlers = {one: signal.getsignal(one) for one in _OF_A_TERMINAL}
    for one, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(one, lambda number, frame: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_A_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for one, handler in handlers.items():
            signal.signal(one, handler)
        if held:
            signal.raise_signal(held[0])


def note_image(name: str) -> None:
    """Notes the image that this worker reads next, for the error message if the worker is killed."""
    if _note is not None:
        os.pwrite(_note, os.fsencode(name) + b"\0", 0)


def _initialize(folder: str) -> None:
    """Initializes a worker."""
    global _note
    _note = os.open(Path(folder) / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    warnings.simplefilter("ignore")  # Pillow warns about problems that are checked here anyway
    # The executor's pipe stays open in its children, so nothing else would end them with their parent.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
