"""The local folder: atomic writes of whole files, locks, and file hashes."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from boxcar.errors import BoxcarError, ExitCode, Refused

_TEMPORARY = ".tmp"


def local_path(uri: str | os.PathLike[str]) -> Path:
    """The path that a plain path or a `file:` URI names.

    Raises:
        BoxcarError: 64 for a scheme that is not supported here.
    """
    text = os.fspath(uri)
    if not text:
        raise BoxcarError(ExitCode.USAGE, "An empty path was given.", "Give a folder or a file.")
    if text[:5].lower() == "file:":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise BoxcarError(ExitCode.USAGE, f"{text} names a file on another host.", "Write file:/// and an absolute path.")
        if parts.query or parts.fragment:
            do = "Write %3F for ? and %23 for #, or give a plain path."
            raise BoxcarError(ExitCode.USAGE, f"{text} has a ? or # in its path, which a URI cannot have.", do)
        return _without_parents(Path(os.fsdecode(unquote_to_bytes(parts.path))))
    if "://" in text:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{text} is not on this machine.",
            "Give a local path. Where a bucket is allowed, write s3://bucket/folder or gs://bucket/folder.",
        )
    try:
        return _without_parents(Path(text).expanduser())
    except RuntimeError as error:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{text} names the home folder of a user who does not exist here.",
            "Write the folder's whole path.",
        ) from error


def _without_parents(path: Path) -> Path:
    """The same place without `..`. Else `x/../photos` would be no folder until `x` is created, and then be `photos`."""
    return path.resolve() if ".." in path.parts else path


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turns errors of the operating system in its block into exit code 69 with the path and the reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{error.filename or path} cannot be written: {reason}.",
            "Free disk space, or choose a folder that you can write to.",
            again=True,
        ) from error


def make_folder(path: Path) -> Path:
    """Creates the folder and missing parents; 69 if that is not permitted."""
    with os_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def replace_text(path: Path, text: str) -> None:
    """Writes a whole file atomically: readers see the old file or the new one, even after a power loss.

    Bytes of a file name that are not UTF-8 are written as escapes such as `\\udce4`, from which JSON has them back.
    """
    replace_bytes(path, [text.encode("utf-8", "backslashreplace")])


def replace_bytes(path: Path, pieces: Iterable[bytes]) -> None:
    """`replace_text` for bytes in pieces, which need not be in memory at once."""
    temporary = temporary_path(path)
    with os_errors(path):
        try:
            with temporary.open("wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def temporary_path(path: Path) -> Path:
    """The path to which a file is written before it gets its name. It is unique for each thread on a machine."""
    return path.with_name(f".{path.name}.{threading.get_native_id()}{_TEMPORARY}")


def is_temporary(name: str) -> bool:
    """Whether a file of this name is the remains of an interrupted write."""
    return name.startswith(".") and name.endswith(_TEMPORARY)


def replace_json(path: Path, value: Any) -> None:
    """`replace_text` with a value as indented JSON. NaN and infinity are refused, because JSON cannot represent them."""
    replace_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_whole_lines(path: Path) -> list[str]:
    """The complete lines of a file that is appended to; empty if there is no file. Leaves out a last line without a line
    break, because it is still being written or was cut short, perhaps within a character.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    # Not `splitlines`, which also splits at characters that JSON leaves as they are, such as U+2028.
    return content[: content.rfind(b"\n") + 1].decode("utf-8").split("\n")[:-1]


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, for instance after a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(path: Path, patience_seconds: float = 10.0) -> int:
    """Locks an existing file or folder for this process, until the returned descriptor is closed or the process ends.

    Raises:
        BoxcarError: 69 if another process holds it for longer than that.
    """
    with os_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= until:
                break
            time.sleep(0.1)
    os.close(descriptor)
    what = f"Another process is using {path}."
    raise Refused(ExitCode.ENVIRONMENT, what, "Wait for it, or end it.", again=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file, which is created if it is missing. Waits for another process that holds it, however long it takes.

    Raises:
        BoxcarError: 69 if it cannot be created, or the file system has no locks.
    """
    with os_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with os_errors(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Removes a file, a link, or a folder with everything below it. Does nothing if there is none."""
    with os_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def list_files(folder: Path) -> list[str]:
    """All files below a folder as sorted POSIX paths relative to it; hidden names are left out."""
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error  # by default, os.walk skips folders that cannot be read


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> tuple[str, int]:
    """SHA-256 of the sorted lines `<sha256>  <relative path>` of all files below a folder, and their total bytes."""
    lines = sorted(f"{file_sha256(folder / name)}  {name}" for name in list_files(folder))
    size = sum((folder / name).stat().st_size for name in list_files(folder))
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest(), size
