"""The interface of stores: a local folder, or a prefix in a bucket."""

import hashlib
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.checksums import PART_BYTES, file_checksum, part_bytes, pieces, running
from boxcar.storage.local_files import os_errors, temporary_path
from boxcar.storage.parallel import in_order

ABSENT = "absent"  # in place of a tag: the object must not exist yet
_PROBE = ".conditions"  # the object that shows whether a server obeys conditions


@dataclass(frozen=True)
class StoredObject:
    """An object as its store lists it."""

    name: str  # relative to the store's folder
    bytes: int
    tag: str  # opaque; another one whenever the object is replaced
    checksum: str | None  # as in `checksums`; None if the store keeps none that can be computed here
    modified: float = 0.0  # seconds since the epoch, by the store's clock


class Missing(BoxcarError):
    """There is no such object, or a folder is empty."""

    def __init__(self, uri: str) -> None:
        super().__init__(ExitCode.USAGE, f"There is nothing at {uri}.", "Correct the URI, or run the step that writes it.")


class Changed(BoxcarError):
    """An object or a file is not (or no longer) the expected one."""

    def __init__(self, what: str) -> None:
        super().__init__(ExitCode.ENVIRONMENT, f"{what} was changed by another process meanwhile.", "Run this again.")


class Store(ABC):
    """Objects below one folder, named relative to it.

    Objects are written atomically: readers see the old one or the new one. All methods may be called from several threads.
    Methods that send requests retry transient errors and then raise BoxcarError 69 with the setting to correct.

    Args:
        uri: the folder's URI or path, for messages.
        server: the server's address, because several servers may have buckets of the same name; empty for a local folder.
    """

    def __init__(self, uri: str, server: str = "") -> None:
        self.uri = uri
        self.server = server

    @abstractmethod
    def entries(self, below: str = "") -> list[StoredObject]:
        """Everything below the folder, or below the folder `below` in it, sorted by name; empty if there is nothing. A
        bucket needs one request per 1,000 objects.
        """

    @abstractmethod
    def folders(self) -> list[str]:
        """The names of the folders directly below that hold anything, sorted.

        A bucket needs one request per 1,000 of them and of the objects next to them, regardless of their content. A bucket's
        folders are parts of object names, so a name may be empty or not be valid for a local folder.
        """

    @abstractmethod
    def read(self, name: str, start: int = 0, length: int | None = None, tag: str | None = None) -> bytes:
        """The bytes of an object from `start`: `length` bytes, or all to its end.

        Raises:
            Missing: if there is no such object.
            Changed: if `tag` is given and is not the object's tag.
        """

    @abstractmethod
    def entry(self, name: str) -> StoredObject | None:
        """The current state of an object; None if there is none."""

    def read_tagged(self, name: str) -> tuple[bytes, str]:
        """The bytes of an object and their tag, for a later `write` with `expected`.

        Raises:
            Missing: if there is no such object.
        """
        while (entry := self.entry(name)) is not None:
            try:
                return self.read(name, tag=entry.tag), entry.tag
            except Changed:
                continue  # replaced since; each time this happens, another writer has succeeded
        raise Missing(f"{self.uri}/{name}")

    def write(self, name: str, content: bytes, expected: str | None = None) -> str:
        """Creates or replaces an object.

        Args:
            name: of the object.
            content: its bytes. With `expected`, the content should name its writer, so that the writer recognizes its own
                object if the response was lost.
            expected: the tag that the object must have, or ABSENT; None for any.

        Returns:
            The object's new tag.

        Raises:
            Changed: if the object is not as expected.
        """
        return self._put(name, content, hashlib.sha256(content).hexdigest(), expected)

    @abstractmethod
    def _put(self, name: str, content: bytes, sha256: str, expected: str | None) -> str:
        """`write` of bytes that have this hash."""

    def require_conditions(self) -> None:
        """Checks that the server obeys `expected`. Some S3 implementations ignore it silently.

        Called when a model is created, because its later writes rely on it. Writes with a wrong tag to a small hidden object
        must fail.

        Raises:
            BoxcarError: 69 if they succeed.
        """
        # Never the same content twice: if tags are hashes, a second check must not make an old tag valid again.
        stale = self.write(_PROBE, secrets.token_hex(16).encode())
        self.write(_PROBE, secrets.token_hex(16).encode())
        for expected in (stale, ABSENT):
            try:
                self.write(_PROBE, secrets.token_hex(16).encode(), expected)
            except Changed:
                continue
            raise BoxcarError(
                ExitCode.ENVIRONMENT,
                f"{self.uri} does not enforce conditional writes: its server overwrites objects that have changed.",
                "Use a bucket on Amazon S3, Google Cloud Storage, or a recent MinIO, or a local folder.",
            )

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Removes objects. Missing objects are no error. Returns once all of them are gone."""

    @abstractmethod
    def _upload_large(self, file: int, size: int, name: str, sha256: str | None) -> None:
        """`upload` of the first `size` bytes of an open file, more than `PART_BYTES`."""

    def upload(self, path: Path, name: str, sha256: str | None = None, size: int | None = None) -> int:
        """Sends a file. The store verifies the upload by a checksum.

        Args:
            path: the file.
            name: the object's.
            sha256: the hash that the file must have; None for any.
            size: number of bytes from its start; None for its size when it is opened.

        Returns:
            The bytes of the object.

        Raises:
            FileNotFoundError: if there is no such file.
            Changed: if its hash differs. In that case no new object is written.
        """
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size if size is None else size
            if size <= PART_BYTES:
                content = os.pread(file.fileno(), size, 0)
                found = hashlib.sha256(content).hexdigest()
                if len(content) != size or sha256 not in (None, found):
                    raise Changed(str(path))
                self._put(name, content, found, None)
            else:
                self._upload_large(file.fileno(), size, name, sha256)
        return size

    def download(self, entry: StoredObject, path: Path, sha256: str | None = None) -> None:
        """Downloads an object to a file, which appears only when complete. Creates its folder if missing.

        Args:
            entry: of the object, from `entries`.
            path: the file.
            sha256: the hash that the object must have; without it the store's own checksum is verified.

        Raises:
            Missing, Changed: if the object is gone or has other bytes. In that case the file is unchanged.
        """
        kind = "sha256" if sha256 else (entry.checksum or "md5").split()[0]
        checksum = running(kind, entry.bytes)
        step = part_bytes(entry.bytes)
        ranges = [(start, min(step, entry.bytes - start)) for start in range(0, entry.bytes, step)]
        temporary = temporary_path(path)
        with os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not synced to the disk: after a power loss, a wrong hash shows that the file must be downloaded again.
                with temporary.open("wb", buffering=0) as file:

                    def fetch(part: tuple[int, int]) -> bytes:
                        content = self.read(entry.name, part[0], part[1], entry.tag)
                        _write_at(file.fileno(), content, part[0])
                        return content

                    for content in (in_order if len(ranges) > 1 else map)(fetch, ranges):
                        checksum.update(content)
                expected = f"sha256 {sha256}" if sha256 else self.checksum(entry)
                if expected not in (None, checksum.text()):
                    raise Changed(f"{self.uri}/{entry.name}")
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def same(self, entry: StoredObject, path: Path) -> bool:
        """Whether a file has an object's bytes. False if the store cannot tell without reading the object."""
        expected = self.checksum(entry)
        if expected is None or path.stat().st_size != entry.bytes:
            return False
        return file_checksum(path, expected) == expected

    def checksum(self, entry: StoredObject) -> str | None:
        """The checksum that an object's bytes must have; None if it is not known."""
        return entry.checksum


def _write_at(file: int, content: bytes, start: int) -> None:
    written = 0
    while written < len(content):  # a nearly full disk may take less, and reports an error only the next time
        written += os.pwrite(file, memoryview(content)[written:], start + written)


def expected_pieces(file: int, size: int, what: str, sha256: str | None) -> Iterator[bytes]:
    """The first `size` bytes of an open file in pieces of `part_bytes(size)`.

    If `sha256` is given, the hash of all pieces is checked before the last one is yielded. `what` is the file's name in
    messages.

    Raises:
        Changed: if the hash differs, or the file has become shorter.
    """
    checksum, left = hashlib.sha256(), size
    for piece in pieces(file, part_bytes(size)):
        piece = piece[:left]
        left -= len(piece)
        if sha256 is not None:
            checksum.update(piece)
            if left == 0 and checksum.hexdigest() != sha256:
                raise Changed(what)
        yield piece
        if left == 0:
            return
    if left:
        raise Changed(what)
