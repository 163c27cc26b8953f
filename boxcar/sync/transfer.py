"""Uploads a folder to a store and downloads one, so that a partial copy is never taken for a complete one.

A marker is a file that lists other files next to it or below it, with their sizes and hashes: a step's `step.json`, a
checkpoint's `ckpt-<step>.json`. It makes the files that it lists valid, so it is written after them and removed before them.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import CHECKPOINT_MARKER, COMMIT, UNFINISHED
from boxcar.storage.checksums import PART_BYTES
from boxcar.storage.local_files import file_sha256, is_temporary, list_files, os_errors
from boxcar.storage.names import check_names
from boxcar.storage.parallel import for_each
from boxcar.storage.store import Changed, Missing, Store

_ROUNDS = 5


def send_folder(folder: Path, store: Store, owns: Sequence[str] | None = None, uploaded: Set[str] = frozenset()) -> int:
    """Uploads a finished step, or any other folder. Hidden files are not uploaded.

    Files that the store has with the same checksum are skipped, so a call after an interruption continues the upload. If
    `folder` contains a `step.json`, other files of that step are removed from the store; otherwise nothing is removed. The
    order: write `.unfinished`, remove the old `step.json`, remove other files, upload files, write `step.json`, remove
    `.unfinished`.

    Args:
        folder: the local folder.
        store: the destination.
        owns: names directly below the folder that belong to the step, if it shares the folder; None if all of them do.
        uploaded: the step's files that are in the store already and need not be in the local folder.

    Returns:
        The number of bytes uploaded.

    Raises:
        BoxcarError: 64 if the store's folder contains files that no step wrote; 65 if the files differ from what `step.json`
            lists or have names that not every system supports; 69 if the store fails.
    """

    def owned(name: str) -> bool:
        return name == COMMIT or owns is None or name.split("/")[0] in owns

    names = [name for name in list_files(folder) if owned(name)]
    check_names(names, str(folder))
    there = {entry.name: entry for entry in store.entries() if entry.name == UNFINISHED or owned(entry.name)}
    started = there.pop(UNFINISHED, None)
    there = {name: entry for name, entry in there.items() if not _hidden(name)}
    step = COMMIT in names
    if step and started is None:
        check_taken(store, there)
    markers = {name: (folder / name).read_bytes() for name in names if is_marker(name)}
    listed = listed_files(markers)
    if absent := sorted(listed.keys() - set(names) - (uploaded & there.keys())):
        raise _not_as_listed(str(folder), absent[0])
    differing = set(names) - {name for name in names if name in there and store.same(there[name], folder / name)}
    useless = there.keys() - set(names) - uploaded if step else set()
    if not differing and not useless and started is None:
        return 0
    if step:
        store.write(UNFINISHED, started_record(markers[COMMIT]))
    store.delete(sorted(name for name in there.keys() & (differing | useless) if is_marker(name)))
    # Before anything is sent: a server may refuse an object below another one's name.
    store.delete(sorted(name for name in useless if not is_marker(name)))
    sent = [0]

    def send(name: str) -> None:
        try:
            sent.append(store.upload(folder / name, name, _sha256(listed, name)))
        except Changed as error:
            raise _not_as_listed(str(folder), name) from error

    _small_together(send, {name: (folder / name).stat().st_size for name in differing - markers.keys()})
    for name in inner_first(name for name in differing if name in markers):
        store.write(name, markers[name])
        sent.append(len(markers[name]))
    if step:
        store.delete([UNFINISHED])
    return sum(sent)


def fetch_folder(store: Store, folder: Path) -> int:
    """Makes a local folder equal to a store's, including its `.unfinished`. Other hidden local files stay.

    Downloads only what differs. A file that a marker lists must have the listed size and hash; any other file must have the
    store's checksum. Files appear complete. Outdated markers are removed first, and new ones are written last. If the store
    changes meanwhile, it is listed again, up to `_ROUNDS` times.

    Returns:
        The number of bytes downloaded.

    Raises:
        Missing: 64, if there is nothing.
        BoxcarError: 65 if the files differ from what a marker lists or have names that cannot be files here; 69 if the store
            or the disk fails, or the folder changes all the time.
    """
    fetched = 0
    trouble: BoxcarError = Missing(store.uri)
    for _ in range(_ROUNDS):
        try:
            return fetched + _fetch(store, folder)
        except _Unsettled as unsettled:
            fetched += unsettled.bytes
            trouble = unsettled.trouble
    raise trouble


class _Unsettled(Exception):
    """A round found a problem that may be temporary."""

    def __init__(self, fetched: int, trouble: BoxcarError) -> None:
        super().__init__()
        self.bytes = fetched
        self.trouble = trouble


def _fetch(store: Store, folder: Path) -> int:
    """One round of `fetch_folder`."""
    there = {entry.name: entry for entry in store.entries() if entry.name == UNFINISHED or not _hidden(entry.name)}
    if not there:
        raise Missing(store.uri)
    check_names(there, store.uri)
    try:
        markers = {name: store.read(name, tag=entry.tag) for name, entry in there.items() if is_marker(name)}
    except (Changed, Missing) as error:
        raise _Unsettled(0, error) from error
    for name in [name for name in markers if not name.endswith(COMMIT)]:
        # Retention removes a checkpoint's marker before its files, and may have done so during this listing.
        if any(file not in there for file in listed_files({name: markers[name]})):
            del markers[name], there[name]
    listed = listed_files(markers)
    for name, record in listed.items():
        if name not in there or there[name].bytes != record["bytes"]:
            raise _Unsettled(0, _not_as_listed(store.uri, name))
    _clear(folder, set(there), markers)
    fetched, troubles = [0], list[BoxcarError]()

    def fetch(name: str) -> None:
        path, sha256 = folder / name, _sha256(listed, name)
        if path.is_file() and (file_sha256(path) == sha256 if sha256 else store.same(there[name], path)):
            return
        try:
            store.download(there[name], path, sha256)
            fetched.append(there[name].bytes)
        except (Changed, Missing) as error:
            troubles.append(_not_as_listed(store.uri, name) if sha256 and isinstance(error, Changed) else error)

    last = [*inner_first(markers), *({UNFINISHED} & there.keys())]
    _small_together(fetch, {name: entry.bytes for name, entry in there.items() if name not in last})
    if not troubles:
        for name in last:
            fetch(name)
    if troubles:
        raise _Unsettled(sum(fetched), troubles[0])
    return sum(fetched)


def _clear(folder: Path, there: set[str], markers: Mapping[str, bytes]) -> None:
    """Removes what the store does not have from a local folder: outdated markers first, then files, then empty folders.

    `.unfinished` is always removed. It is written last, so that no step resumes an interrupted download.
    """
    names = list_files(folder) if folder.is_dir() else []
    with os_errors(folder):
        for name in names:
            if is_marker(name) and (name not in markers or (folder / name).read_bytes() != markers[name]):
                (folder / name).unlink()
        for name in (set(names) - there) | {UNFINISHED}:
            (folder / name).unlink(missing_ok=True)
        for parent, _, files in os.walk(folder, topdown=False):
            for name in filter(is_temporary, files):
                Path(parent, name).unlink()
            if Path(parent) != folder and not any(Path(parent).iterdir()):
                Path(parent).rmdir()


def check_taken(store: Store, names: Iterable[str]) -> None:
    """Raises BoxcarError 64 if a store's folder contains files that no step wrote, because a step would remove them."""
    foreign = [name for name in names if not _hidden(name)]
    if foreign and not {COMMIT, UNFINISHED} & set(names):
        raise BoxcarError(
            ExitCode.USAGE,
            f"{store.uri} already holds files that no step wrote (for example {min(foreign)}).",
            "Choose another folder, or move those files away.",
        )


