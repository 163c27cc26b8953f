"""The step itself: check every image once, decide, then write."""

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from boxcar.data.held_out_list import frozen_test_digest, read_frozen_test
from boxcar.data.label_map import label_map_text, read_label_map, write_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.check import LARGEST_ANNOTATION, NO_SPLIT, SPLITS, TREATMENTS, Batch, CheckedBatch, check, read_file
from boxcar.records.faults import Fault, FaultyError
from boxcar.records.images import is_image
from boxcar.records.listing import list_names
from boxcar.records.reader import AnnotationReader, Listing
from boxcar.records.readers import READER
from boxcar.records.shards import Shard, ShardImage, write_shard
from boxcar.records.split import assign_splits, groups
from boxcar.records.summary import Summary
from boxcar.records.table import Images, ImageTable, hash_at
from boxcar.records.workers import WorkerPool
from boxcar.run.layout import COMMIT, DATASET, LABEL_MAP
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, Step, read_commit
from boxcar.storage import fetch_file, replace_pieces
from boxcar.storage.cache import uri_of
from boxcar.sync.mirror import Mirror

SHARD_BYTES = 100_000_000
SHARD_IMAGES = 5_000  # of very small images; a shard's list of images is held in memory
BATCH = 32


class _Source(NamedTuple):
    """A data folder, with the processes that read it and what they found."""

    root: Path
    reader: AnnotationReader
    listing: Listing
    table: ImageTable
    workers: WorkerPool


def build_records(
    data: str,
    output: str,
    *,
    on_fault: Literal["stop", "skip"] = "stop",
    label_map: str | None = None,
    frozen_test: str | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
    full_decode: bool = True,
    replace: bool = True,
) -> Committed:
    """Makes TFRecord shards, `label_map.pbtxt` and `dataset.json` from images with Pascal VOC annotations.

    Does nothing if `output` already contains the records of the same images and settings.

    Args:
        data: folder (URI) of the images and their XML files, in any nesting; see `boxcar.records.pairing`.
        output: the step's own folder (URI).
        on_fault: stop at faulty images, or leave them out and list them in `dataset.json`.
        label_map: a `label_map.pbtxt` (URI) whose ids are kept; by default the one in `data`, if any. Classes
            that it lacks are appended.
        frozen_test: a list (URI) of the images that make up the test split, see `boxcar.data.held_out_list`; None if there is
            none.
        validation_fraction, test_fraction: shares in (0, 1) of the images for a split that no folder defines, chosen by hash.
        seed: seed of that hash.
        full_decode: decode every image to its end, so that a damaged one is found here and not in training.
        replace: whether finished records of other images or settings in `output` are replaced, or an error.

    Raises:
        BoxcarError: 64 for a wrong argument; 65 for faulty data, with one line per fault in `details`; 69 if something
            cannot be read or written.
    """
    parameters = {
        "on_fault": on_fault,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "seed": seed,
        "full_decode": full_decode,
    }
    started = time.monotonic()
    source, result = Mirror(data), Mirror(output)
    if not source.remote:
        _check_folder(source.folder)
    _check_arguments(on_fault, validation_fraction, test_fraction)
    given = None if label_map is None else read_label_map(fetch_file(label_map))
    frozen = frozenset[str]() if frozen_test is None else read_frozen_test(fetch_file(frozen_test))
    with result.working() as folder:
        return _build(source.fetch(), folder, given, frozen, parameters, started, replace=replace)


def _build(
    root: Path,
    folder: Path,
    kept: dict[int, str] | None,
    frozen: frozenset[str],
    parameters: dict[str, Any],
    started: float,
    *,
    replace: bool,
) -> Committed:
    """`build_records` from one local folder into another."""
    on_fault, full_decode = parameters["on_fault"], parameters["full_decode"]
    given = _labels_in(root, folder) if kept is None else kept

    def step_for(source: _Source) -> Step:
        inputs = {"data": source.table.files_digest(), "label_map": hashlib.sha256(label_map_text(given).encode()).hexdigest()}
        if frozen:
            inputs["frozen_test"] = frozen_test_digest(frozen)
        return Step("records", folder, inputs, parameters, started=started)

    if full_decode and (folder / COMMIT).is_file():
        # To see that nothing has changed, the images need not be decoded.
        with _opened(root, folder) as source:
            _check_all(source, full_decode=False)
            committed = step_for(source).done()
        if committed is not None:
            return committed
    with _opened(root, folder) as source:
        found = _check_all(source, full_decode)
        step = step_for(source)
        committed = step.done()
        if committed is not None:
            return committed
        if not replace and read_commit(folder, "records") is not None:
            raise BoxcarError(
                ExitCode.USAGE,
                f"The images in {uri_of(root)}, the label map, or the settings have changed since {uri_of(folder)} was made.",
                "Choose another --output for a new run.",
            )
        _check_found(root, found, on_fault)
        images = source.table.images()
        fractions = parameters["validation_fraction"], parameters["test_fraction"]
        found.faults += assign_splits(images, source.listing.names, *fractions, parameters["seed"], frozen)
        images = images[images["split"] != NO_SPLIT]
        if not images["boxes"].any():
            raise _without_boxes(root, found)  # the labelled ones were copies of others
        labels, warnings = _labels(given, found.classes)
        if found.without_annotation:
            said = "image has no annotation and counts as an image without objects."
            if found.without_annotation > 1:
                said = "images have no annotation and count as images without objects."
            warnings.insert(0, f"{found.without_annotation} {said}")
        there = len(np.unique(images["sha256"][images["split"] == SPLITS.index("test")]))
        if frozen and there < len(frozen):
            missing = f"{len(frozen) - there} of {len(frozen)}"
            warnings.insert(0, f"{missing} images of the held-out test split are not in the data.")
        with step.writing():
            _write(source, step, images, labels, found, warnings)
    assert step.committed is not None
    return step.committed


