"""The data folder: its files, the processes that read them, and the check of all of them."""

import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from boxcar.config.class_choice import ClassChoice
from boxcar.config.run_settings import LabelFormat
from boxcar.data.label_map import read_given_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.records.check import Batch, Unlabeled, check, largest_annotation, open_data_file, read_file
from boxcar.records.checked import CheckedBatch, Row
from boxcar.records.faults import Fault, FaultyError, shown
from boxcar.records.formats import find_reader
from boxcar.records.frames import decide_frames
from boxcar.records.images import is_image
from boxcar.records.listing import FoundNames, is_object_mask, list_names
from boxcar.records.reader import AnnotationReader, DataFiles, ImageHolder, Item, Listing
from boxcar.records.table import ImageTable
from boxcar.records.workers import WorkerPool
from boxcar.run.layout import LABEL_MAP
from boxcar.run.own_outputs import is_own_folder
from boxcar.run.progress import Progress
from boxcar.storage.cache import uri_of

BATCH = 32

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers(Protocol):
    """What does the work on images, as `WorkerPool` describes it."""

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]: ...

    def close(self) -> None: ...

    def kill(self) -> None: ...


class Source(NamedTuple):
    """A data folder, with what works on its images and what that found."""

    root: Path
    reader: AnnotationReader
    listing: Listing
    table: ImageTable
    workers: Workers
    own: list[str]  # as in `FoundNames`
    others: list[str]
    masks: list[str]  # as in `FoundNames`, but only those that the reader does not use
    unread: list[str]  # the names of all files that are neither images nor label files
    notes: tuple[str, ...]  # as in `Recognized`

    def file_of(self, row: Row) -> str:
        """The file that an image is in: its own, or its annotation's."""
        return self.listing.names[row.image if row.offset < 0 else row.source]


class Contents(NamedTuple):
    """What a data folder holds. The fields are those of `Source`, with the names of all images and label files, sorted."""

    root: Path
    reader: AnnotationReader
    names: list[str]
    used_masks: list[str]  # those that the reader reads
    own: list[str]
    others: list[str]
    masks: list[str]
    unread: list[str]
    notes: tuple[str, ...]


@contextmanager
def opened_source(root: Path, output: Path, wanted: LabelFormat | None = None) -> Iterator[Source]:
    """Lists the data folder and starts the processes that read it.

    Args:
        root: the data folder.
        output: the step's own folder, which is left out if it is in the data folder.
        wanted: the format of the labels; by default it is recognized.

    Raises:
        BoxcarError: 64 or 65 as `find_reader`; 65 if the folder contains no image; 69 if it cannot be read.
    """
    # The workers start while the folder is listed.
    with tempfile.TemporaryDirectory(prefix="boxcar-") as temporary, WorkerPool(Path(temporary)) as workers:
        open_file = partial(open_data_file, root)
        contents = find_contents(root, list_names(root, output), open_file, wanted)
        listing = Listing(contents.names, partial(image_names, root, contents.reader), open_file, contents.used_masks)
        with closing(ImageTable(listing.names)) as table:
            yield source_of(contents, listing, table, workers)


def source_of(contents: Contents, listing: Listing, table: ImageTable, workers: Workers) -> Source:
    """A data folder whose content is known."""
    root, reader, _, _, own, others, masks, unread, notes = contents
    return Source(root, reader, listing, table, workers, own, others, masks, unread, notes)


def find_contents(root: Path, found: FoundNames, open_file: Callable[[str], BinaryIO], wanted: LabelFormat | None) -> Contents:
    """Recognizes the format of a data folder's labels, and tells its files apart.

    Args:
        root: the data folder.
        found: its files.
        open_file: opens one, as in `DataFiles`.
        wanted: the format of the labels; by default it is recognized.

    Raises:
        BoxcarError: 64 or 65 as `find_reader`; 65 if the folder contains no image.
    """
    files, own, others, masks = found
    reader, _, notes = find_reader(DataFiles(files, open_file), wanted)
    holder = reader if isinstance(reader, ImageHolder) else None
    names = [name for name in files if (holder is None and is_image(name)) or reader.is_annotation(name)]
    unread = [name for name in files if not is_image(name) and not reader.is_annotation(name)]
    if holder is not None:
        names = sorted(names + holder.held_images(names, open_file))
    elif not any(map(is_image, names)):
        only = f", only {len(names)} label file{'s' if len(names) > 1 else ''}" if names else ""
        what = f"{uri_of(root)} holds no image{only}."
        if others:
            what = f"{uri_of(root)} holds no image that Boxcar trains on, only others such as {shown(others[0])}."
        elif own:
            what = f"{uri_of(root)} holds no image except Boxcar's own outputs, which are never data."
        raise BoxcarError(ExitCode.DATA, what, "Give a folder with JPEG, PNG, BMP, GIF, TIFF, or WebP images as --data.")
    used = list(filter(is_object_mask, masks)) if getattr(reader, "uses_masks", False) else []
    masks = [name for name in masks if not is_object_mask(name)] if used else masks
    return Contents(root, reader, names, used, own, others, masks, unread, notes)


