"""The folder that `--data` names: one on this machine, the copy of a bucket's, or the content of an archive."""

import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.cache import uri_of
from boxcar.storage.local_files import os_errors
from boxcar.sync.mirror import Mirror

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
# Images hardly shrink, and labels to a twentieth. What grows more, and is large, is made to fill a disk.
_MOST_GROWTH = 100
_SMALL = 1 << 30  # bytes
_MOST_FILES = 5_000_000
_PIECE = 1 << 20
# What the readers of archives raise for damaged ones.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError)


@contextmanager
def data_folder(data: str) -> Iterator[Path]:
    """The folder with a person's images and labels. An archive is unpacked into a temporary folder.

    Args:
        data: URI of a folder, or path of a .zip, .tar, .tar.gz, or .tgz file.

    Raises:
        BoxcarError: 64 if there is no such folder; 65 for an archive that is damaged, or that holds links, names that lead out
            of it, other archives, or far more than its size lets expect; 69 if it cannot be read or unpacked.
    """
    source = Mirror(data)
    if source.remote:
        yield source.fetch()
    elif source.folder.is_file() and source.folder.name.lower().endswith(_ARCHIVES):
        with tempfile.TemporaryDirectory(prefix="boxcar-") as temporary:
            folder = Path(temporary, source.folder.name)  # whose name messages show
            _unpack(source.folder, folder)
            yield folder
    else:
        if not source.folder.is_dir():
            what = f"There is no folder {uri_of(source.folder)}."
            if source.folder.exists():
                what = f"{uri_of(source.folder)} is neither a folder nor an archive that Boxcar reads."
            do = f"Give the folder of your labeled images as --data, or an archive ({', '.join(_ARCHIVES)})."
            raise BoxcarError(ExitCode.USAGE, what, do)
        yield source.folder


def refuse_own_folder(root: Path, output: Path) -> None:
    """Refuses to write a step's results where its images are: results of some steps are data, and writing would remove them.

    Raises:
        BoxcarError: 64.
    """
    if root.resolve().is_relative_to(output.resolve()):
        what = f"--output {uri_of(output)} is or contains the images' own folder."
        raise BoxcarError(ExitCode.USAGE, what, "Choose another folder to write into.")


def _unpack(archive: Path, folder: Path) -> None:
    read = _zip_files if archive.name.lower().endswith(".zip") else _tar_files
    limit = max(_SMALL, archive.stat().st_size * _MOST_GROWTH)
    size = 0
    with os_errors(folder):
        folder.mkdir()
        try:
            for count, (name, file) in enumerate(read(archive), start=1):
                path = folder / _checked(archive, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as unpacked:
                    while piece := file.read(_PIECE):
                        size += len(piece)
                        if size > limit or count > _MOST_FILES:
                            raise _refused(archive, f"it holds more than {limit:,} bytes or {_MOST_FILES:,} files")
                        unpacked.write(piece)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise _refused(archive, f"{Path(str(error.filename)).name} is there twice") from error
        except _DAMAGED as error:
            raise _refused(archive, f"it is damaged ({error})") from error


def _zip_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            mode = entry.external_attr >> 16
            if stat.S_ISLNK(mode):
                raise _refused(archive, f"{entry.filename} is a link")
            if not entry.is_dir():
                with content.open(entry) as file:
                    yield entry.filename, file


def _tar_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r:*") as content:
        for entry in content:
            if entry.isdir():
                continue
            file = content.extractfile(entry) if entry.isreg() else None
            if file is None:
                raise _refused(archive, f"{entry.name} is a link or a device")
            yield entry.name, file


def _checked(archive: Path, name: str) -> str:
    """The name of a file in an archive, if it leads to a place in the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise _refused(archive, f"its file {name!r} leads out of it")
    if name.lower().endswith(_ARCHIVES):
        raise _refused(archive, f"it holds another archive, {name}")
    return os.fspath(path)


def _refused(archive: Path, reason: str) -> BoxcarError:
    return BoxcarError(ExitCode.DATA, f"{archive} cannot be used: {reason}.", "Unpack it, and give the folder as --data.")
