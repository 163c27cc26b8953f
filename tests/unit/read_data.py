"""Reads a data folder as the records step does, but in this process, for the tests of the label formats."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from boxcar.config.run_settings import LabelFormat
from boxcar.records.annotation import LabeledObject, unpack
from boxcar.records.check import Batch, check, open_data_file
from boxcar.records.checked import ROW, Row
from boxcar.records.faults import Fault
from boxcar.records.formats import FORMATS, find_reader
from boxcar.records.images import is_image
from boxcar.records.listing import is_object_mask, list_names
from boxcar.records.reader import AnnotationReader, DataFiles, ImageHolder, Item, Listing
from boxcar.records.source import image_names


class Read(NamedTuple):
    """What was found in a data folder."""

    reader: AnnotationReader
    notes: tuple[str, ...]
    items: list[Item]
    faults: list[Fault]
    objects: dict[str, list[LabeledObject]]  # of each image without a fault
    described: set[str]  # by `labeled_images`
    unused: list[str]  # one of the outlines that cannot be used, of each image with any

    @property
    def boxes(self) -> dict[str, list[tuple[str, float, float, float, float]]]:
        return {image: [item[:5] for item in objects] for image, objects in self.objects.items()}

    @property
    def splits(self) -> dict[str, int | None]:
        return {item.image: item.split for item in self.items if item.image in self.objects}

    @property
    def unlabeled(self) -> list[str]:
        return [item.image for item in self.items if item.image is not None and item.source is None]

    @property
    def kinds(self) -> list[str]:
        return sorted(fault.kind for fault in self.faults)

    @property
    def reasons(self) -> list[str]:
        return sorted(map(str, self.faults))


def data_files(folder: Path) -> DataFiles:
    return DataFiles(list_names(folder, folder / "none").names, partial(open_data_file, folder))


def formats_of(folder: Path) -> list[str]:
    """The formats that recognize a folder's files."""
    files = data_files(folder)
    return [name for name, recognize in FORMATS.items() if recognize(files) is not None]


def read_data(folder: Path, wanted: LabelFormat | None = None) -> Read:
    files = data_files(folder)
    reader, _, notes = find_reader(files, wanted)
    holder = reader if isinstance(reader, ImageHolder) else None
    names = [name for name in files.names if (holder is None and is_image(name)) or reader.is_annotation(name)]
    if holder is not None:
        names = sorted(names + holder.held_images(names, files.open))
    masks = list(filter(is_object_mask, list_names(folder, folder / "none").masks))
    listing = Listing(names, partial(image_names, folder, reader), files.open, masks)
    found = list(reader.items(listing))
    items = [item for item in found if isinstance(item, Item)]
    images = [item.image for item in items if item.image is not None]
    assert len(images) == len(set(images)), "an image is in one item"
    faults = [item for item in found if isinstance(item, Fault)]
    objects, unused = {}, []
    for item in items:
        checked = check(Batch(folder, reader, [item], False, "background"))
        faults += checked.faults
        unused += [checked.unused_outline] if checked.unused_outlines else []
        row = Row._make(next(ROW.iter_unpack(checked.rows)))
        if row.sound:
            assert item.image is not None
            objects[item.image] = unpack(bytes(checked.objects[: row.packed]))
    return Read(reader, notes, items, sorted(faults), objects, reader.labeled_images(listing), unused)
