"""A local working folder for a URI, so that code that works on files need not know of buckets."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from boxcar.storage.store import Missing, StoredObject
from boxcar.storage.store_factory import open_store
from boxcar.sync.follower import Follower
from boxcar.sync.transfer import fetch_folder, latest_checkpoint, send_folder

_IN_STEP = ".in-step"  # among the folder's files: the hash of the `step.json` that was last the same here and there


class Mirror:
    """The folder itself for a path or a `file:` URI; for a bucket, a folder in the cache, kept between runs.

    A step calls `fetch` on what it reads, and works on what it writes inside `working`; while it works, a sidecar may call
    `follower().send()` again and again. Folders lie in the cache as they do in their bucket, so that the mirror of a run's
    `train/` is the folder `train` in the mirror of the run.

    Args:
        uri: a plain path, a `file:`, an `s3:` or a `gs:` URI.
        folder: in place of the one in the cache.

    Attributes:
        uri: as given; a bucket's without a slash at its end.
        remote: whether it is a bucket's.
        folder: where to work. The cache is BOXCAR_CACHE, else `boxcar` in XDG_CACHE_HOME or `~/.cache`.

    Raises:
        BoxcarError: 64 where the URI is not well-formed, 69 where a setting of the environment is not.
    """

    def __init__(self, uri: str, folder: Path | None = None) -> None:
        location = bucket_location(uri)
        self.uri = uri if location is None else location.uri
        self.remote = location is not None
        self._store = None if location is None else open_store(uri)
        if location is None or self._store is None:
            self.folder = local_path(uri)
        else:
            self.folder = folder or bucket_folder(location, self._store.server)

    def below(self, name: str) -> "Mirror":
        """The mirror of a folder in this one."""
        return Mirror(f"{self.uri}/{name}", self.folder / name) if self.remote else Mirror(str(self.folder / name))

    def fetch(self) -> Path:
        """Makes the folder what the bucket holds; only what differs travels.

        Returns:
            The folder. That a step in it is finished is for `require_commit` to say, as with any folder.

        Raises:
            BoxcarError: as `fetch_folder` does, and 69 where the folder holds a finished step that was never sent.
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
        """Makes the folder ready for a step that writes into it, with what was done of that step, here or elsewhere.

        The bucket's state is taken, and nothing where it has none. Work that is only here stays: a finished step that was
        not sent, and a started one whose latest checkpoint is not older than the bucket's.

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

    def send(self, owns: Sequence[str] | None = None) -> None:
        """Sends the finished step in the folder. Called again after an error, it continues where it was.

        Args:
            owns: as for `send_folder`.

        Raises:
            BoxcarError: as `send_folder` does.
        """
        if self._store is not None:
            with self._locked():
                send_folder(self.folder, self._store, owns)
                if (self.folder / COMMIT).exists():
                    _note(self.folder)

    @contextlib.contextmanager
    def working(self, owns: Sequence[str] | None = None) -> Iterator[Path]:
        """The folder to write a step into, as `resume` leaves it; what was finished in it is sent at the end.

        Args:
            owns: as for `send_folder`.
        """
        yield self.resume()
        self.send(owns)

    def fetch_some(self, wanted: Callable[[str], bool]) -> Path:
        """Makes those files of the folder that are `wanted`, by their names relative to it, what the bucket holds.

        Returns:
            The folder; other files in it stay as they are.

        Raises:
            BoxcarError: as `fetch_folder` does; that nothing is there is no error.
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
        """Brings one file of the folder here.

        Raises:
            Missing: where there is none.
        """
        if self._store is not None:
            content = self._store.read(name)
            make_folder((self.folder / name).parent)
            replace_bytes(self.folder / name, [content])
        return self.folder / name

    def take_files(self, names: Iterable[str]) -> None:
        """Makes these files here what they are in the bucket, also where they are not there."""
        if self._store is not None:
            for name in names:
                try:
                    self.fetch_file(name)
                except Missing:
                    (self.folder / name).unlink(missing_ok=True)

    def send_file(self, name: str) -> None:
        """Makes one file in the bucket what it is here, also where it is not."""
        if self._store is not None:
            try:
                content = (self.folder / name).read_bytes()
            except FileNotFoundError:
                self._store.delete([name])
            else:
                self._store.write(name, content)

    def names(self) -> set[str]:
        """The names directly in the folder, in the bucket or here."""
        if self._store is not None:
            return {entry.name.split("/")[0] for entry in self._store.entries()}
        return {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()

    def follower(self) -> Follower | None:
        """What sends the open step in the folder while it is written; None where the folder itself is what is read."""
        return None if self._store is None else Follower(self.folder, self._store)

    def _unsent(self) -> bool:
        """Whether a finished step is here that was never the same as the bucket's."""
        step, note = self.folder / COMMIT, self.folder / _IN_STEP
        return step.exists() and not (note.exists() and note.read_text(encoding="utf-8") == file_sha256(step))

    def _note_fetched(self) -> None:
        """Remembers that the finished steps here, also those in folders below, are the same there."""
        for name in list_files(self.folder):
            if name.rpartition("/")[2] == COMMIT:
                _note((self.folder / name).parent)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Has the folder for this process; another one that fetches into it is waited for, however long it takes."""
        with locked(make_folder(self.folder.parent) / f".{self.folder.name}.lock"):
            yield


def _note(folder: Path) -> None:
    """Remembers that the same finished step is here and in the bucket."""
    replace_text(folder / _IN_STEP, file_sha256(folder / COMMIT))