def is_marker(name: str) -> bool:
    """Whether an object of this name is a marker."""
    last = name.rpartition("/")[2]
    return last == COMMIT or CHECKPOINT_MARKER.fullmatch(last) is not None


def inner_first(names: Iterable[str]) -> list[str]:
    """Markers in the order in which they may be written: a step's comes after those in folders below it."""
    return sorted(names, key=lambda name: (-name.count("/"), name.endswith(COMMIT), name))


def listed_files(markers: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """The `bytes` and `sha256` of each file that markers list, by name. A marker that cannot be parsed lists nothing."""
    listed: dict[str, dict[str, Any]] = {}
    for name, content in markers.items():
        folder = PurePosixPath(name).parent
        try:
            record = {
                (folder / file).as_posix(): {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
                for file, entry in json.loads(content)["files"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        listed.update(record)
    return listed


def latest_checkpoint(names: Iterable[str]) -> int:
    """The highest step of the checkpoints whose markers are directly in a folder; -1 if there is none."""
    return max((int(match[1]) for name in names if (match := CHECKPOINT_MARKER.fullmatch(name))), default=-1)


def started_record(marker: bytes) -> bytes:
    """The `.unfinished` of the step that a `step.json` describes: its name, inputs, and parameters."""
    try:
        record = {key: json.loads(marker)[key] for key in ("step", "inputs", "parameters")}
    except (ValueError, KeyError, TypeError):
        record = {}
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def _small_together(transfer: Callable[[str], None], sizes: Mapping[str, int]) -> None:
    """Transfers small files in parallel, then large ones one by one, because each of them uses all workers and their memory."""
    for_each(transfer, sorted(name for name, size in sizes.items() if size <= PART_BYTES))
    for name in sorted(name for name, size in sizes.items() if size > PART_BYTES):
        transfer(name)


def _sha256(listed: Mapping[str, dict[str, Any]], name: str) -> str | None:
    return listed[name]["sha256"] if name in listed else None


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _not_as_listed(place: str, name: str) -> BoxcarError:
    what = f"{name} in {place} is missing, or differs from what {COMMIT} or its checkpoint's marker lists."
    return BoxcarError(ExitCode.DATA, what, "Run the step that writes this folder again.")
