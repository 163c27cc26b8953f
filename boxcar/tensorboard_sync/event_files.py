"""One run's event files, kept in step with a store."""

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

    They are only ever appended to, in the store and so here: a file here is always the beginning of what it will be. One that
    was written again from the start is removed in one pass and fetched in the next, because TensorBoard keeps reading the
    file that it has open unless it has seen that it is gone.

    Args:
        store: that holds the run.
        run: the name of its folder in the store; empty where the store's folder is the run.
        into: the local copy of the store's folder.

    Attributes:
        closed: no event will ever come: both steps have been committed, and a look after that found nothing new.
        quiet: how many looks in a row, the last ones, found nothing new in the run, the trainer's heartbeat included.
        unfit: event files that are left out, as the sentences that say why.
    """

    def __init__(self, store: Store, run: str, into: Path) -> None:
        self.closed = False
        self.quiet = 0
        self.unfit: list[str] = []
        self._store = store
        self._run = run
        self._prefix = f"{run}/" if run else ""
        self._into = into
        self._seen: list[StoredObject] | None = None  # the listing of the last look that came to its end
        self._tags: dict[str, str] = {}  # of the objects that are here, byte for byte

    @property
    def uri(self) -> str:
        return f"{self._store.uri}/{self._run}".rstrip("/")

    def look(self) -> None:
        """Lists the run, for one request per 1,000 objects, and fetches what is new.

        Raises:
            Missing, Changed: where an object was removed or replaced meanwhile; the next look sees what became of it.
            BoxcarError: 69 where the store fails. The next look continues where this one ended.
            OSError: where the disk does; likewise.
        """
        self.quiet += 1  # also where this look fails: what can never be read is no sign of life
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
        # Events are sent before the commit, but a listing is not of one moment: only the next one is sure to have them all.
        self.closed = listing == self._seen and self._committed(listing)
        self._seen = listing
        if self.closed:
            self._seen, self._tags = None, {}  # they are not needed again

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
        """Appends the bytes that a file lacks; a kill leaves it shorter, and no more.

        Returns:
            Whether the file then is the object. Where it is not, it was another one before, and is removed.

        Raises:
            BoxcarError: 69 where all of it was fetched, and is not what the store says.
        """
        path = self._into / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        before = path.stat().st_size
        while (here := path.stat().st_size) < entry.bytes:
            content = self._store.read(entry.name, here, min(PART_BYTES, entry.bytes - here), entry.tag)
            if not content:
                raise Changed(f"{self._store.uri}/{entry.name}")
            # A disk that is nearly full takes less. What it did not take is asked for again, and then it refuses.
            with path.open("ab", buffering=0) as file:
                file.write(content)
        if here == entry.bytes:
            # Where the store cannot say what the bytes must be, that the file only grew has to do.
            grown = before < here and self._store.checksum(entry) is None
            if grown or self._store.same(entry, path):
                return True
        path.unlink()
        if before == 0:
            what = f"{self._store.uri}/{entry.name} does not match the server's checksum after the download."
            raise BoxcarError(ExitCode.ENVIRONMENT, what, "Check the server's log and the network in between.")
        return False
