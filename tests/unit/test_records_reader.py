"""The interface for label formats also fits a format with one file for many images."""

import csv
import hashlib
import io
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from labelled import picture, save

from boxcar.records.annotation import Annotation, RawObject
from boxcar.records.check import Batch, check, open_data_file
from boxcar.records.checked import ROW, Row
from boxcar.records.faults import Fault
from boxcar.records.images import is_image
from boxcar.records.reader import AnnotationReader, Item, Listing


class _Csv:
    """One box per line: `image,class,xmin,ymin,xmax,ymax`. The lines of an image are together."""

    format = "csv"
    title = "CSV"

    def is_annotation(self, name: str) -> bool:
        return name.endswith(".csv")

    def image_names(self, content: bytes) -> list[str]:
        return [line.split(",")[0] for line in content.decode().splitlines()]

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        images = {name for name in listing.names if is_image(name)}
        for source in filter(self.is_annotation, listing.names):
            with listing.open(source) as file:
                lines = io.TextIOWrapper(file)
                for image, part in groupby(lines, lambda line: line.split(",")[0]):
                    if image in images:
                        images.remove(image)
                        yield Item(image, source, "".join(part).encode())
                    else:
                        yield Fault(source, "missing_picture", f"there is no {image}")
        yield from (Item(image, None) for image in sorted(images))

    def labeled_images(self, listing: Listing) -> set[str]:
        return {image for name in filter(self.is_annotation, listing.names) for image in listing.image_names(name)}

    def read(self, content: bytes) -> Annotation:
        rows = csv.reader(content.decode().splitlines())
        objects = [RawObject(name, (float(x0), float(y0), float(x1), y1)) for _, name, x0, y0, x1, y1 in rows]
        return Annotation(None, None, objects)

    def digest(self, content: bytes) -> bytes:
        return hashlib.sha256(content).digest()


def test_one_file_for_many_images_is_read_in_parts(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"{number}.jpg", picture(number))
    lines = ["0.jpg,cat,1,1,9,9", "0.jpg,dog,2,2,8,8", "1.jpg,cat,1,1,9,x", "2.jpg,cat,-1,1,9,9", "7.jpg,cat,1,1,9,9"]
    (tmp_path / "labels.csv").write_text("".join(f"{line}\n" for line in lines))
    reader: AnnotationReader = _Csv()
    names = sorted(path.name for path in tmp_path.iterdir())
    open_file = partial(open_data_file, tmp_path)
    listing = Listing(names, lambda name: reader.image_names((tmp_path / name).read_bytes()), open_file)
    found = list(reader.items(listing))
    assert [fault.reason for fault in found if isinstance(fault, Fault)] == ["there is no 7.jpg"]
    checked = check(Batch(tmp_path, reader, [item for item in found if isinstance(item, Item)], True, "background"))
    rows = list(map(Row._make, ROW.iter_unpack(checked.rows)))
    assert [(row.sound, row.boxes) for row in rows] == [(True, 2), (False, 0), (True, 1), (True, 0)]
    assert [str(fault) for fault in checked.faults] == ["labels.csv: for 1.jpg, box 1 (cat) has 'x' as its ymax"]
    assert (checked.classes, checked.clipped, checked.without_annotation.count) == ({"cat", "dog"}, 1, 1)
    digests = [row.source_digest for row in rows]
    assert len(set(digests)) == 4 and not any(digests[3]), "each image has the digest of its own lines"
