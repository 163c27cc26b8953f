"""A local working folder for a URI, so that code that works on files does not depend on buckets."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import COMMIT, UNFINISHED
from boxcar.storage.cache import bucket_folder
from boxcar.storage.local_files import (
    file_sha256,
    list_files,
    local_path,
    locked,
    make_folder,
    replace_bytes,
    replace_text,
)
from boxcar.storage.location import bucket_location
from boxcar.storage.names import check_names
from boxcar.storage.parallel import for_each
from boxcar.storage.plain_path import is_text
from boxcar.storage.store import Missing, StoredObject
from boxcar.storage.store_factory import open_store
from boxcar.sync.follower import Follower
from boxcar.sync.transfer import fetch_folder, latest_checkpoint, send_folder

_IN_STEP = ".in-step"  # in the folder: the hash of the `step.json` that was last equal here and in the bucket


class Mirror:
    """The folder itself for a path or a `file:` URI; for a bucket, a folder in the cache, kept between runs.

    A step calls `fetch` for what it reads, and writes inside `working`. While it works, a sidecar may call `follower().send()`
    repeatedly. The cache has the same folders as the bucket, so the mirror of a run's `train/` is the folder `train` in the
    run's mirror.

    Args:
        uri: a plain path, a `file:`, an `s3:` or a `gs:` URI.
        folder: replaces the one in the cache.

    Attributes:
        uri: as given, but a bucket's without a trailing slash.
        remote: whether it is a bucket's.
        folder: the local folder.

    Raises:
        BoxcarError: 64 if the URI is not well-formed or a path is not UTF-8; 69 if a setting in the environment is not.
    """

    def __init__(self, uri: str, folder: Path | None = None) -> None:
        location = bucket_location(uri)
        self.uri = uri if location is None else location.uri
        self.remote = location is not None
        self._store = None if location is None else open_store(uri)
        if location is None or self._store is None:
            self.folder = local_path(uri)
            if not is_text(uri):
                what = f"The name of the folder {uri!r} is not UTF-8."
                raise BoxcarError(ExitCode.USAGE, what, "Rename it; file names in it may have any encoding.")
        else:
            self.folder = folder or bucket_folder(location, self._store.server)

    def below(self, name: str) -> "Mirror":
        """The mirror of a folder in this one."""
        return Mirror(f"{self.uri}/{name}", self.folder / name) if self.remote else Mirror(str(self.folder / name))

    def fetch(self) -> Path:
        """Makes the folder equal to the bucket's. Downloads only what differs.

        Returns:
            The folder. Check with `require_commit` whether it contains a finished step.

        Raises:
            BoxcarError: as `fetch_folder` does; 69 if the folder contains a finished step that was never uploaded.
        """
        if self._store is not None:
            with self._locked():
                if self._unsent():
                    what = f"{self.folder} holds a finished step that was never uploaded to {self.uri}."
                    do = "Run that step again to upload it, or remove that folder."
                    raise BoxcarError(ExitCode.ENVIRONMENT, what, do)
                fetch_folder(self._store, self.folder)
                self._note_fetched()
        return self.folder

    def resume(self) -> Path:
        """Prepares the folder for a step that writes into it, with what that step has already done, here or elsewhere.

        Fetches the bucket's state, if there is any. Keeps work that exists only here: a finished step that was not uploaded,
        and a started one whose latest checkpoint is not older than the bucket's.

        Raises:
            BoxcarError: as `fetch_folder` does.
        """
        if self._store is not None:
            with self._locked():
                make_folder(self.folder)
                started = (self.folder / UNFINISHED).exists()
                if self._unsent():
                    return self.folder
                there = [entry.name for entry in self._store.entries()]
                if started and COMMIT not in there and latest_checkpoint(there) <= latest_checkpoint(list_files(self.folder)):
                    return self.folder
                with contextlib.suppress(Missing):
                    fetch_folder(self._store, self.folder)
                    self._note_fetched()
        return self.folder

    def send(self, owns: Sequence[str] | None = None, uploaded: Set[str] = frozenset()) -> None:
        """Uploads the finished step in the folder. A call after an error continues the upload.

        Args:
            owns, uploaded: as for `send_folder`.

        Raises:
            BoxcarError: as `send_folder` does.
        """
        if self._store is not None:
            with self._locked():
                send_folder(self.folder, self._store, owns, uploaded)
                if (self.folder / COMMIT).exists():
                    _note(self.folder)

    @contextlib.contextmanager
    def working(self, owns: Sequence[str] | None = None) -> Iterator[Path]:
        """The folder to write a step into, prepared by `resume`. The finished step is uploaded at the end.

        Args:
            owns: as for `send_folder`.
        """
        yield self.resume()
        self.send(owns)

    def fetch_some(self, wanted: Callable[[str], bool]) -> Path:
        """Makes some files of the folder equal to the bucket's. Other files in it stay as they are.

        Args:
            wanted: whether to fetch a file, by its name relative to the folder.

        Returns:
            The folder.

        Raises:
            BoxcarError: as `fetch_folder` does, but not if there is nothing.
        """
        if self._store is not None:
            store = self._store
            with self._locked():
                there = {entry.name: entry for entry in store.entries() if wanted(entry.name)}
                check_names(there, self.uri)
                for name in list_files(make_folder(self.folder)):
                    if wanted(name) and name not in there:
                        (self.folder / name).unlink()

                def fetch(entry: StoredObject) -> None:
                    path = self.folder / entry.name
                    if not (path.is_file() and store.same(entry, path)):
                        store.download(entry, path)

                for_each(fetch, there.values())
        return self.folder

    def fetch_file(self, name: str) -> Path:
        """Downloads one file of the folder.

        Raises:
            Missing: if there is no such file.
        """
        if self._store is not None:
            content = self._store.read(name)
            make_folder((self.folder / name).parent)
            replace_bytes(self.folder / name, [content])
        return self.folder / name

    def take_files(self, names: Iterable[str]) -> None:
        """Makes these local files equal to the bucket's; removes those that the bucket does not have."""
        if self._store is not None:
            for name in names:
                try:
                    self.fetch_file(name)
                except Missing:
                    (self.folder / name).unlink(missing_ok=True)

    def send_file(self, name: str) -> None:
        """Makes one file in the bucket equal to the local one; removes it if there is none."""
        if self._store is not None:
            try:
                content = (self.folder / name).read_bytes()
            except FileNotFoundError:
                self._store.delete([name])
            else:
                self._store.write(name, content)

    def names(self) -> set[str]:
        """The names directly in the bucket's folder, or in the local one if there is no bucket."""
        if self._store is not None:
            return {entry.name.split("/")[0] for entry in self._store.entries()}
        return {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()

    def follower(self) -> Follower | None:
        """The uploader of the folder's open step; None if there is no bucket."""
        return None if self._store is None else Follower(self.folder, self._store)

    def _unsent(self) -> bool:
        """Whether the folder contains a finished step that was never equal to the bucket's."""
        step, note = self.folder / COMMIT, self.folder / _IN_STEP
        return step.exists() and not (note.exists() and note.read_text(encoding="utf-8") == file_sha256(step))

    def _note_fetched(self) -> None:
        """Notes that the finished steps here, including those in folders below, are equal to the bucket's."""
        for name in list_files(self.folder):
            if name.rpartition("/")[2] == COMMIT:
                _note((self.folder / name).parent)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Locks the folder for this process. Waits for another process that fetches into it, however long it takes."""
        with locked(make_folder(self.folder.parent) / f".{self.folder.name}.lock"):
            yield


def _note(folder: Path) -> None:
    """Notes that the finished step here is equal to the bucket's."""
    replace_text(folder / _IN_STEP, file_sha256(folder / COMMIT))
