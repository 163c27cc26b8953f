"""Sources of initial weights: a checkpoint's prefix, a folder, a zoo archive or the address of one, or a packaged file.

Downloaded and unpacked files are cached under a name derived from their source, so that this happens once.
"""

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from boxcar.detectors.checkpoint_description import fetch_description, find_description
from boxcar.detectors.weights.packaged import PACKAGED, packaged_file, packaged_source
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Specification, read_specification
from boxcar.run.checkpoints import best_checkpoint
from boxcar.run.layout import TRAIN
from boxcar.storage import bucket_location, cache_folder, fetch_file, file_sha256, local_path, make_folder, open_store
from boxcar.storage.local_files import os_errors
from boxcar.sync.mirror import Mirror

ANSWER_SECONDS = 10.0  # for which an address may keep us waiting, to begin with and between two pieces
MOST_BYTES = 4 << 30  # of an archive, and of what is in it; the zoo's largest is under 2 GB
_PIECE = 1 << 20
_PART = re.compile(r"(ckpt-\d+)\.(index|data-\d{5}-of-\d{5})")
_ARCHIVES = (".tar.gz", ".tgz")
_SAVED_MODEL = "saved_model"  # the folder in what `freeze` wrote, and the name of the file in it
_HEADERS = {"User-Agent": "boxcar"}


@dataclass(frozen=True)
class InitialWeights:
    """Weights on this machine.

    Attributes:
        path: of a checkpoint, as TensorFlow expects it, without `.index`; of packaged weights, their file.
        source: of a checkpoint, as it was requested; of packaged weights, the package's URL.
        sha256: of a checkpoint, of the lines `<sha256>  <ending>` of its files, sorted; of packaged weights, of their file.
        specification: of the detector that the weights are of; None if it is unknown.
    """

    path: Path
    source: str
    sha256: str
    specification: Specification | None = None


def find_checkpoint(source: str) -> InitialWeights:
    """Finds the checkpoint that a source names, and downloads or unpacks it if necessary.

    Args:
        source: a path or URI: a run or its `train/`, for its best checkpoint; a prefix (`.../ckpt-0`), a SavedModel that
            `freeze` wrote, a folder that contains one checkpoint, directly or in `checkpoint/`, the zoo's `.tar.gz`, a file of
            packaged weights; or the http(s) address of such an archive.

    Raises:
        BoxcarError: 64 if there is none, or more than one; 65 for a broken archive or a damaged `detector.json`; 69 for an
            address that does not respond or a cache that cannot be written.
    """
    if source.startswith(("http://", "https://")):
        prefix = _in_folder(_unpacked(_downloaded(source)), source)
    else:
        source = best_of_run(source)
        path = local_path(source) if bucket_location(source) is None else _fetched(source)
        if path.name.endswith(_ARCHIVES) and path.is_file():
            prefix = _in_folder(_unpacked(path), source)
        elif path.is_dir():
            prefix = _in_folder(path, source)
        else:
            prefix = path
    if prefix.suffix == PACKAGED and prefix.is_file():
        return InitialWeights(prefix, source, file_sha256(prefix))
    inside = sorted(prefix.parent.iterdir()) if prefix.parent.is_dir() else []
    parts = [part for part in inside if _part_of(part.name, prefix.name)]
    if not any(part.suffix == ".index" for part in parts):
        raise BoxcarError(
            ExitCode.USAGE,
            f"There is no checkpoint {source}.",
            "Give a run, the path of a checkpoint without extensions (.../ckpt-0 for ckpt-0.index), a folder or .tar.gz that "
            "contains one, or none.",
        )
    lines = "".join(f"{file_sha256(part)}  {part.name.removeprefix(prefix.name)}\n" for part in parts)
    description = find_description(prefix)
    specification = None if description is None else read_specification(description.parent)
    return InitialWeights(prefix, source, hashlib.sha256(lines.encode()).hexdigest(), specification)


def best_of_run(source: str) -> str:
    """The prefix of the best checkpoint if a source names a run or its `train/`, and what `freeze` wrote if it names the
    SavedModel in it. Any other source stays as it is.

    Raises:
        BoxcarError: 65 if the run's scores are damaged or its best checkpoint is gone; 69 if it cannot be reached.
    """
    location = bucket_location(source)
    folder = str(local_path(source).absolute()) if location is None else location.uri
    if folder.endswith((*_ARCHIVES, PACKAGED)) or (location is not None and not location.prefix):
        return source
    parent, _, name = folder.rpartition("/")
    if name == _SAVED_MODEL and open_store(folder).entry(f"{_SAVED_MODEL}.pb") is not None:
        return parent
    return best_checkpoint(parent if name == TRAIN else folder) or source


def find_packaged(architecture: str) -> InitialWeights:
    """The packaged weights of an architecture.

    Raises:
        BoxcarError: 64 if no package has any, 69 if they are not installed.
    """
    source = packaged_source(architecture)
    path = packaged_file(architecture)
    if not path.is_file():
        raise BoxcarError(
            ExitCode.ENVIRONMENT, f"The packaged weights for {architecture} are not installed.", "Run `make setup`."
        )
    return InitialWeights(path, source, file_sha256(path))


