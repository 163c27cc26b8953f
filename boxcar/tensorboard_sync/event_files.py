"""A local copy of one run's event files."""

import re
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import COMMIT, EVENTS, OPEN
from boxcar.storage import Changed, Store, StoredObject
from boxcar.storage.checksums import PART_BYTES
from boxcar.storage.names import unfit

_EVENT_FILE = re.compile(rf"(?:{'|'.join(OPEN)})/{re.escape(EVENTS)}[^/]+")


class EventFiles:
    """The event files of a run, directly in its `train/` and `eval/`, in a local folder.

    Event files only grow, so a local file is always the beginning of the object. A file that was written anew is removed in one
    pass and downloaded in the next, because TensorBoard keeps reading an open file until it notices that the file is gone.

    Args:
        store: contains the run.
        run: the name of its folder in the store; empty if the store's folder is the run.
        into: the local copy of the store's folder.

    Attributes:
        closed: whether no more events will come: both steps are committed, and a later update found nothing new.
        quiet: how many of the last updates found nothing new in the run, including the trainer's heartbeat.
        unfit: a sentence for each event file that is left out, with the reason.
    """

    def __init__(self, store: Store, run: str, into: Path) -> None:
        self.closed = False
        self.quiet = 0
        self.unfit: list[str] = []
        self._store = store
        self._run = run
        self._prefix = f"{run}/" if run else ""
        self._into = into
        self._seen: list[StoredObject] | None = None  # the listing of the last complete update
        self._tags: dict[str, str] = {}  # of the objects that the local files equal

    @property
    def uri(self) -> str:
        return f"{self._store.uri}/{self._run}".rstrip("/")

    def update(self) -> None:
        """Lists the run, with one request per 1,000 objects, and downloads what is new.

        The next call continues after any error.

        Raises:
            Missing, Changed: if an object was removed or replaced meanwhile.
            BoxcarError: 69 if the store fails.
            OSError: if the disk fails.
        """
        self.quiet += 1  # also if this update fails: a run that cannot be read is not active
        listing = self._store.entries(self._run)
        there = self._event_files(listing)
        self._remove_others(set(there))
        for name, entry in there.items():
            if self._tags.get(name) != entry.tag:
                self._tags.pop(name, None)
                if self._fetch(entry):
                    self._tags[name] = entry.tag
        if listing != self._seen:
            self.quiet = 0
        # Events are uploaded before the commit, but a listing takes time: only the next one is sure to have all of them.
        self.closed = listing == self._seen and self._committed(listing)
        self._seen = listing
        if self.closed:
            self._seen, self._tags = None, {}  # no longer needed

    def _event_files(self, listing: list[StoredObject]) -> dict[str, StoredObject]:
        found = {}
        self.unfit = []
        for entry in listing:
            if not entry.name.rpartition("/")[2].startswith(EVENTS):
                continue
            if reason := unfit(entry.name):
                self.unfit.append(f"{self._store.uri} holds {entry.name!r}, which {reason}.")
            elif _EVENT_FILE.fullmatch(entry.name.removeprefix(self._prefix)):
                found[entry.name] = entry
        return found

    def _committed(self, listing: list[StoredObject]) -> bool:
        return {f"{self._prefix}{step}/{COMMIT}" for step in OPEN} <= {entry.name for entry in listing}

    def _remove_others(self, names: set[str]) -> None:
        for step in OPEN:
            for path in (self._into / self._run / step).glob("*"):
                if path.relative_to(self._into).as_posix() not in names:
                    path.unlink()
        self._tags = {name: tag for name, tag in self._tags.items() if name in names}

    def _fetch(self, entry: StoredObject) -> bool:
        """Appends the bytes that a file lacks. If the process is killed, the file is only shorter.

        Returns:
            Whether the file now equals the object. If not, it was a copy of an older object, and is removed.

        Raises:
            BoxcarError: 69 if a complete download does not have the store's checksum.
        """
        path = self._into / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        before = path.stat().st_size
        while (here := path.stat().st_size) < entry.bytes:
            content = self._store.read(entry.name, here, min(PART_BYTES, entry.bytes - here), entry.tag)
            if not content:
                raise Changed(f"{self._store.uri}/{entry.name}")
            # A disk that is nearly full may take less. The rest is requested again, and writing it then fails.
            with path.open("ab", buffering=0) as file:
                file.write(content)
        if here == entry.bytes:
            # If the store has no usable checksum, it must suffice that the file only grew.
            grown = before < here and self._store.checksum(entry) is None
            if grown or self._store.same(entry, path):
                return True
        path.unlink()
        if before == 0:
            what = f"{self._store.uri}/{entry.name} does not match the server's checksum after the download."
            raise BoxcarError(ExitCode.ENVIRONMENT, what, "Check the server's log and the network in between.")
        return False
