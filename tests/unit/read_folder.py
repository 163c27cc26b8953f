"""Reads a data folder in this process, for the tests of label formats."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from boxcar.records.annotation import LabeledObject, unpack
from boxcar.records.check import ROW, Batch, Row, check, open_data_file
from boxcar.records.faults import Fault
from boxcar.records.formats import find_reader
from boxcar.records.images import is_image
from boxcar.records.listing import list_names
from boxcar.records.reader import AnnotationReader, DataFiles, Item, Listing
from boxcar.records.source import image_names


class ReadFolder(NamedTuple):
    """What was found in a data folder."""

    reader: AnnotationReader
    notes: tuple[str, ...]
    items: list[Item]
    faults: list[str]
    kinds: list[str]  # of the faults
    objects: dict[str, list[LabeledObject]]  # of each image without a fault

    @property
    def splits(self) -> dict[str, int | None]:
        return {item.image: item.split for item in self.items if item.image is not None}

    @property
    def boxes(self) -> dict[str, list[tuple[str, float, float, float, float]]]:
        return {image: [item[:5] for item in objects] for image, objects in self.objects.items()}


def data_files(data: Path) -> DataFiles:
    return DataFiles(list_names(data, data / "none").names, partial(open_data_file, data))


def read_folder(data: Path) -> ReadFolder:
    files = data_files(data)
    reader, _, notes = find_reader(files)
    names = [name for name in files.names if is_image(name) or reader.is_annotation(name)]
    found = list(reader.items(Listing(names, partial(image_names, data, reader), files.open)))
    items = [item for item in found if isinstance(item, Item)]
    faults = [item for item in found if isinstance(item, Fault)]
    objects = {}
    for item in items:
        checked = check(Batch(data, reader, [item], True, "background"))
        faults += checked.faults
        if Row._make(next(ROW.iter_unpack(checked.rows))).sound:
            assert item.image is not None
            objects[item.image] = unpack(bytes(checked.objects) or b"[]")
    return ReadFolder(reader, notes, items, sorted(map(str, faults)), sorted(fault.kind for fault in faults), objects)
