"""What has changed in a folder of images since a model was last trained on it. Only changed files are read."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from boxcar.config.run_settings import LabelFormat
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.formats import find_reader
from boxcar.records.images import is_image
from boxcar.records.reader import AnnotationReader, DataFiles, ImageHolder, Listing
from boxcar.run.layout import LABEL_MAP
from boxcar.run.own_outputs import enclosing, is_hidden_object, own_folders
from boxcar.storage import Missing, Store, StoredObject, bucket_location, local_path, open_store
from boxcar.storage.object_file import open_object
from boxcar.storage.parallel import in_order

INDEX = "data.json"  # in the model's folder
_FORMAT = 1


class IndexedFile(BaseModel):
    """One file as it was when it was last read."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    tag: str  # of `storage.StoredObject`
    sha256: str
    # Of an annotation file: the names of the images that it describes, one per line, or the SHA-256 of those that it holds.
    filename: str = ""
    labeled: bool | None = None  # whether an annotation describes it; None in the indexes of earlier versions


class Index(BaseModel):
    """All images, annotation files and label maps of a folder, by name."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=_FORMAT)
    data: str
    labels: str = "voc"  # the format of the labels
    files: dict[str, IndexedFile]


class Changes(NamedTuple):
    """How the files of a folder differ from those of the last training.

    Attributes:
        added, changed, removed: names of files. A renamed file is both added and removed.
        pictures: the number of labeled images whose content no labeled image had before. An image counts once it has an
            annotation.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    pictures: int

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        counted = [(len(self.added), "new"), (len(self.changed), "changed"), (len(self.removed), "removed")]
        files = ", ".join(f"{count} {how}" for count, how in counted if count)
        return f"{files or 'no'} files; {self.pictures} new labeled images"


def index_files(data: str, known: Index | None, format: LabelFormat | None = None) -> Index:
    """The present files of a folder. Only those with another size or tag than before are read.

    Args:
        data: URI of the folder.
        known: the previous index. It is not used if it is of another folder.
        format: of the labels; by default it is recognized.

    Raises:
        BoxcarError: 64 if there is no image, or `data` is a file; 64 or 65 as `find_reader`; 69 if the folder cannot be read.
    """
    if bucket_location(data) is None and local_path(data).is_file():
        what = f"{data} is a file. A retraining reads the files of a folder that have changed."
        raise BoxcarError(ExitCode.USAGE, what, "Unpack it, and give the folder as --data.")
    store = open_store(data)
    everything = [entry for entry in store.entries() if not is_hidden_object(entry.name)]
    own = own_folders(store, everything)
    entries = {entry.name: entry for entry in everything if not own & set(enclosing(entry.name))}
    reader = find_reader(DataFiles(sorted(entries), lambda name: open_object(store, entries[name])), format).reader
    holder = reader if isinstance(reader, ImageHolder) else None
    if holder is None and not any(map(is_image, entries)):
        raise BoxcarError(ExitCode.USAGE, f"There are no images at {data}.", "Correct the URI, or upload the images.")
    before = {} if known is None or (known.data, known.labels) != (data, reader.format) else known.files

    def index(entry: StoredObject) -> tuple[str, IndexedFile]:
        file = before.get(entry.name)
        if file is None or (file.bytes, file.tag) != (entry.bytes, entry.tag):
            if holder is not None and reader.is_annotation(entry.name):
                with open_object(store, entry) as opened:
                    sha256, images = holder.hashes(opened)
                return entry.name, IndexedFile(bytes=entry.bytes, tag=entry.tag, sha256=sha256, filename="\n".join(images))
            content = store.read(entry.name, tag=entry.tag)
            filename = "\n".join(reader.image_names(content)) if reader.is_annotation(entry.name) else ""
            sha256 = hashlib.sha256(content).hexdigest()
            file = IndexedFile(bytes=entry.bytes, tag=entry.tag, sha256=sha256, filename=filename)
        return entry.name, file

    def is_read(name: str) -> bool:
        return (holder is None and is_image(name)) or reader.is_annotation(name) or PurePosixPath(name).name == LABEL_MAP

    files = dict(in_order(index, (entry for name, entry in entries.items() if is_read(name))))
    if files != before:  # for 100,000 images this takes seconds
        labeled = _labeled_images(reader, files)
        files = {name: file.model_copy(update={"labeled": name in labeled}) for name, file in files.items()}
    return Index(data=data, labels=reader.format, files=files)


def compare(before: Index | None, now: Index) -> Changes:
    """The changes of content. Without a previous index everything is new."""
    old = {} if before is None else before.files
    added = tuple(name for name in now.files if name not in old)
    changed = tuple(name for name, file in now.files.items() if name in old and old[name].sha256 != file.sha256)
    removed = tuple(name for name in old if name not in now.files)
    images = _labeled_content(now.files) - _labeled_content(old) if added or changed or removed else ()
    return Changes(added=added, changed=changed, removed=removed, pictures=len(images))


def read_index(model: Store) -> Index | None:
    """The index in a model's folder; None if there is none.

    Raises:
        BoxcarError: 64 if a newer Boxcar wrote it, 65 if it cannot be read.
    """
    try:
        content = model.read(INDEX)
    except Missing:
        return None
    where = f"{model.uri}/{INDEX}"
    try:
        index = Index.model_validate_json(content)
    except ValueError as error:
        do = "Remove it. The next retraining then reads all files and trains."
        raise BoxcarError(ExitCode.DATA, f"{where} is not valid.", do) from error
    if index.format > _FORMAT:
        raise BoxcarError(ExitCode.USAGE, f"{where} was written by a newer Boxcar.", "Use that version or a later one.")
    return index


def write_index(model: Store, index: Index) -> None:
    """Stores the files that the last retraining used."""
    model.write(INDEX, index.model_dump_json().encode())


def _labeled_images(reader: AnnotationReader, files: Mapping[str, IndexedFile]) -> set[str]:
    """The names of the images that an annotation describes. Faulty pairs are ignored; the records step reports them."""
    names = sorted(name for name in files if is_image(name) or reader.is_annotation(name))
    return reader.labeled_images(Listing(names, lambda name: files[name].filename.splitlines(), _unread))


def _unread(name: str) -> BinaryIO:
    raise AssertionError(f"{name} is opened to find labeled images")


def _labeled_content(files: Mapping[str, IndexedFile]) -> set[str]:
    """The hashes of the labeled images, and of all images of an index that does not say which are."""
    found = set[str]()
    for name, file in files.items():
        if is_image(name) and file.labeled is not False:
            found.add(file.sha256)
        elif not is_image(name) and file.labeled:
            found.update(file.filename.splitlines())
    return found
