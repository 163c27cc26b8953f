"""Reads a data folder as the records step does, but in this process, for the tests of the label formats."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from boxcar.config.run_settings import LabelFormat
from boxcar.records.annotation import LabeledObject, unpack
from boxcar.records.check import ROW, Batch, Row, check, open_data_file
from boxcar.records.faults import Fault
from boxcar.records.formats import FORMATS, find_reader
from boxcar.records.images import is_image
from boxcar.records.listing import list_names
from boxcar.records.reader import DataFiles, Item, Listing
from boxcar.records.source import image_names


class Read(NamedTuple):
    """What was found in a data folder."""

    format: str
    boxes: dict[str, list[tuple[str, float, float, float, float]]]  # by image; of the sound ones only
    splits: dict[str, int | None]
    unlabeled: list[str]
    faults: list[Fault]
    described: set[str]  # by `labeled_images`

    def reasons(self) -> list[str]:
        return list(map(str, self.faults))


def formats_of(folder: Path) -> list[str]:
    """The formats that recognize a folder's files."""
    files = DataFiles(list_names(folder, folder / "none").names, partial(open_data_file, folder))
    return [name for name, recognize in FORMATS.items() if recognize(files) is not None]


def read_data(folder: Path, wanted: LabelFormat | None = None) -> Read:
    names = list_names(folder, folder / "none").names
    open_file = partial(open_data_file, folder)
    reader = find_reader(DataFiles(names, open_file), wanted).reader
    listed = [name for name in names if is_image(name) or reader.is_annotation(name)]
    listing = Listing(listed, partial(image_names, folder, reader), open_file)
    everything = list(reader.items(listing))
    items = [item for item in everything if isinstance(item, Item)]
    images = [item.image for item in items if item.image is not None]
    assert len(images) == len(set(images)), "an image is in one item"
    faults = [item for item in everything if isinstance(item, Fault)]
    boxes: dict[str, list[tuple[str, float, float, float, float]]] = {}
    splits: dict[str, int | None] = {}
    for item in items:
        checked = check(Batch(folder, reader, [item], False, "background"))
        faults += checked.faults
        (row,) = map(Row._make, ROW.iter_unpack(checked.rows))
        if row.sound and item.image is not None:
            boxes[item.image] = [_box(one) for one in unpack(bytes(checked.objects))]
            splits[item.image] = item.split
    unlabeled = [item.image for item in items if item.image is not None and item.source is None]
    return Read(reader.format, boxes, splits, unlabeled, sorted(faults), reader.labeled_images(listing))


def _box(one: LabeledObject) -> tuple[str, float, float, float, float]:
    return one.name, one.xmin, one.ymin, one.xmax, one.ymax