def image_names(root: Path, reader: AnnotationReader, name: str) -> list[str]:
    """The images that an annotation file names; none if it cannot be read, which its check reports."""
    try:
        content, _ = read_file(root, name, largest_annotation(reader), "labels_too_large")
    except FaultyError:
        return []
    return reader.image_names(content)


def find_labels(root: Path, output: Path) -> tuple[dict[int, str], list[str]]:
    """The label map in the data folder or directly below it, as `read_given_label_map`; empty if there is none.

    Args:
        root, output: as for `opened_source`.

    Raises:
        BoxcarError: 65 if two label maps differ; what `read_given_label_map` raises.
    """
    # Not with `glob`, which takes 500 bytes per file of a folder.
    _, names, _ = next(os.walk(root), ("", [], []))
    folders = [root, *(root / name for name in sorted(names) if not name.startswith("."))]
    # This step's output of an earlier start, and those of other steps, may be in the data folder. They are not data.
    # Finished records may be the data folder itself.
    others = [folder for folder in folders if folder.resolve() != output.resolve()]
    places = [folder / LABEL_MAP for folder in others if folder == root or not is_own_folder(folder)]
    found = [path for path in places if path.is_file()]
    maps = [read_given_label_map(path) for path in found]
    if any(labels != maps[0][0] for labels, _ in maps):
        raise BoxcarError(
            ExitCode.DATA,
            f"{uri_of(root)} holds label maps that differ: {', '.join(map(str, found))}.",
            "Give the one to use as --label-map.",
        )
    return maps[0] if maps else ({}, [])


def check_all(
    source: Source,
    full_decode: bool,
    unlabeled: Unlabeled,
    classes: ClassChoice | None = None,
    times: bool = False,
    most_megapixels: int = MOST_MEGAPIXELS,
) -> CheckedBatch:
    """Checks all images and annotations, as `Batch` says. Adds each image's results to the table, and returns the totals."""
    found = CheckedBatch()
    choice = full_decode, unlabeled, classes, times, most_megapixels
    with Progress("Checking images", sum(map(is_image, source.listing.names)), "images") as progress:
        for batch, checked in source.workers.run(check, batches(source, found.faults, *choice)):
            source.table.add(batch.items, checked)
            found.merge(checked)
            progress.advance(sum(item.image is not None for item in batch.items))
        progress.advance(progress.total - progress.done)  # those that only a fault of the pairing names
    finish(found, source)
    return found


def batches(
    source: Source,
    faults: list[Fault],
    full_decode: bool,
    unlabeled: Unlabeled,
    classes: ClassChoice | None = None,
    times: bool = False,
    most_megapixels: int = MOST_MEGAPIXELS,
    size: int = BATCH,
) -> Iterator[Batch]:
    """Pairs images and annotations, in batches of `size`. Adds the faults of their pairing to `faults`."""

    def batch_of(items: list[Item]) -> Batch:
        return Batch(source.root, source.reader, items, full_decode, unlabeled, classes, times, most_megapixels)

    items: list[Item] = []
    for item in source.reader.items(source.listing):
        if isinstance(item, Fault):
            faults.append(item)
            continue
        items.append(item)
        if len(items) == size:
            yield batch_of(items)
            items = []
    yield batch_of(items)


def finish(found: CheckedBatch, source: Source) -> None:
    """Decides what only the results of all batches tell, puts the faults in order, and corrects those that the whole listing
    explains."""
    decide_frames(found, source.table)
    others = {_stem(name): name for name in source.others}
    unread = {stem: name for name in source.unread for stem in (_stem(_stem(name)), _stem(name))}
    missing = {_alike(_stem(fault.file)) for fault in found.faults if fault.kind == "missing_picture"}
    alike = {key: name for name in source.listing.names if is_image(name) and (key := _alike(_stem(name))) in missing}
    found.faults = sorted(_of_another_format(fault, others, unread, alike) for fault in found.faults)


def _alike(stem: str) -> str:
    """What two names have in common that look alike, or differ in upper and lower case only."""
    return unicodedata.normalize("NFC", stem).casefold()


def _of_another_format(fault: Fault, others: Mapping[str, str], unread: Mapping[str, str], alike: Mapping[str, str]) -> Fault:
    """The fault, or what it is about if the missing image is there, but not as an image that records can contain.

    Args:
        fault: of any kind.
        others: images of other formats, by their names without suffix.
        unread: files that are neither images nor labels, by their names without suffix.
        alike: images by what names that look alike have in common.
    """
    if fault.kind != "missing_picture":
        return fault
    stem = _stem(fault.file)
    if stem in others:
        reason = f"its image {shown(others[stem])} is of a format that Boxcar cannot train on; save it as JPEG or PNG"
    elif stem in unread:
        reason = f"its image is missing; {shown(unread[stem])} has its name, but no suffix of an image"
    elif _alike(stem) in alike:
        how = "upper and lower case" if stem.isascii() else "upper and lower case, or in how Unicode writes its letters"
        reason = f"its image is missing; {shown(alike[_alike(stem)])} differs from its name in {how}"
    else:
        return fault
    return replace(fault, reason=reason)


def _stem(name: str) -> str:
    base = name.rpartition("/")[2]
    return base.rpartition(".")[0] or base
