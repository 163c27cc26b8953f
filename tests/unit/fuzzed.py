"""Damages small label files at random and reads them as the records step does, in this process and from memory.

`python fuzzed.py FORMAT COUNT SEED` reads COUNT damaged files. It ends with an exit code other than 0 if one gives anything but
a sound box, a fault, or a BoxcarError, or takes 5 seconds of CPU time; `fuzzed-input` then holds the folder. The last line is
the memory that the process had at most, in MB.
"""

import io
import json
import random
import re
import resource
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from example_bytes import checksum, example, floats, frame, integers, texts

from boxcar.errors import BoxcarError
from boxcar.records.annotation import checked_objects
from boxcar.records.faults import Fault, FaultyError, Kind
from boxcar.records.formats import find_reader
from boxcar.records.images import is_image
from boxcar.records.reader import AnnotationReader, DataFiles, ImageHolder, Item, Listing

WIDTH, HEIGHT = 64, 48
SECONDS = 5  # of CPU time for one folder
ADDRESS_SPACE = 2 << 30  # more ends in a MemoryError
IMAGES = ("a.jpg", "b.jpg", "images/c.png")
Folder = Mapping[str, bytes]
Damage = Callable[[random.Random, bytes], bytes]

# Numbers, texts in quotes, tags, words, blanks, and single signs.
_TOKEN = re.compile(rb"""-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"[^"]{0,99}"|</?[^<>]{0,99}>|\w+|\s+|.""", re.DOTALL)
_ODD = (
    *(b"", b"0", b"-1", b"-0.0", b"0.5", b"NaN", b"-Infinity", b"Infinity", b"inf", b"1e308", b"-1e308", b"1e999", b"1_0"),
    *(b"9" * 25, b"-" + b"9" * 400, b"9" * 5000, b"2147483648", b"9223372036854775807", b"null", b"true", b"[]", b"{}", b'""'),
    *(b"\0", b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b"\\", b'"', b"'", b"<", b"&", b"&lt;", b"<!DOCTYPE a>", b"]]>", b"\n"),
    *(b",", b":", b"[[[[", b"]", b"}", b"{", b"a.jpg", b'"a.jpg"', b'"../../b.jpg"', b'"id"', b'"cat"', b"\xc2\x85"),
)
_ENCODINGS = ("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "cp037")


def damaged(chance: random.Random, content: bytes) -> bytes:
    """The text with one to four changes, mostly of its values, so that most texts still have a structure."""
    tokens = _TOKEN.findall(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not tokens:
            break
        at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
        values = [number for number, token in enumerate(tokens) if token[:1].isalnum()] if chance.random() < 0.6 else []
        if values and chance.random() < 0.5:
            tokens[chance.choice(values)] = b"%.3f" % chance.uniform(-5, 70)
            continue
        at = chance.choice(values) if values else at
        match chance.randrange(3) if values else chance.randrange(9):
            case 0 | 1 | 2:
                tokens[at] = chance.choice(_ODD)
            case 3:
                tokens.insert(at, chance.choice(_ODD))
            case 4:
                del tokens[at : at + chance.choice((1, 1, 2, 5, 20))]
            case 5:
                some = tokens[at : at + chance.choice((1, 2, 5, 20, 60))]
                tokens[other:other] = some * chance.choice((1, 1, 1, 3, 50))
            case 6:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 7:
                depth = chance.choice((1, 5, 100, 3000))
                tokens[at] = chance.choice((b"[", b'{"a":', b"<a>")) * depth + tokens[at]
            case 8:
                tokens[at] = damaged_bytes(chance, tokens[at])
    text = b"".join(tokens)
    if chance.random() < 0.05:
        text = text.decode("utf-8", "replace").encode(chance.choice(_ENCODINGS), "replace")
    return text[: chance.randrange(len(text) + 1)] if chance.random() < 0.1 else text


def damaged_bytes(chance: random.Random, content: bytes) -> bytes:
    """The bytes with one to four changes."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(3):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + chance.randint(1, 8)]
            case _:
                changed[at:at] = chance.randbytes(chance.randint(1, 4))
    return bytes(changed)


_FEATURES = {
    "image/encoded": (1, texts(b"\x89PNG image")),
    "image/filename": (1, texts(b"a.jpg")),
    "image/height": (3, integers(HEIGHT)),
    "image/width": (3, integers(WIDTH)),
    **{f"image/object/bbox/{side}": (2, floats(0.1, 0.2)) for side in ("xmin", "ymin")},
    **{f"image/object/bbox/{side}": (2, floats(0.5, 0.75)) for side in ("xmax", "ymax")},
    "image/object/class/text": (1, texts(b"cat", b"dog")),
    "image/object/class/label": (3, integers(1, 2)),
    "image/object/is_crowd": (3, integers(0, 1)),
}
_ODD_FEATURES = (
    *((2, floats(number)) for number in (float("nan"), float("inf"), -3e38, 3e38, -0.0)),
    *((2, floats(0.1, number)) for number in (float("nan"), -float("inf"), 3e38)),
    *((3, integers(*numbers)) for numbers in ((), (0,), (-1, 2), (2**63 - 1,), (-(2**63), 1))),
    *((1, texts(*words)) for words in ((), (b"",), (b"\xff", b"cat"), (b"../../x", b"\0"), (b"a" * 5000,))),
    *((kind, b"\x0a\x03abc") for kind in (1, 2, 3, 4)),
)


def damaged_records(chance: random.Random, content: bytes) -> bytes:
    """A sound record and one with one to three other features, whose bytes may be damaged, before or after the checksum."""
    features: dict[str, tuple[int, bytes] | None] = dict(_FEATURES)
    for _ in range(chance.randint(1, 3)):
        features[chance.choice(list(_FEATURES))] = chance.choice((None, *_ODD_FEATURES))
    body = example(**features)
    records = content + frame(damaged_bytes(chance, body) if chance.random() < 0.4 else body)
    if chance.random() < 0.1:
        length = struct.pack("<Q", chance.choice((0, 1, 2**31, 2**63, 2**64 - 1)))
        records += length + struct.pack("<I", checksum(length)) + b"x" * 20
    return damaged_bytes(chance, records) if chance.random() < 0.2 else records


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


_VOC = (
    b"<annotation><filename>a.jpg</filename><size><width>64</width><height>48</height></size><object><name>cat</name>"
    b"<difficult>1</difficult><bndbox><xmin>8</xmin><ymin>6</ymin><xmax>40</xmax><ymax>30.5</ymax></bndbox></object></annotation>"
)
_COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}, {"id": 2, "file_name": "x/b.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [8, 6, 32, 24], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 4, "segmentation": [[1, 1, 9, 1, 9, 9.5]], "iscrowd": 0},
        {"id": 3, "image_id": 2, "category_id": 3, "segmentation": {"counts": [5, 9, 3058], "size": [48, 64]}, "iscrowd": 0},
        {"id": 4, "image_id": 2, "category_id": 3, "segmentation": {"counts": "59`n2", "size": [48, 64]}, "iscrowd": 1},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
}
_CVAT = (
    b'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task><subset>train</subset></task></meta>'
    b'<image id="0" name="a.jpg" width="64" height="48" subset="val"><box label="cat" xtl="8" ytl="6" xbr="40" ybr="30" '
    b'rotation="30"/><polygon label="dog" points="1,1;9,1;9,9.5"/><ellipse label="cat" cx="9" cy="9" rx="3" ry="4"/></image>'
    b'<image id="1" name="b.jpg"><mask label="dog" rle="1,2" left="1" top="2" width="3" height="4"/>'
    b'<points label="x" points="1,1"/><tag label="y"/></image></annotations>'
)


def _studio(kind: str, value: dict[str, object]) -> dict[str, object]:
    return {"type": kind, "original_width": 64, "original_height": 48, "value": value}


_LABEL_STUDIO = [
    {
        "id": 1,
        "data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"},
        "annotations": [
            {
                "result": [
                    _studio(
                        "rectanglelabels",
                        {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 9, "rectanglelabels": ["cat"]},
                    ),
                    _studio("polygonlabels", {"points": [[1, 1], [9, 1], [9, 9.5]], "polygonlabels": ["dog"]}),
                    _studio("ellipselabels", {"x": 9, "y": 9, "radiusX": 3, "radiusY": 4, "ellipselabels": ["cat"]}),
                ]
            }
        ],
    },
    {"id": 2, "data": {"image": "b.jpg"}, "annotations": [{"result": []}], "predictions": []},
]
_LABEL_STUDIO_MIN = [
    {
        "image": "a.jpg",
        "label": [
            {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["cat"], "original_width": 64, "original_height": 48}
        ],
    }
]
_LABELME = {
    "version": "5.5.0",
    "shapes": [
        {"label": "cat", "points": [[8, 6], [40, 30]], "group_id": None, "shape_type": "rectangle"},
        {"label": "dog", "points": [[1, 1], [9, 1], [9, 9.5]], "group_id": 1, "shape_type": "polygon"},
        {"label": "dog", "points": [[20, 20], [20, 24]], "group_id": 1, "shape_type": "circle"},
    ],
    "imagePath": "a.jpg",
    "imageData": None,
    "imageHeight": 48,
    "imageWidth": 64,
}


def _region(shape: dict[str, object], name: str) -> dict[str, object]:
    return {"shape_attributes": shape, "region_attributes": {"class": name}}


_VIA = {
    "a.jpg123": {
        "filename": "a.jpg",
        "size": 123,
        "regions": [
            _region({"name": "rect", "x": 8, "y": 6, "width": 32, "height": 24}, "cat"),
            _region({"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9.5]}, "dog"),
            _region({"name": "ellipse", "cx": 20, "cy": 20, "rx": 3, "ry": 4, "theta": 0.5}, "cat"),
        ],
        "file_attributes": {},
    },
    "b.jpg9": {"filename": "b.jpg", "size": 9, "regions": {"0": _region({"name": "circle", "cx": 9, "cy": 9, "r": 3}, "cat")}},
}
_YOLO = b"0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.2 0.1 0.2 0.2\n0 0.5 0.5 0.25 0.25 0.9\n"
_COURSE = b"filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,64,48,cat,8,6,40,30\nb.jpg,64,48,dog,1,1,9,9\na.jpg,,,,,,,\n"
_AUTOML = b"TRAIN,gs://x/a.jpg,cat,0.1,0.1,,,0.5,0.5,,\nTEST,gs://x/b.jpg,dog,0,0,1,0,1,1,0,1\nUNASSIGNED,c.png,,,,,,,,,\n"
_LABEL_MAP = b"item {\n  id: 1\n  name: 'cat'\n}\nitem {\n  id: 2\n  name: 'dog'\n}\n"


class Seed(NamedTuple):
    """A folder with labels of a format."""

    damage: Damage
    damaged: tuple[tuple[str, bytes], ...]  # of which one is damaged
    sound: Folder = MappingProxyType({})  # files that stay as they are
    together: int = 1  # how many damaged files are read at once, in folders of their own


SEEDS: dict[str, Seed] = {
    "voc": Seed(damaged, (("a.xml", _VOC),), together=10),
    "coco": Seed(damaged, (("instances.json", _json(_COCO)), ("_annotations.coco.json", _json(_COCO))), together=2),
    "yolo": Seed(
        damaged,
        (("a.txt", _YOLO), ("a.txt", _YOLO), ("a.txt", _YOLO), ("data.yaml", b"names: [cat, dog]\ntrain: a\nval: [b.txt]\n")),
        {"data.yaml": b"names: [cat, dog]\n", "b.txt": _YOLO},
        together=10,
    ),
    "csv": Seed(damaged, (("labels.csv", _COURSE), ("labels.csv", _AUTOML))),
    "cvat": Seed(damaged, (("annotations.xml", _CVAT),), together=5),
    "label-studio": Seed(damaged, (("project-1.json", _json(_LABEL_STUDIO)), ("project-1.json", _json(_LABEL_STUDIO_MIN)))),
    "labelme": Seed(damaged, (("a.json", _json(_LABELME)),), together=10),
    "via": Seed(damaged, (("via.json", _json(_VIA)), ("via.json", _json({"_via_settings": {}, "_via_img_metadata": _VIA})))),
    "tfrecord": Seed(
        damaged_records,
        (("train.record", frame(example(**_FEATURES))), ("train.record", b"")),
        {"label_map.pbtxt": _LABEL_MAP},
        together=5,
    ),
}


def folders(format: str, count: int, seed: int) -> Iterator[tuple[int, Folder]]:
    """Folders with `count` damaged files in all, and how many each has. The same seed gives the same folders."""
    chance = random.Random(f"{format} {seed}")
    (damage, chosen, sound, together) = SEEDS[format]
    while count > 0:
        name, content = chance.choice(chosen)
        # A damaged class list would hide what is in other files.
        size = 1 if name in sound else min(together, count)
        files = dict(sound)
        for number in range(size):
            above = f"f{number}/" if number else ""
            files |= dict.fromkeys((above + image for image in IMAGES), b"")
            files[above + name] = damage(chance, content)
        yield size, files
        count -= size


class Found(NamedTuple):
    """What a folder gave."""

    boxes: int  # that are sound
    kinds: set[Kind]  # of the faults


def read_folder(format: str, folder: Folder) -> Found:
    """Reads labels of a format.

    Raises:
        BoxcarError: they cannot be read at all.
    """
    names = sorted(folder)

    def opened(name: str) -> BinaryIO:
        return io.BytesIO(folder[name])

    reader = find_reader(DataFiles(names, opened), format).reader  # type: ignore[arg-type]
    labels = [name for name in names if reader.is_annotation(name)]
    if isinstance(reader, ImageHolder):
        listed = sorted(labels + reader.held_images(labels, opened))
    else:
        listed = sorted({*labels, *filter(is_image, names)})
    listing = Listing(listed, lambda name: reader.image_names(folder[name]), opened)
    images, boxes, kinds = set[str | None](), 0, set[Kind]()
    for item in reader.items(listing):
        if isinstance(item, Fault):
            assert item.reason and str(item).encode("utf-8", "surrogateescape"), item
            kinds.add(item.kind)
            continue
        assert item.image not in images or item.image is None, item
        images.add(item.image)
        if item.source is not None:
            found = _read(reader, item, folder[item.source])
            boxes += found.boxes
            kinds |= found.kinds
    reader.labeled_images(listing)
    return Found(boxes, kinds)


def _read(reader: AnnotationReader, item: Item, source: bytes) -> Found:
    content = source if item.part is None else item.part
    if item.extent is not None:
        begin, size = item.extent
        content = source[begin : begin + size]
    try:
        assert len(reader.digest(content)) == 32
        annotation = reader.read(content)
        if isinstance(reader, ImageHolder):
            begin, size = reader.image_place(content)
            assert 0 <= begin <= begin + size <= len(content)
        found = checked_objects(annotation, WIDTH, HEIGHT)
    except FaultyError as error:
        assert error.reason
        return Found(0, {error.kind})
    assert len(found.sound) + found.repeated + len(found.problems) >= len(annotation.objects), annotation
    for one in found.sound:
        assert one.name and one.name == " ".join(one.name.split()) and one.name.encode(), one
        assert 0 <= one.xmin < one.xmax <= WIDTH and 0 <= one.ymin < one.ymax <= HEIGHT, one
    return Found(len(found.sound), {kind for kind, _ in found.problems})


def _too_slow(*_: object) -> None:
    raise AssertionError(f"it takes over {SECONDS} s")


def main(format: str, count: int, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGPROF, _too_slow)
    refused = boxes = 0
    for size, folder in folders(format, count, seed):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            boxes += read_folder(format, folder).boxes
        except BoxcarError as error:
            assert error.what and error.code in (64, 65), error
            refused += size
        except BaseException:
            place = Path(tempfile.gettempdir(), "fuzzed-input")
            for name, content in folder.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
            raise
        signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"{refused} refused with their folder; {boxes} sound boxes in the others")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
