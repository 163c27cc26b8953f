"""Uploads an open step's folder while it is written, so that the bucket shows what the folder shows."""

from pathlib import Path

from boxcar.run.layout import CHECKPOINT_FILE, COMMIT, UNFINISHED
from boxcar.storage.local_files import list_files
from boxcar.storage.store import Changed, Store
from boxcar.sync.transfer import check_taken, is_marker, listed_files, send_folder

Status = tuple[int, int]  # a file's size, and when it was changed


class Follower:
    """Uploads, in each pass, what is new in a step's folder since the last one.

    - A checkpoint is uploaded once its marker exists: its files first, then the marker. After retention has removed it here,
      its marker and then its files are removed from the store.
    - A `.jsonl` file is uploaded up to its last whole line, any other growing file as it is, each time it has grown.
    - Other `.json` files (`status.json`) are read first and uploaded last, so that what they refer to is already there.
    - When `step.json` exists, the folder is uploaded as a finished step's.

    Args:
        folder: the step's local folder.
        store: the upload's destination. The only objects removed from it are an old `step.json` and checkpoints that this
            follower uploaded itself. The local folder may still be incomplete, so other missing files prove nothing.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._started: bytes | None = None
        self._sent: dict[str, Status] = {}  # as the files were when they were sent

    def send(self) -> bool:
        """One pass.

        Returns:
            Whether the step has finished and all of it is in the store.

        Raises:
            BoxcarError: as `send_folder` does. The next pass continues where this one ended.
        """
        if (self._folder / COMMIT).exists():
            send_folder(self._folder, self._store)
            return True
        started = _read(self._folder / UNFINISHED)
        if started is None:
            return False
        if started != self._started:
            self._start(started)
        now = {name: status for name in list_files(self._folder) if (status := _status(self._folder / name)) is not None}
        new = [name for name, status in now.items() if self._sent.get(name) != status]
        replaced = {name: content for name in new if _is_replaced(name) and (content := _read(self._folder / name)) is not None}
        self._remove_checkpoints(set(now))
        for name in new:
            if not CHECKPOINT_FILE.match(name) and not _is_replaced(name):
                self._send_grown(name, now[name])
        for name in new:
            if is_marker(name):
                self._send_checkpoint(name, now)
        for name, content in replaced.items():
            self._store.write(name, content)
            self._sent[name] = now[name]
        return False

    def _start(self, started: bytes) -> None:
        """Marks the step as started in the store, and finds out what an earlier follower has uploaded."""
        there = {entry.name: entry for entry in self._store.entries()}
        check_taken(self._store, there)
        if UNFINISHED not in there or self._store.read(UNFINISHED) != started:
            self._store.write(UNFINISHED, started)
        self._store.delete([COMMIT])
        self._sent = {}
        for name in list_files(self._folder):
            status = _status(self._folder / name)
            if status is not None and name in there and self._store.same(there[name], self._folder / name):
                self._sent[name] = status
        self._started = started

    def _remove_checkpoints(self, here: set[str]) -> None:
        """Removes checkpoints from the store that were removed here."""
        gone = [name for name in self._sent if is_marker(name) and name not in here]
        self._store.delete(gone)
        files = [name for name in self._sent for marker in gone if name.startswith(marker.removesuffix("json"))]
        self._store.delete(name for name in files if name not in gone)
        for name in files:
            del self._sent[name]

    def _send_grown(self, name: str, status: Status) -> None:
        path = self._folder / name
        try:
            size = _whole_lines(path) if name.endswith(".jsonl") else status[0]
            self._store.upload(path, name, size=size)
        except (FileNotFoundError, Changed):
            return  # it was removed or became shorter meanwhile; the next pass uploads what is left
        self._sent[name] = status

    def _send_checkpoint(self, marker: str, now: dict[str, Status]) -> None:
        content = _read(self._folder / marker)
        if content is None:
            return
        if marker in self._sent:
            self._store.delete([marker])  # this is another checkpoint of the same name
            del self._sent[marker]
        for name, record in listed_files({marker: content}).items():
            if name not in now:
                return
            if self._sent.get(name) != now[name]:
                try:
                    self._store.upload(self._folder / name, name, record["sha256"])
                except (FileNotFoundError, Changed):
                    return  # retention removed it, or it is being written again
                self._sent[name] = now[name]
        self._store.write(marker, content)
        self._sent[marker] = now[marker]


def _is_replaced(name: str) -> bool:
    """Whether a changed file was replaced as a whole rather than appended to."""
    return name.endswith(".json") and not is_marker(name)


def _whole_lines(path: Path) -> int:
    """The bytes of a file up to the end of its last whole line."""
    return path.read_bytes().rfind(b"\n") + 1


def _status(path: Path) -> Status | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
