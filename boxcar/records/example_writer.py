"""Encodes records: `tf.train.Example` messages with the Object Detection API's keys.

The messages are those of tensorflow/core/example/{example,feature}.proto. The wire format is that of
https://protobuf.dev/programming-guides/encoding. An Example contains a map from names to lists of bytes, floats, or integers.
Every level consists of a tag, the length of its content, and the content.

The protobuf package would be faster (18 instead of 25 µs per image), but it does not write a map's keys in a fixed order. The
same images must always give the same bytes.
"""

import os
import struct
from collections.abc import Sequence
from functools import lru_cache

from boxcar.records.annotation import LabeledObject

_LENGTH_DELIMITED = 2
_FIELD_1 = bytes([1 << 3 | _LENGTH_DELIMITED])
_FIELD_2 = bytes([2 << 3 | _LENGTH_DELIMITED])
_FIELD_3 = bytes([3 << 3 | _LENGTH_DELIMITED])


def encoded_example(
    encoded: bytes,
    image_format: str,
    width: int,
    height: int,
    filename: str,
    source_id: int,
    sha256: str,
    objects: Sequence[LabeledObject],
    ids: dict[str, int],
    ignores_difficult: bool = False,
    masks: Sequence[bytes] | None = None,
) -> list[bytes]:
    """Encodes one record. The pieces only need to be joined.

    Args:
        encoded: the image's file, RGB.
        image_format: `jpeg` or `png`.
        width, height: of the image, pixels.
        filename: the source file's path, relative to the data folder.
        source_id: a number for the image; Model Garden's COCO evaluator reads it as int64.
        sha256: of the source file, hexadecimal.
        objects: with boxes in pixels of this image.
        ids: each class's id.
        ignores_difficult: whether the objects that are marked difficult are left out of scores.
        masks: a PNG for each object; None if the records have none.
    """
    boxes = {
        "image/object/bbox/xmin": [item.xmin / width for item in objects],
        "image/object/bbox/ymin": [item.ymin / height for item in objects],
        "image/object/bbox/xmax": [item.xmax / width for item in objects],
        "image/object/bbox/ymax": [item.ymax / height for item in objects],
        "image/object/area": [(item.xmax - item.xmin) * (item.ymax - item.ymin) for item in objects],
    }
    features = [
        *_bytes("image/encoded", [encoded]),
        *_bytes("image/filename", [os.fsencode(filename)]),
        *_bytes("image/format", [image_format.encode()]),
        *_integers("image/height", [height]),
        *_bytes("image/key/sha256", [sha256.encode()]),
        *_bytes("image/source_id", [str(source_id).encode()]),
        *_integers("image/width", [width]),
        *(piece for key, values in boxes.items() for piece in _floats(key, values)),
        *_integers("image/object/class/label", [ids[item.name] for item in objects]),
        *_bytes("image/object/class/text", [item.name.encode() for item in objects]),
        *_integers("image/object/difficult", [item.difficult for item in objects]),
        # A key of ours, which the API does not read.
        *(_integers("image/object/ignore", [item.difficult for item in objects]) if ignores_difficult else ()),
        *_integers("image/object/is_crowd", [0] * len(objects)),
        *([] if masks is None else _bytes("image/object/mask", masks)),
        *_integers("image/object/truncated", [item.truncated for item in objects]),
        *_bytes("image/object/view", [item.pose.encode() for item in objects]),
    ]
    return [_FIELD_1, _varint(sum(map(len, features))), *features]


def _bytes(key: str, values: Sequence[bytes]) -> list[bytes]:
    # The image is not copied here. All pieces are joined once, at the end.
    pieces = [piece for value in values for piece in (_FIELD_1, _varint(len(value)), value)]
    return _feature(key, _FIELD_1, pieces)


def _floats(key: str, values: list[float]) -> list[bytes]:
    return _feature(key, _FIELD_2, _packed(struct.pack(f"<{len(values)}f", *values)))


def _integers(key: str, values: list[int]) -> list[bytes]:
    return _feature(key, _FIELD_3, _packed(b"".join(map(_varint, values))))


def _packed(values: bytes) -> list[bytes]:
    return [_FIELD_1, _varint(len(values)), values] if values else []


def _feature(key: str, kind: bytes, pieces: list[bytes]) -> list[bytes]:
    return [_feature_head(key, kind, sum(map(len, pieces))), *pieces]


@lru_cache(maxsize=4096)
def _feature_head(key: str, kind: bytes, size: int) -> bytes:
    """The bytes before a list of `size` bytes: the map's entry, its key, and a Feature with a list of this kind."""
    name = key.encode()
    listing = kind + _varint(size)
    value = _FIELD_2 + _varint(len(listing) + size) + listing
    entry = _FIELD_1 + _varint(len(name)) + name + value
    return _FIELD_1 + _varint(len(entry) + size) + entry


def _varint(number: int) -> bytes:
    """A number of 0 or more in base 128, lowest group first."""
    if number < 128:
        return bytes((number,))
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)
