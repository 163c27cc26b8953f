"""Writes the step's files: shards, label map, `dataset.json`, `box_shapes.json`, and the health page."""

import hashlib
import json
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from boxcar.data.box_shapes import write_box_shapes
from boxcar.data.label_map import label_map_text, write_label_map
from boxcar.inference.specification import Thresholds
from boxcar.records.checked import TREATMENTS, CheckedBatch
from boxcar.records.duplicates import Duplicates
from boxcar.records.health import examine
from boxcar.records.health_duplicates import duplicate_thumbnails
from boxcar.records.health_page import suspicious_thumbnails, write_health_page
from boxcar.records.shards import Shard, write_shard
from boxcar.records.source import Source
from boxcar.records.split import groups
from boxcar.records.split_names import SPLITS
from boxcar.records.summary import Summary
from boxcar.records.table import Images, hash_at
from boxcar.run.layout import DATASET, LABEL_MAP
from boxcar.run.progress import Progress
from boxcar.run.step import Step
from boxcar.storage.local_files import replace_bytes

SHARD_BYTES = 100_000_000
SHARD_IMAGES = 5_000  # of very small images; a shard's list of images is held in memory


def write_files(
    source: Source,
    step: Step,
    images: Images,
    labels: dict[int, str],
    found: CheckedBatch,
    warnings: list[str],
    alike: dict[str, Any],
    duplicates: Duplicates,
    *,
    ignores_difficult: bool = False,
) -> None:
    """Writes everything into the step's folder.

    Args:
        source: the data folder, all of whose images have been checked.
        step: the open step. Receives the hashes of the shards.
        images: those to write, ordered by split, then by hash.
        labels: the classes by id.
        found: the totals of the checks.
        warnings: sentences for `dataset.json`.
        alike: what `dataset.json` says about groups and near-duplicates.
        duplicates: for the health page.
        ignores_difficult: whether objects that are marked difficult are left out of scores.

    Raises:
        BoxcarError: 65 if an image has changed since it was checked; 69 if a file cannot be read or written.
    """
    summary = Summary(labels)
    with Progress("Writing records", len(images), "images") as progress:
        try:
            for shard, written in source.workers.run(
                write_shard, _shards(source, step.folder, images, labels, ignores_difficult, masks=found.outlines > 0)
            ):
                step.hashed[written.name] = {"bytes": written.bytes, "sha256": written.sha256}
                summary.add(written.name, written.counts)
                progress.advance(len(shard.names))
        except BaseException:
            # Before the step clears its folder: nothing may be written into it after that.
            source.workers.kill()
            raise
    health = examine(source.table, images, list(labels.values()))
    thumbnails, pairs = suspicious_thumbnails(source, images, health), duplicate_thumbnails(source, duplicates)
    source.workers.close()  # frees their memory before `dataset.json` needs some
    write_label_map(step.folder / LABEL_MAP, labels)
    write_box_shapes(step.folder, summary.train_shapes)
    dataset = {
        "version": _version(images, labels),
        "labels": {"format": source.reader.title, "files": sum(map(source.reader.is_annotation, source.listing.names))},
        "label_map": {str(number): name for number, name in labels.items()},
        **alike,
        "splits": summary.splits_json(images),
        "faults": [fault.as_json() for fault in found.faults],
        **({"outlines": summary.outlines} if found.outlines else {}),
        "warnings": warnings + (summary.outline_warnings() if found.outlines else []) + summary.warnings(),
        **({"odd_orientations": sorted(found.odd_orientations)} if found.odd_orientations else {}),
        "clipped_boxes": found.clipped,
        "pictures_without_xml": found.without_annotation.count,
        **({"most_boxes": most} if (most := int(images["boxes"].max())) > Thresholds().max_detections else {}),
        "encoded_anew": int((images["treatment"] != TREATMENTS.index("keep")).sum()),
        **summary.sizes_json(images),
    }
    # In pieces: the text of all hashes need not be in memory at once.
    pieces = json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False).iterencode(dataset)
    replace_bytes(step.folder / DATASET, (piece.encode() for piece in chain(pieces, ["\n"])))
    write_health_page(step.folder, source, dataset, found.faults, images, health, thumbnails, duplicates, pairs)


def _shards(
    source: Source, folder: Path, images: Images, labels: dict[int, str], ignores_difficult: bool, masks: bool
) -> Iterator[Shard]:
    """The shards to write. Their images come in the order of their hashes, which is as good as shuffled."""
    ids = {name: number for number, name in labels.items()}
    for split, name in enumerate(SPLITS):
        rows = images[slice(*np.searchsorted(images["split"], (split, split + 1)))]
        starts, group = groups(rows)
        rows["occurrence"] = np.arange(len(rows)) - starts[group]
        size = int(rows["size"].sum() + (rows["packed"].sum() if masks else 0))
        number = max(1, math.ceil(size / SHARD_BYTES), math.ceil(len(rows) / SHARD_IMAGES))
        for index in range(number):
            some = rows[len(rows) * index // number : len(rows) * (index + 1) // number]
            path = folder / f"{name}-{index:05d}-of-{number:05d}.tfrecord"
            names = [source.listing.names[place] for place in some["image"]]
            files = [source.listing.names[place] for place in np.where(some["offset"] < 0, some["image"], some["source"])]
            packed = source.table.objects(some)
            yield Shard(path, source.root, names, files, some.tobytes(), packed, ids, ignores_difficult, masks)


def _version(images: Images, labels: dict[int, str]) -> str:
    """The data set's version: the hash of its images, boxes, and label map, regardless of order and folders."""
    digest = hashlib.sha256(label_map_text(labels).encode())
    for content in np.sort(images["digest"]):
        digest.update(hash_at(content))
    return digest.hexdigest()