def at_hand(address: str, seconds: float) -> bool:
    """Whether an archive is in the cache, or its server responds in time.

    The limit includes the search for the server's name, which may hang for longer than any time-out of a connection.
    """
    if _archive(address).exists():
        return True
    found = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(address, method="HEAD", headers=_HEADERS)  # noqa: S310 - http(s) by the caller
        # No answer, or one that says no: either way there is nothing to download.
        with contextlib.suppress(OSError, http.client.HTTPException), urllib.request.urlopen(request, timeout=seconds):  # noqa: S310
            found.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return found.is_set()


def _fetched(source: str) -> Path:
    """What a bucket's URI names, on this machine: an archive, the files of one checkpoint, or of those in a folder."""
    if source.endswith((*_ARCHIVES, PACKAGED)):
        return fetch_file(source)
    location = bucket_location(source)
    assert location is not None, source
    if location.prefix:
        parent, name = location.split()
        path = Mirror(parent).fetch_some(lambda file: _part_of(file, name)) / name
        if path.with_name(f"{name}.index").exists():
            fetch_description(parent)
            return path
    folder = Mirror(source).fetch_some(
        lambda file: file.count("/") <= 2 and _PART.fullmatch(file.rpartition("/")[2]) is not None
    )
    fetch_description("/".join([location.uri, *_in_folder(folder, source).parent.relative_to(folder).parts]))
    return folder


def _part_of(file: str, prefix: str) -> bool:
    """Whether a file is one of the checkpoint of this prefix, which may have any name."""
    ending = file.removeprefix(prefix)
    return file.startswith(prefix) and _PART.fullmatch(f"ckpt-0{ending}") is not None


def _in_folder(folder: Path, source: str) -> Path:
    """The only checkpoint in a folder, or in a `checkpoint` folder one or two levels below it."""
    for pattern in ("ckpt-*.index", "checkpoint/ckpt-*.index", "*/checkpoint/ckpt-*.index"):
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            names = ", ".join(path.name.removesuffix(".index") for path in found[:5])
            raise BoxcarError(
                ExitCode.USAGE,
                f"{source} holds {len(found)} checkpoints: {names}.",
                "Give the path of one of them without extensions.",
            )
        if found:
            return found[0].with_suffix("")
    return folder / "ckpt-0"  # which is not there, and is said to be missing


def _downloaded(address: str) -> Path:
    """Downloads the archive at an address, unless it is in the cache."""
    archive = _archive(address)
    folder = make_folder(archive.parent)
    if archive.exists():
        return archive
    what = f"{address} cannot be downloaded"
    do = "Download it elsewhere and give the file as --init, or use --init none."
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        request = urllib.request.Request(address, headers=_HEADERS)  # noqa: S310 - http(s) by the caller
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            announced = answer.headers.get("Content-Length")
            received = _copy(answer, file, what)
        if announced is not None and received != int(announced):
            raise BoxcarError(ExitCode.ENVIRONMENT, f"{what}: the download ended after {received} bytes.", do)
        Path(name).replace(archive)
    except (OSError, ValueError) as error:  # URLError, time-outs and a full disk are OSErrors
        reason = getattr(error, "reason", None) or error.strerror if isinstance(error, OSError) else str(error)
        raise BoxcarError(ExitCode.ENVIRONMENT, f"{what}: {reason or type(error).__name__}.", do) from error
    finally:
        Path(name).unlink(missing_ok=True)
    return archive


def _archive(address: str) -> Path:
    """The archive's place in the cache."""
    return cache_folder() / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.tar.gz"


def _unpacked(archive: Path) -> Path:
    """Unpacks only the checkpoint's files of an archive into a folder, unless they are in the cache."""
    folder = cache_folder() / file_sha256(archive)[:16]
    if folder.is_dir():
        return folder
    with os_errors(folder):
        work = Path(tempfile.mkdtemp(dir=make_folder(folder.parent), suffix=".part"))
    try:
        left = MOST_BYTES
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                part = _PART.fullmatch(member.name.rsplit("/", 1)[-1])
                content = tar.extractfile(member) if part and member.isfile() else None
                if content is None:
                    continue
                # Into a flat folder under a name of our own: whatever paths and links the archive holds lead nowhere.
                with content, (work / part[0]).open("xb") as file:  # type: ignore[index]
                    left -= _copy(content, file, f"{archive} cannot be unpacked", left)
        if not folder.is_dir():
            work.replace(folder)
    except (tarfile.TarError, EOFError, zlib.error, FileExistsError) as error:
        raise BoxcarError(
            ExitCode.DATA, f"{archive} is not a valid archive: {str(error) or type(error).__name__}.", "Download it again."
        ) from error
    except OSError as error:
        if error.errno is None:  # gzip's own complaint about what it reads
            raise BoxcarError(ExitCode.DATA, f"{archive} is not a valid archive: {error}.", "Download it again.") from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _copy(source: IO[bytes], target: IO[bytes], what: str, most: int = MOST_BYTES) -> int:
    """Copies piece by piece and returns the number of bytes. Stops at a limit, because an archive may be made to fill the
    disk."""
    copied = 0
    while piece := source.read(_PIECE):
        copied += len(piece)
        if copied > most:
            raise BoxcarError(
                ExitCode.DATA, f"{what}: it holds more than {MOST_BYTES >> 30} GB.", "Give a checkpoint of a detector."
            )
        target.write(piece)
    return copied
