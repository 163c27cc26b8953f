"""The step itself: look at every picture once, decide, then write."""

import hashlib
import math
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from boxcar.data.label_map import label_map_text, read_label_map, write_label_map
from boxcar.data.test_split import frozen_test_digest, read_frozen_test
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import packed
from boxcar.records.check import INSERT, LARGEST_ANNOTATION, Batch, CheckedBatch, read_file
from boxcar.records.database import temporary_database
from boxcar.records.faults import Fault, FaultyError
from boxcar.records.images import is_image
from boxcar.records.listing import list_names
from boxcar.records.reader import AnnotationReader, Listing
from boxcar.records.readers import READER
from boxcar.records.shards import Shard, Stored, Written
from boxcar.records.split import SCHEMA, SPLITS, assign_splits
from boxcar.records.summary import SUMMARY_SCHEMA, Summary, dataset_pieces
from boxcar.records.workers import Workers
from boxcar.run.layout import COMMIT, DATASET, LABEL_MAP
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, Step, read_commit
from boxcar.storage import fetch_file, replace_pieces
from boxcar.sync.mirror import Mirror

INPUTS_SCHEMA = "CREATE TABLE inputs (name BLOB, sha256 BLOB);"
SHARD_BYTES = 100_000_000
SHARD_PICTURES = 5_000  # of very small pictures; a shard's list of pictures is held in memory
BATCH = 32


