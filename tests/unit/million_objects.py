"""Reads an image with a million objects: `python million_objects.py FORMAT FOLDER`. Prints the memory that it needed, in MB."""

import resource
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

from example_bytes import example, frame, varint
from fuzzed import SEEDS
from labelled import picture, save
from read_data import read_data

COUNT = 1_000_000
# In the first file of a seed: what comes before the object, the object, and what separates it from the next.
_PARTS = {
    "voc": (b"<object>", b"</object>", b""),
    "coco": (b'{"id": 1, "image_id"', b'"iscrowd": 0}', b", "),
    "yolo": (b"0 0.5", b"0.25\n", b""),
    "csv": (b"a.jpg", b"40,30\n", b""),
    "cvat": (b"<box", b"/>", b""),
    "label-studio": (b'{"type"', b'["cat"]}}', b", "),
    "labelme": (b'{"label"', b'"rectangle"}', b", "),
    "via": (b'{"shape_attributes"', b'"cat"}}', b", "),
}


def pieces(format: str) -> Iterator[bytes]:
    """The content of the label file."""
    content = SEEDS[format].damaged[0][1]
    begin, end, between = _PARTS[format]
    at = content.index(begin)
    after = content.index(end, at) + len(end)
    yield content[:after]
    yield from repeat(between + content[at:after], COUNT - 1)
    yield content[after:]


def record() -> bytes:
    """A record with the sides and texts of a million boxes."""
    half = b"\x0a" + varint(4 * COUNT) + b"\0\0\0\x3f" * COUNT
    sides = {f"image/object/bbox/{side}": (2, half) for side in ("xmin", "ymin", "xmax", "ymax")}
    return frame(example(**sides, **{"image/object/class/text": (1, b"\x0a\x03cat" * COUNT)}))


def main(format: str, folder: Path) -> None:
    seed = SEEDS[format]
    for name, content in seed.sound.items():
        (folder / name).write_bytes(content)
    for name in ("a.jpg", "b.jpg"):
        save(folder / name, picture(name))
    with (folder / seed.damaged[0][0]).open("wb") as file:
        file.writelines([record()] if format == "tfrecord" else pieces(format))
    found = read_data(folder)
    print(found.reasons[:3], {name: len(boxes) for name, boxes in found.objects.items()})
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
