"""What is new in a folder of pictures since a model was trained on it last, told without reading what is not."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import FaultyError
from boxcar.records.pictures import SUFFIXES
from boxcar.records.voc import read_annotation
from boxcar.retraining.labelled import labelled_pictures
from boxcar.run.layout import LABEL_MAP
from boxcar.storage import Entry, Missing, Store, open_store
from boxcar.storage.parallel import in_order

INDEX = "data.json"  # in the model's folder
_FORMAT = 1


class Seen(BaseModel):
    """One file as it was when it was looked at."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    tag: str  # of `storage.Entry`
    sha256: str
    filename: str = ""  # of an XML: the picture's name that is written in it


class Index(BaseModel):
    """All pictures, XML files and label maps of a folder, by name."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=_FORMAT)
    data: str
    files: dict[str, Seen]


class Changes(BaseModel):
    """How the files of a folder differ from what was trained on.

    Attributes:
        added, changed, removed: names of files; one that was only renamed is both added and removed.
        pictures: how many labelled pictures hold what no labelled picture held before. One that has got its XML is among
            them, whenever the picture itself came.
    """

    model_config = ConfigDict(frozen=True)

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    pictures: int

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        counted = [(len(self.added), "new"), (len(self.changed), "changed"), (len(self.removed), "removed")]
        files = ", ".join(f"{count} {how}" for count, how in counted if count)
        return f"{files or 'no'} files; {self.pictures} new labelled pictures"


def look(data: str, known: Index | None) -> Index:
    """The files of a folder as they are now. Only those are read whose size or tag is not what it was.

    Args:
        data: URI of the folder.
        known: as it was before; of another folder where the data has moved.

    Raises:
        BoxcarError: 64 where no picture is there, 69 where the folder cannot be read.
    """
    store = open_store(data)
    entries = [entry for entry in store.entries() if _counts(entry.name)]
    if not any(_is_picture(entry.name) for entry in entries):
        raise BoxcarError(ExitCode.USAGE, f"There are no pictures at {data}.", "Correct the URI, or put them there.")
    before = {} if known is None or known.data != data else known.files

    def see(entry: Entry) -> tuple[str, Seen]:
        seen = before.get(entry.name)
        if seen is None or (seen.bytes, seen.tag) != (entry.bytes, entry.tag):
            content = store.read(entry.name, tag=entry.tag)
            filename = _filename(content) if entry.name.lower().endswith(".xml") else ""
            sha256 = hashlib.sha256(content).hexdigest()
            seen = Seen(bytes=entry.bytes, tag=entry.tag, sha256=sha256, filename=filename)
        return entry.name, seen

    return Index(data=data, files=dict(in_order(see, entries)))


def compare(before: Index | None, now: Index) -> Changes:
    """What has changed by content; everything is new where nothing was known."""
    old = {} if before is None else before.files
    added = tuple(name for name in now.files if name not in old)
    changed = tuple(name for name, seen in now.files.items() if name in old and old[name].sha256 != seen.sha256)
    removed = tuple(name for name in old if name not in now.files)
    # Of 100,000 pictures this takes some seconds, which a night without anything new does without.
    pictures = _labelled(now.files) - _labelled(old) if added or changed or removed else ()
    return Changes(added=added, changed=changed, removed=removed, pictures=len(pictures))


def read_index(model: Store) -> Index | None:
    """The index in a model's folder; None where there is none.

    Raises:
        BoxcarError: 64 where a newer Boxcar wrote it, 65 where it cannot be understood.
    """
    try:
        content = model.read(INDEX)
    except Missing:
        return None
    where = f"{model.uri}/{INDEX}"
    try:
        index = Index.model_validate_json(content)
    except ValueError as error:
        do = "Remove it: the next retraining then looks at all files, and trains."
        raise BoxcarError(ExitCode.DATA, f"{where} cannot be understood.", do) from error
    if index.format > _FORMAT:
        raise BoxcarError(ExitCode.USAGE, f"{where} was written by a newer Boxcar.", "Use that version or a later one.")
    return index


def write_index(model: Store, index: Index) -> None:
    """Remembers the files that the last retraining has dealt with."""
    model.write(INDEX, index.model_dump_json().encode())


def _labelled(files: Mapping[str, Seen]) -> set[str]:
    """The content of the labelled pictures, by its hash."""
    return {files[name].sha256 for name in labelled_pictures({name: seen.filename for name, seen in files.items()})}


def _filename(content: bytes) -> str:
    """The picture that an XML is about in its own words; empty where it cannot be read, which the records step will say."""
    try:
        return read_annotation(content).filename or ""
    except FaultyError:
        return ""


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _counts(name: str) -> bool:
    """Whether the records step would read it. Hidden files and folders it passes over."""
    path = PurePosixPath(name)
    wanted = _is_picture(name) or path.suffix.lower() == ".xml" or path.name == LABEL_MAP
    return wanted and not any(part.startswith(".") for part in path.parts)