@contextmanager
def _opened(root: Path, output: Path) -> Iterator[_Source]:
    """Lists the data folder and starts the processes that read it.

    Raises:
        BoxcarError: 65 if the folder contains no image; 69 if it cannot be read.
    """
    # The workers start while the folder is listed.
    with tempfile.TemporaryDirectory(prefix="boxcar-") as temporary, WorkerPool(Path(temporary)) as workers:
        names = list_names(root, output, READER.is_annotation)
        if not any(map(is_image, names)):
            what = f"{uri_of(root)} holds no image" + (f", only {len(names)} XML files." if names else ".")
            raise BoxcarError(ExitCode.DATA, what, "Give a folder with JPEG, PNG, BMP, or WebP images as --data.")
        with closing(ImageTable(names)) as table:
            yield _Source(root, READER, Listing(names, partial(image_names, root, READER)), table, workers)


def image_names(root: Path, reader: AnnotationReader, name: str) -> list[str]:
    """The images that an annotation file names; none where it cannot be read, which its check reports."""
    try:
        content, _ = read_file(root, name, LARGEST_ANNOTATION, "xml_too_large")
    except FaultyError:
        return []
    return reader.image_names(content)


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        what = f"{uri_of(root)} is not a folder." if root.exists() else f"There is no folder {uri_of(root)}."
        raise BoxcarError(ExitCode.USAGE, what, "Give the folder of your labeled images as --data.")


def _check_arguments(on_fault: str, validation_fraction: float, test_fraction: float) -> None:
    if on_fault not in ("stop", "skip"):
        raise BoxcarError(ExitCode.USAGE, f"--on-fault cannot be {on_fault}.", "Choose stop or skip.")
    fractions = (validation_fraction, test_fraction)
    if not all(math.isfinite(share) and share > 0 for share in fractions) or sum(fractions) >= 1:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{validation_fraction} for validation and {test_fraction} for test leave no usable split.",
            "Choose two fractions above 0 whose sum is below 1.",
        )


def _labels_in(root: Path, output: Path) -> dict[int, str]:
    """The labels to keep where no file of them was named: those in the data folder or directly below it."""
    places = (root / LABEL_MAP, *sorted(root.glob(f"[!.]*/{LABEL_MAP}")))
    # The step's own output of an earlier start may be in the data folder; what it wrote is not an input.
    found = [path for path in places if path.is_file() and path.parent.resolve() != output.resolve()]
    maps = [read_label_map(path) for path in found]
    if any(other != maps[0] for other in maps):
        raise BoxcarError(
            ExitCode.DATA,
            f"{uri_of(root)} holds label maps that differ: {', '.join(map(str, found))}.",
            "Give the one to use as --label-map.",
        )
    return maps[0] if maps else {}


def _check_all(source: _Source, full_decode: bool) -> CheckedBatch:
    """Checks all images and annotations. Adds the results of each image to the table, and returns the totals."""
    root, reader, listing, table, workers = source
    found = CheckedBatch()

    def batches() -> Iterator[Batch]:
        items = []
        for item in reader.items(listing):
            if isinstance(item, Fault):
                found.faults.append(item)
                continue
            items.append(item)
            if len(items) == BATCH:
                yield Batch(root, reader, items, full_decode)
                items = []
        yield Batch(root, reader, items, full_decode)

    with Progress("Checking images", sum(map(is_image, listing.names)), "images") as progress:
        for batch, checked in workers.run(check, batches()):
            table.add(batch.items, checked)
            found.merge(checked)
            progress.advance(sum(item.image is not None for item in batch.items))
        progress.advance(progress.total - progress.done)  # those that only a fault of the pairing names
    found.faults.sort()
    return found