class _Source(NamedTuple):
    """A data folder, with the processes that read it."""

    root: Path
    reader: AnnotationReader
    listing: Listing
    database: sqlite3.Connection
    workers: Workers


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
    """Makes TFRecord shards, `label_map.pbtxt` and `dataset.json` of pictures that were labelled in Pascal VOC XML.

    Nothing is done where `output` holds the records of the same pictures, made with the same settings.

    Args:
        data: folder (URI) of the pictures and their XML files, in any nesting; see `boxcar.records.pairing`.
        output: the step's own folder (URI).
        on_fault: stop at faulty pictures, or leave them out and list them in `dataset.json`.
        label_map: a `label_map.pbtxt` (URI) whose ids are kept; by default the one that lies in `data`, if any. Classes
            that it lacks are appended.
        frozen_test: a list (URI) of the pictures that alone are the test split, as `detectors.frozen_test` says; None where
            none was chosen before.
        validation_fraction, test_fraction: shares in (0, 1) taken by hash for a split that no folder gives.
        seed: of that hash.
        full_decode: decode every picture to its end, so that a damaged one is found here and not in training.
        replace: whether finished records of other pictures or settings in `output` are replaced, or an error.

    Raises:
        BoxcarError: 64 for a wrong argument; 65 for faulty data, with one line a fault in `details`; 69 where something may
            not be read or written.
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
    given = _lying_labels(root, folder) if kept is None else kept

    def step_for(source: _Source) -> Step:
        inputs = {"data": _digest(source.database), "label_map": hashlib.sha256(label_map_text(given).encode()).hexdigest()}
        if frozen:
            inputs["frozen_test"] = frozen_test_digest(frozen)
        return Step("records", folder, inputs, parameters, started=started)

    if full_decode and (folder / COMMIT).is_file():
        # To see that nothing has changed the pictures need not be decoded.
        with _opened(root, folder) as source:
            _look(source, full_decode=False)
            committed = step_for(source).done()
        if committed is not None:
            return committed
    with _opened(root, folder) as source:
        found = _look(source, full_decode)
        step = step_for(source)
        committed = step.done()
        if committed is not None:
            return committed
        if not replace and read_commit(folder, "records") is not None:
            raise BoxcarError(
                ExitCode.USAGE,
                f"The pictures in {root}, the label map or the settings have changed since the records in {folder} were made.",
                "Choose another --output for a new run.",
            )
        _check_found(root, found, on_fault)
        found.faults += assign_splits(
            source.database, parameters["validation_fraction"], parameters["test_fraction"], parameters["seed"], frozen
        )
        if source.database.execute("SELECT 1 FROM pictures WHERE objects != ? LIMIT 1", (packed([]),)).fetchone() is None:
            raise _without_boxes(root, found)  # the labelled ones were copies of others
        labels, warnings = _labels(given, found.classes)
        if found.without_annotation:
            said = "image has no annotation and counts as an image without objects."
            if found.without_annotation > 1:
                said = "images have no annotation and count as images without objects."
            warnings.insert(0, f"{found.without_annotation} {said}")
        if missing := _missing(source.database, frozen):
            warnings.insert(0, f"{missing} of {len(frozen)} pictures of the frozen test split are not in the data.")
        with step.writing():
            _write(source, step, labels, found, warnings)
    assert step.committed is not None
    return step.committed


@contextmanager
def _opened(root: Path, output: Path) -> Iterator[_Source]:
    """The data folder, listed, with the processes that read it.

    Raises:
        BoxcarError: 65 where the folder holds no picture; 69 where it cannot be read, or SQLite's temporary files, from
            here to the end of the `with`, cannot be written.
    """
    # The workers start while the folder is listed.
    with temporary_database(INPUTS_SCHEMA + SCHEMA + SUMMARY_SCHEMA) as database, Workers() as workers:
        names = list_names(root, output, READER.is_annotation)
        if not any(map(is_image, names)):
            what = f"{root} holds no image" + (f", only {len(names)} XML files." if names else ".")
            raise BoxcarError(ExitCode.DATA, what, "Name a folder with JPEG, PNG, BMP or WebP images as --data.")
        yield _Source(root, READER, Listing(names, partial(_image_names, root, READER)), database, workers)


def _image_names(root: Path, reader: AnnotationReader, name: str) -> list[str]:
    """The images that an annotation file names; none where it cannot be read, which its check reports."""
    try:
        content, _ = read_file(root, name, LARGEST_ANNOTATION, "xml_too_large")
    except FaultyError:
        return []
    return reader.image_names(content)


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        what = f"{root} is no folder." if root.exists() else f"There is no folder {root}."
        raise BoxcarError(ExitCode.USAGE, what, "Name the folder of your labelled pictures as --data.")


def _check_arguments(on_fault: str, validation_fraction: float, test_fraction: float) -> None:
    if on_fault not in ("stop", "skip"):
        raise BoxcarError(ExitCode.USAGE, f"--on-fault cannot be {on_fault}.", "Choose stop or skip.")
    fractions = (validation_fraction, test_fraction)
    if not all(math.isfinite(share) and share > 0 for share in fractions) or sum(fractions) >= 1:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{validation_fraction} for validation and {test_fraction} for test leave no sound split.",
            "Choose two fractions above 0 whose sum is below 1.",
        )


def _lying_labels(root: Path, output: Path) -> dict[int, str]:
    """The labels to keep where no file of them was named: of the one in the data folder or directly below it."""
    places = (root / LABEL_MAP, *sorted(root.glob(f"[!.]*/{LABEL_MAP}")))
    # The step's own output of an earlier start may lie in the data folder; what it wrote is not given to it.
    lying = [path for path in places if path.is_file() and path.parent.resolve() != output.resolve()]
    maps = [read_label_map(path) for path in lying]
    if any(other != maps[0] for other in maps):
        raise BoxcarError(
            ExitCode.DATA,
            f"{root} holds label maps that differ: {', '.join(map(str, lying))}.",
            "Name the one that counts as --label-map.",
        )
    return maps[0] if maps else {}


def _look(source: _Source, full_decode: bool) -> CheckedBatch:
    """Examines all pictures and XML files; sound ones go to the table `pictures`."""
    root, reader, listing, database, workers = source
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

    with Progress("Reading images", sum(map(is_image, listing.names)), "images") as progress:
        for checked in workers.run("check", batches(), progress.advance):
            assert isinstance(checked, CheckedBatch)
            rows = ((os.fsencode(name), sha256) for name, sha256 in checked.read)
            database.executemany("INSERT INTO inputs VALUES (?, ?)", rows)
            database.executemany(INSERT, checked.rows)
            found.merge(checked)
        progress.advance(progress.total - progress.done)  # those that only a fault of the pairing names
    found.faults.sort()
    return found


def _digest(database: sqlite3.Connection) -> str:
    """The hash of the names and content of everything that was read."""
    digest = hashlib.sha256()
    for name, sha256 in database.execute("SELECT name, sha256 FROM inputs ORDER BY name"):
        digest.update(b"%d %s %s\n" % (len(name), name, sha256))
    return digest.hexdigest()


def _check_found(root: Path, found: CheckedBatch, on_fault: str) -> None:
    if found.faults and on_fault == "stop":
        faults = "1 fault" if len(found.faults) == 1 else f"{len(found.faults)} faults"
        raise BoxcarError(
            ExitCode.DATA,
            f"The labelled pictures in {root} have {faults}.",
            "Mend what is listed above, or leave those pictures out with --on-fault skip.",
            tuple(map(str, found.faults)),
        )
    if not found.classes:
        raise _without_boxes(root, found)


def _without_boxes(root: Path, found: CheckedBatch) -> BoxcarError:
    left = " that is without a fault" if found.faults else ""
    return BoxcarError(
        ExitCode.DATA,
        f"{root} holds no labelled box{left}.",
        "Label your pictures with labelImg and save as Pascal VOC.",
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


def _missing(database: sqlite3.Connection, frozen: frozenset[str]) -> int:
    """How many pictures of the frozen test split are not there."""
    there = database.execute("SELECT COUNT(DISTINCT sha256) FROM pictures WHERE split = 'test'").fetchone()[0]
    return len(frozen) - int(there) if frozen else 0


def _write(source: _Source, step: Step, labels: dict[int, str], found: CheckedBatch, warnings: list[str]) -> None:
    root, _, _, database, workers = source
    summary = Summary(labels, database)
    total = int(database.execute("SELECT COUNT(*) FROM pictures").fetchone()[0])
    with Progress("Writing records", total, "pictures") as progress:
        try:
            for written in workers.run("write", _shards(root, step.folder, database, labels), progress.advance):
                assert isinstance(written, Written)
                step.hashed[written.name] = {"bytes": written.bytes, "sha256": written.sha256}
                summary.add(written.name, written.counts)
        except BaseException:
            # Before the step clears its folder: nobody may write into it after that.
            workers.kill()
            raise
    write_label_map(step.folder / LABEL_MAP, labels)
    dataset = {
        "version": _version(database, labels),
        "label_map": {str(number): name for number, name in labels.items()},
        "splits": summary.splits_json(),
        "faults": [fault.as_json() for fault in found.faults],
        "warnings": warnings + summary.warnings(),
        "clipped_boxes": found.clipped,
        "pictures_without_xml": found.without_annotation,
        "encoded_anew": summary.encoded,
        **summary.sizes_json(),
    }
    replace_pieces(step.folder / DATASET, dataset_pieces(dataset, database))


def _shards(root: Path, folder: Path, database: sqlite3.Connection, labels: dict[int, str]) -> Iterator[Shard]:
    """The shards to write. Their pictures come in the order of their hashes, which is as good as shuffled."""
    ids = {name: number for number, name in labels.items()}
    for split in SPLITS:
        count, size = database.execute("SELECT COUNT(*), SUM(size) FROM pictures WHERE split = ?", (split,)).fetchone()
        number = max(1, math.ceil((size or 0) / SHARD_BYTES), math.ceil(count / SHARD_PICTURES))
        rows = database.execute(
            "SELECT name, sha256, ROW_NUMBER() OVER (PARTITION BY sha256 ORDER BY digest, name) - 1,"
            " size, modified, width, height, treatment, turn, objects"
            " FROM pictures WHERE split = ? ORDER BY sha256, digest, name",
            (split,),
        )
        for index in range(number):
            name = f"{split}-{index:05d}-of-{number:05d}.tfrecord"
            pictures = islice(rows, count * (index + 1) // number - count * index // number)
            yield Shard(folder / name, root, [Stored(*row) for row in pictures], ids)


def _version(database: sqlite3.Connection, labels: dict[int, str]) -> str:
    """The data set's version: the hash of its images, boxes and label map, in whatever order and folders they lay."""
    digest = hashlib.sha256(label_map_text(labels).encode())
    for (picture,) in database.execute("SELECT digest FROM pictures ORDER BY digest"):
        digest.update(picture)
    return digest.hexdigest()
