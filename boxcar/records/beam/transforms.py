"""What the transforms of the pipelines do. Each function gets the name of a value in the scratch folder, and returns others'.

An error becomes the value that is passed on, instead of ending the pipeline, because runners repeat what fails and keep only
an exception's text.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from boxcar.errors import BoxcarError, ExitCode, explain
from boxcar.records.beam.place import Place
from boxcar.records.beam.scratch import Scratch
from boxcar.records.check import Batch, check
from boxcar.records.checked import CheckedBatch
from boxcar.records.engine import MakePlan, Plan, Settings
from boxcar.records.faults import Fault
from boxcar.records.reader import AnnotationReader, Item, Listing
from boxcar.records.shards import Shard, WrittenShard, write_shard
from boxcar.records.source import Contents, Source, Workers, batches, finish, image_names, source_of
from boxcar.records.table import ImageTable
from boxcar.storage import bucket_location, open_store
from boxcar.storage.local_files import os_errors

BATCH = 256  # images

JOB, PLAN = "job", "plan"  # names in the scratch folder


@dataclass(frozen=True)
class Job:
    """What the transforms that read, check and split need."""

    place: Place
    contents: Contents
    settings: Settings
    make_plan: MakePlan


class _NoWorkers:
    """In place of workers, for a worker itself."""

    def run(self, function: Any, tasks: Any) -> Any:
        raise AssertionError(f"{function} is to be run by nobody")

    def close(self) -> None:
        pass

    def kill(self) -> None:
        pass


def located_source(place: Place, contents: Contents, table: ImageTable, workers: Workers) -> Source:
    """A data folder whose content is known, wherever its files are."""
    return source_of(
        contents,
        Listing(contents.names, partial(_image_names, place, contents.reader), place.open, contents.used_masks),
        table,
        workers,
    )


class CheckedItems(NamedTuple):
    """The items of a batch, and what was found of them."""

    items: list[Item]
    checked: CheckedBatch


class Split(NamedTuple):
    """The last value of the first pipeline: what `engine.Checked` is made of."""

    files_digest: str
    plan: Plan | BoxcarError
    objects: list[str]  # the names of the table's pieces


class ShardTask(NamedTuple):
    """One shard to write."""

    place: Place
    output: str  # URI of the step's folder
    shard: Shard


def read_items(_: bytes, scratch_uri: str) -> Iterator[str]:
    """Pairs images and annotations, and yields batches of them."""
    scratch = Scratch(scratch_uri)
    faults: list[Fault] = []
    try:
        job: Job = scratch.get(JOB)
        with _source(job) as source:
            settings = job.settings
            choice = (
                settings.full_decode,
                settings.unlabeled,
                settings.classes,
                settings.group_by == "time",
                settings.max_megapixels,
            )
            for number, batch in enumerate(batches(source, faults, *choice, size=BATCH)):
                yield scratch.put(f"batches/{number:08d}", (job.place, batch, tuple(faults)))
                faults.clear()
    except Exception as error:  # noqa: BLE001 - see above
        yield scratch.put("batches/error", _explained(error))


def check_images(name: str, scratch_uri: str) -> str:
    """Reads and checks the images and annotations of a batch."""

    def work(value: tuple[Place, Batch, tuple[Fault, ...]]) -> CheckedItems:
        place, batch, faults = value
        names = [name for item in batch.items for name in _files(item)]
        with place.files(names) as root:
            checked = check(replace(batch, root=root))
        checked.faults += faults
        return CheckedItems(batch.items, checked)

    return _passed_on(Scratch(scratch_uri), name, f"checked/{name.rpartition('/')[2]}", work)


def split_images(names: Iterable[str], scratch_uri: str) -> str:
    """Collects all checked batches, and decides which images are written, into which split."""
    scratch = Scratch(scratch_uri)

    def work(job: Job) -> Split:
        with _source(job) as source:
            table, found = source.table, CheckedBatch()
            for name in sorted(names):
                items, checked = scratch.get(name)
                table.add(items, checked)
                found.merge(checked)
            finish(found, source)
            digest = table.files_digest()
            try:
                plan: Plan | BoxcarError = job.make_plan(source, found, job.settings)
            except BoxcarError as error:
                plan = error
            objects = [scratch.put(f"objects/{number:06d}", piece) for number, piece in enumerate(table.pieces())]
            return Split(digest, plan, objects)

    return _passed_on(scratch, JOB, PLAN, work)


def write_records(name: str, scratch_uri: str) -> str:
    """Writes one shard into the step's folder."""

    def work(task: ShardTask) -> WrittenShard:
        path, remote = task.shard.path, bucket_location(task.output) is not None
        # In a folder of its own: another attempt may write the same shard at the same time.
        temporary = tempfile.TemporaryDirectory(prefix=".", dir=None if remote else path.parent)
        with os_errors(path), task.place.files(task.shard.files) as root, temporary as folder:
            file = Path(folder, path.name)
            written = write_shard(replace(task.shard, root=root, path=file))
            if remote:
                open_store(task.output).upload(file, path.name, written.sha256)
            else:
                file.replace(path)
        return written

    return _passed_on(Scratch(scratch_uri), name, f"written/{name.rpartition('/')[2]}", work)


def _passed_on(scratch: Scratch, name: str, done: str, work: Callable[[Any], Any]) -> str:
    """Puts what `work` makes of a value, or the error that ended it or an earlier transform."""
    try:
        return scratch.put(done, work(scratch.get(name)))
    except Exception as error:  # noqa: BLE001 - see above
        return scratch.put(done, _explained(error))


def _explained(error: Exception) -> BoxcarError:
    explained = explain(error)
    if explained.code == ExitCode.DEFECT:
        logging.getLogger(__name__).error("a transform failed", exc_info=error)
    return explained


@contextmanager
def _source(job: Job) -> Iterator[Source]:
    with closing(ImageTable(job.contents.names)) as table:
        yield located_source(job.place, job.contents, table, _NoWorkers())


def _files(item: Item) -> Iterator[str]:
    """The files that the check of an item reads."""
    if item.image is not None and item.extent is None:
        yield item.image
    if item.source is not None and item.part is None:
        yield item.source
    if item.masks is not None:
        yield item.masks


def _image_names(place: Place, reader: AnnotationReader, name: str) -> list[str]:
    with place.files([name]) as root:
        return image_names(root, reader, name)
