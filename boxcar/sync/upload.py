"""Uploads the open steps of a run to its bucket while they are written to the local folder."""

import contextlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.checkpoints import write_stop
from boxcar.run.end_signals import handle_end
from boxcar.run.layout import COMMIT, CONFIGURATION, FAILURE, OPEN, RECORDS, STOP
from boxcar.storage import make_folder
from boxcar.sync.copies import claim_copy
from boxcar.sync.mirror import Mirror

PASS_SECONDS = 3.0
TRIES_AT_THE_END = 3  # each with the retries of `storage`


def fetch_run(run: str, into: Path | None = None) -> Path:
    """Downloads a run's settings, records, and what was trained and scored so far. Does nothing for a local run.

    Args:
        run: URI of the run's folder.
        into: replaces the folder in the cache.

    Returns:
        The folder.

    Raises:
        BoxcarError: 64 if the run has no records, or `into` holds anything but a copy of it; 65 if its files are not those
            that were uploaded; 69 if the bucket or the disk fails.
    """
    mirror = Mirror(run, into)
    if mirror.remote:
        if into is not None:
            claim_copy(make_folder(into), mirror.uri)
        mirror.take_files([CONFIGURATION, FAILURE])
        (mirror.folder / STOP).unlink(missing_ok=True)
        mirror.below(RECORDS).fetch()
        for name in OPEN:
            mirror.below(name).resume()
    return mirror.folder


class Uploader:
    """Uploads a run's open steps and its `failure.json` in passes.

    Args:
        run: URI of the run's folder, in a bucket.
        folder: the local folder; replaces the one in the cache.
    """

    def __init__(self, run: str, folder: Path | None = None) -> None:
        self._run = Mirror(run, folder)
        self._open = {name: self._run.below(name) for name in OPEN}
        self._followers = {name: mirror.follower() for name, mirror in self._open.items()}
        self._finished: set[str] = set()
        self._failure: bytes | None = None

    def send(self) -> None:
        """One pass.

        Raises:
            BoxcarError: 64 or 65 if a folder in the bucket or a local file is not the run's own; 69 if the bucket fails. The
                next pass continues where this one ended.
        """
        for name, follower in self._followers.items():
            assert follower is not None, "a bucket's mirror has one"
            if name in self._finished and (self._open[name].folder / COMMIT).exists():
                continue
            self._finished.discard(name)
            if follower.send():
                self._open[name].send()  # notes that both are equal now
                self._finished.add(name)
        path = self._run.folder / FAILURE
        failure = path.read_bytes() if path.exists() else None
        if failure != self._failure:
            self._run.send_file(FAILURE)
            self._failure = failure

    def follow(self, over: threading.Event, between: Callable[[], None] = lambda: None) -> None:
        """Repeats passes until `over` is set, then does the last one.

        If the bucket fails, the next pass tries again: nothing is lost while the local folder exists.

        Args:
            over: set when nothing more will be written.
            between: called after each pass.

        Raises:
            BoxcarError: as `send` does, but 69 only in the last pass.
        """
        failing = False
        while not over.wait(PASS_SECONDS):
            try:
                self.send()
                if failing:
                    _say(f"{self._run.uri} is reachable again.")
                failing = False
            except BoxcarError as error:
                if error.code != ExitCode.ENVIRONMENT:
                    raise
                if not failing:
                    _say(f"{error} New files are kept here and uploaded later.")
                failing = True
            between()
        for left in reversed(range(TRIES_AT_THE_END)):
            try:
                self.send()
                return
            except BoxcarError as error:
                if error.code != ExitCode.ENVIRONMENT or not left:
                    raise


class Uploading:
    """An `Uploader` in a thread, for as long as the `with` lasts.

    An error that no retry solves becomes the run's stop request, so that training does not continue for hours without being
    saved. An error in the last pass is raised, unless the block itself raised one.
    """

    def __init__(self, run: str) -> None:
        self._uploader = Uploader(run)
        self._folder = Mirror(run).folder
        self._over = threading.Event()
        self._error: BoxcarError | None = None
        self._thread = threading.Thread(target=self._follow, name="uploader")

    def __enter__(self) -> "Uploading":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None:
            if kind is None:
                raise self._error
            _say(str(self._error))

    def _follow(self) -> None:
        try:
            self._uploader.follow(self._over)
        except BoxcarError as error:
            self._error = error
            if not self._over.is_set():
                write_stop(self._folder, error)


def uploading(run: str) -> contextlib.AbstractContextManager[object]:
    """`Uploading` for a run in a bucket; nothing for a local one."""
    return Uploading(run) if Mirror(run).remote else contextlib.nullcontext()


def upload_beside(run: str, folder: Path, orphaned: Callable[[], BoxcarError | None] | None = None) -> None:
    """The uploader as a native sidecar. It uploads until SIGTERM, then once more, and returns.

    Args:
        run: URI of the run's folder.
        folder: the local folder.
        orphaned: called after each pass. Returns why the run must end because its watcher is gone, or None.

    Raises:
        BoxcarError: as `Uploader.follow`. An error before SIGTERM also becomes the run's stop request.
    """
    over = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        over.set()

    handle_end(stop)

    def between() -> None:
        if orphaned is not None and not (folder / STOP).exists() and (reason := orphaned()) is not None:
            write_stop(folder, reason)
            _say(str(reason))

    try:
        Uploader(run, folder).follow(over, between)
    except BoxcarError as error:
        if not over.is_set():
            write_stop(folder, error)
            _say(str(error))
            over.wait()  # if the sidecar ended here, Kubernetes would restart it, and it would fail again
        raise


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
