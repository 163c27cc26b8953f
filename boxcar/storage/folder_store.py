"""A local folder as a store."""

import contextlib
import filecmp
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from boxcar.storage.local_files import is_temporary, lock, make_folder, os_errors, replace_bytes
from boxcar.storage.store import ABSENT, Changed, Missing, Store, StoredObject, expected_pieces


class FolderStore(Store):
    """The files below a folder, including hidden ones, but without the remains of interrupted writes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._folder = folder

    def entries(self, below: str = "") -> list[StoredObject]:
        with os_errors(self._folder):
            paths = list(_files(self._folder / below))
        entries = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # removed since
                entries.append(self._entry(path))
        return sorted(entries, key=lambda entry: entry.name)

    def folders(self) -> list[str]:
        with os_errors(self._folder):
            folders = [path for path in self._folder.glob("*") if path.is_dir()]
            # A bucket has no folders that could be empty.
            return sorted(path.name for path in folders if any(_files(path)))

    def read(self, name: str, start: int = 0, length: int | None = None, tag: str | None = None) -> bytes:
        try:
            with (self._folder / name).open("rb") as file:
                if tag is not None and _tag(os.fstat(file.fileno())) != tag:
                    raise Changed(f"{self.uri}/{name}")
                file.seek(start)
                return file.read(-1 if length is None else length)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Missing(f"{self.uri}/{name}") from error

    def entry(self, name: str) -> StoredObject | None:
        try:
            return self._entry(self._folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _put(self, name: str, content: bytes, sha256: str, expected: str | None) -> str:
        path = self._folder / name
        if expected is None:
            self._replace(path, [content])
            return _tag(path.stat())
        descriptor = lock(make_folder(path.parent))
        try:
            before = path.stat() if path.exists() else None
            if (ABSENT if before is None else _tag(before)) != expected:
                raise Changed(str(path))
            self._replace(path, [content])
            after = path.stat()
            if before is not None and after.st_mtime_ns <= before.st_mtime_ns:
                # Within one tick of the clock, or behind it if it was set back: newer must never look like older.
                os.utime(path, ns=(after.st_atime_ns, before.st_mtime_ns + 1))
            return _tag(path.stat())
        finally:
            os.close(descriptor)

    def delete(self, names: Iterable[str]) -> None:
        with os_errors(self._folder):
            for path in [self._folder / name for name in names]:
                path.unlink(missing_ok=True)
                # A bucket has no folders that could be empty.
                while path.parent != self._folder and path.parent.is_dir() and not any(path.parent.iterdir()):
                    path = path.parent
                    path.rmdir()

    def same(self, entry: StoredObject, path: Path) -> bool:
        try:
            return filecmp.cmp(self._folder / entry.name, path, shallow=False)
        except FileNotFoundError:
            return False

    def _upload_large(self, file: int, size: int, name: str, sha256: str | None) -> None:
        self._replace(self._folder / name, expected_pieces(file, size, name, sha256))

    def _replace(self, path: Path, content: Iterable[bytes]) -> None:
        make_folder(path.parent)
        replace_bytes(path, content)

    def _entry(self, path: Path) -> StoredObject:
        status = path.stat()
        return StoredObject(path.relative_to(self._folder).as_posix(), status.st_size, _tag(status), None, status.st_mtime)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not is_temporary(path.name))


def _tag(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
