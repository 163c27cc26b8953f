"""A local working folder that stands for a URI, so that whoever works on files need not know of buckets."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.follow import Follower
from boxcar.storage.local import file_sha256, list_files, local_path, make_folder, replace_text, surroundings
from boxcar.storage.location import bucket_location, open_store
from boxcar.storage.store import Missing, Store
from boxcar.storage.transfer import BEGUN, STEP, fetch_folder, latest_checkpoint, send_folder

_IN_STEP = ".in-step"  # beside the folder's files: the hash of the `step.json` that was last the same here and there


class Mirror:
    """The folder itself for a path or a `file:` URI; for a bucket, a folder in the cache, kept between runs.

    A step calls `fetch` on what it reads. On what it writes it calls `resume` before and `send` after; while it works, a
    sidecar may call `follower().send()` again and again.

    Args:
        uri: a plain path, a `file:`, an `s3:` or a `gs:` URI.

    Attributes:
        folder: where to work. The cache is BOXCAR_CACHE, else `boxcar` in XDG_CACHE_HOME or `~/.cache`.

    Raises:
        BoxcarError: 64 where the URI is not well-formed, 69 where a setting of the environment is not.
    """

    def __init__(self, uri: str) -> None:
        location = bucket_location(uri)
        self.uri = uri if location is None else location.uri
        self._store = None if location is None else open_store(uri)
        self.folder = local_path(uri) if self._store is None else _cache_folder() / "buckets" / _key(self._store)

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
                    what = f"{self.folder} holds a finished step that was never sent to {self.uri}."
                    do = "Run that step again, which sends it, or remove that folder."
                    raise BoxcarError(ExitCode.SURROUNDINGS, what, do)
                fetch_folder(self._store, self.folder)
                self._note()
        return self.folder

    def resume(self) -> Path:
        """Makes the folder ready for a step that writes into it, with what was done of that step, here or elsewhere.

        The bucket's state is taken, and nothing where it has none. Work that is only here stays: a finished step that was
        not sent, and a begun one whose latest checkpoint is not older than the bucket's.

        Raises:
            BoxcarError: as `fetch_folder` does.
        """
        if self._store is not None:
            with self._locked():
                make_folder(self.folder)
                begun = (self.folder / BEGUN).exists()
                if self._unsent():
                    return self.folder
                there = [entry.name for entry in self._store.entries()]
                if begun and STEP not in there and latest_checkpoint(there) <= latest_checkpoint(list_files(self.folder)):
                    return self.folder
                with contextlib.suppress(Missing):
                    fetch_folder(self._store, self.folder)
                    self._note()
        return self.folder

    def send(self, owns: Sequence[str] | None = None) -> None:
        """Sends the finished step in the folder. Called again after an error, it goes on where it was.

        Args:
            owns: as for `send_folder`.

        Raises:
            BoxcarError: as `send_folder` does.
        """
        if self._store is not None:
            with self._locked():
                send_folder(self.folder, self._store, owns)
                self._note()

    def follower(self) -> Follower | None:
        """What sends the open step in the folder while it is written; None where the folder itself is what is read."""
        return None if self._store is None else Follower(self.folder, self._store)

    def _unsent(self) -> bool:
        """Whether a finished step lies here that was never the same as the bucket's."""
        step, note = self.folder / STEP, self.folder / _IN_STEP
        return step.exists() and not (note.exists() and note.read_text(encoding="utf-8") == file_sha256(step))

    def _note(self) -> None:
        """Remembers that here and there the same finished step lies, where one does."""
        step = self.folder / STEP
        if step.exists():
            replace_text(self.folder / _IN_STEP, file_sha256(step))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Has the folder for this process; another one that fetches into it is waited for, however long it takes."""
        path = make_folder(self.folder.parent) / f"{self.folder.name}.lock"
        with surroundings(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _cache_folder() -> Path:
    named = os.environ.get("BOXCAR_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "boxcar"


def _key(store: Store) -> str:
    """A folder's name for a store: readable at its end, and different for buckets of the same name on different servers."""
    digest = hashlib.sha256(f"{store.server} {store.uri}".encode()).hexdigest()[:16]
    return f"{digest}-{store.uri.rpartition('/')[2]}"[:80]