def _check_found(root: Path, found: CheckedBatch, on_fault: str) -> None:
    if found.faults and on_fault == "stop":
        faults = "1 fault" if len(found.faults) == 1 else f"{len(found.faults)} faults"
        raise BoxcarError(
            ExitCode.DATA,
            f"The labeled images in {uri_of(root)} have {faults}.",
            "Correct what is listed above, or leave those images out with --on-fault skip.",
            tuple(map(str, found.faults)),
        )
    if not found.classes:
        raise _without_boxes(root, found)


def _without_boxes(root: Path, found: CheckedBatch) -> BoxcarError:
    left = " without a fault" if found.faults else ""
    return BoxcarError(
        ExitCode.DATA,
        f"{uri_of(root)} contains no labeled box{left}.",
        "Label your images with labelImg, and save the labels as Pascal VOC.",
        tuple(map(str, found.faults)),
    )


def _labels(given: dict[int, str], classes: Iterable[str]) -> tuple[dict[int, str], list[str]]:
    """All labels, and a warning for each that was appended to given ones."""
    labels, warnings = dict(given), []
    for name in sorted(set(classes) - set(given.values())):
        number = max(labels, default=0) + 1
        labels[number] = name
        if given:
            warnings.append(f"The class {name} was not in the label map and was appended as id {number}.")
    return labels, warnings


def _write(
    source: _Source, step: Step, images: Images, labels: dict[int, str], found: CheckedBatch, warnings: list[str]
) -> None:
    summary = Summary(labels)
    with Progress("Writing records", len(images), "images") as progress:
        try:
            for shard, written in source.workers.run(write_shard, _shards(source, step.folder, images, labels)):
                step.hashed[written.name] = {"bytes": written.bytes, "sha256": written.sha256}
                summary.add(written.name, written.counts)
                progress.advance(len(shard.images))
        except BaseException:
            # Before the step clears its folder: nothing may be written into it after that.
            source.workers.kill()
            raise
    write_label_map(step.folder / LABEL_MAP, labels)
    dataset = {
        "version": _version(images, labels),
        "label_map": {str(number): name for number, name in labels.items()},
        "splits": summary.splits_json(images),
        "faults": [fault.as_json() for fault in found.faults],
        "warnings": warnings + summary.warnings(),
        "clipped_boxes": found.clipped,
        "pictures_without_xml": found.without_annotation,
        "encoded_anew": summary.encoded,
        **summary.sizes_json(images),
    }
    # In pieces: the text of all hashes need not be in memory at once.
    pieces = json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False).iterencode(dataset)
    replace_pieces(step.folder / DATASET, chain(pieces, ["\n"]))


def _shards(source: _Source, folder: Path, images: Images, labels: dict[int, str]) -> Iterator[Shard]:
    """The shards to write. Their images come in the order of their hashes, which is as good as shuffled."""
    ids = {name: number for number, name in labels.items()}
    for split, name in enumerate(SPLITS):
        rows = images[images["split"] == split]
        starts, group = groups(rows)
        occurrences = np.arange(len(rows)) - starts[group]
        number = max(1, math.ceil(int(rows["size"].sum()) / SHARD_BYTES), math.ceil(len(rows) / SHARD_IMAGES))
        for index in range(number):
            some = slice(len(rows) * index // number, len(rows) * (index + 1) // number)
            path = folder / f"{name}-{index:05d}-of-{number:05d}.tfrecord"
            yield Shard(path, source.root, _shard_images(source, rows[some], occurrences[some].tolist()), ids)


def _shard_images(source: _Source, rows: Images, occurrences: list[int]) -> list[ShardImage]:
    columns = ("image", "sha256", "size", "modified", "width", "height", "treatment", "turn", "packed", "begin")
    values = zip(occurrences, *(rows[name].tolist() for name in columns), strict=True)
    return [
        ShardImage(
            source.listing.names[image],
            hash_at(sha256),
            occurrence,
            size,
            modified,
            width,
            height,
            TREATMENTS[treatment],
            turn,
            source.table.objects(packed, begin),
        )
        for occurrence, image, sha256, size, modified, width, height, treatment, turn, packed, begin in values
    ]


def _version(images: Images, labels: dict[int, str]) -> str:
    """The data set's version: the hash of its images, boxes, and label map, regardless of order and folders."""
    digest = hashlib.sha256(label_map_text(labels).encode())
    for content in np.sort(images["digest"]):
        digest.update(hash_at(content))
    return digest.hexdigest()
