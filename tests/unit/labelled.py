"""Makes small labelled pictures as labelImg saves them, for the tests of the records step."""

import hashlib
import struct
from pathlib import Path
from typing import Any

from PIL import Image

Box = tuple[str, object, object, object, object]


def picture(seed: object, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture that no other seed gives: 16 random tiles, enlarged."""
    noise = hashlib.shake_256(repr(seed).encode()).digest(4 * 4 * 3)
    return Image.frombytes("RGB", (4, 4), noise).resize(size, Image.Resampling.NEAREST)


def save(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def xml_text(filename: str, size: tuple[int, int] | None, boxes: list[Box], extra: str = "") -> str:
    objects = "".join(
        f"<object><name>{name}</name><pose>Frontal</pose><truncated>1</truncated><difficult>0</difficult>"
        f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        for name, xmin, ymin, xmax, ymax in boxes
    )
    sizes = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return (
        f"<annotation><folder>x</folder><filename>{filename}</filename><path>C:\\elsewhere\\{filename}</path>"
        f"{sizes}<segmented>0</segmented>{objects}{extra}</annotation>"
    )


def label(path: Path, size: tuple[int, int] | None = (64, 48), boxes: list[Box] | None = None, filename: str = "") -> None:
    """Writes an XML file; `path` is the XML's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boxes = [("cat", 8, 6, 40, 30)] if boxes is None else boxes
    path.write_text(xml_text(filename or path.with_suffix(".jpg").name, size, boxes))


def pair(folder: Path, stem: str, boxes: list[Box] | None = None, size: tuple[int, int] = (64, 48)) -> Path:
    """A JPEG and its XML; the JPEG's path."""
    save(folder / f"{stem}.jpg", picture(stem, size), quality=90)
    label(folder / f"{stem}.xml", size, boxes)
    return folder / f"{stem}.jpg"


def data_set(folder: Path, count: int = 6) -> Path:
    """Sound pictures of cats, p0 and on."""
    for number in range(count):
        pair(folder, f"p{number}")
    return folder


def records_of(path: Path) -> list[bytes]:
    """The records of a TFRecord file, without a look at its checksums."""
    content, position, found = path.read_bytes(), 0, []
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        found.append(content[position + 12 : position + 12 + length])
        position += length + 16
    return found
