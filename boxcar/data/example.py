"""Reads the records without TensorFlow: the `tf.train.Example` messages in TFRecord files.

An Example is a protocol buffer that maps names to lists of bytes, floats or integers
(tensorflow/core/example/{example,feature}.proto).
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from boxcar.data.tfrecord import FOOTER, HEADER, masked_crc32c
from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.cache import uri_of

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protocol buffer wire types


@dataclass(frozen=True, eq=False)
class Example:
    """One labelled image as the records hold it."""

    encoded: bytes  # JPEG or PNG
    filename: str
    source_id: str
    sha256: str  # of the image's file, hexadecimal: `image/key/sha256`, or of `encoded` where that is missing
    height: int
    width: int
    boxes: NDArray[np.float32]  # [N, 4]: ymin, xmin, ymax, xmax, normalised by height and width
    labels: NDArray[np.int64]  # [N], from 1, as in the label map
    is_crowd: NDArray[np.bool_]  # [N]
    area: NDArray[np.float32]  # [N], square pixels of the stored image; the box's own where the records have none


def read_examples(paths: Iterable[Path]) -> Iterator[Example]:
    """The examples of the shards, in their order; every checksum is checked.

    Raises:
        BoxcarError: 65 where a shard is missing, damaged, or holds something other than labelled images, with the shard and the
            offset; 69 where it cannot be read.
    """
    for path in paths:
        for offset, payload in _payloads(path):
            yield decode_example(payload, path, offset)


def index_shard(path: Path) -> list[tuple[int, int]]:
    """Where each payload of a shard begins and how long it is, in bytes; reads and checks the 12-byte headers only.

    Raises:
        BoxcarError: 65 where the shard is missing, cut off or a header is damaged, 69 where it cannot be read.
    """
    with _open(path) as file:
        size = file.seek(0, 2)
        places = []
        offset = 0
        while offset < size:
            file.seek(offset)
            length = _length(path, offset, file.read(HEADER.size))
            end = offset + HEADER.size + length + FOOTER.size
            if end > size:
                raise _broken(path, offset, "the file ends in the middle of it")
            places.append((offset + HEADER.size, length))
            offset = end
    return places


def decode_example(payload: bytes, path: Path, offset: int) -> Example:
    """A serialised `tf.train.Example` as the labelled image that it holds; the record's shard and offset are for the error.

    Raises:
        BoxcarError: 65 where it is not a labelled image.
    """
    try:
        return _example(decode_features(payload))
    except _Unfit as error:
        raise _broken(path, offset, str(error)) from error


def decode_features(payload: bytes) -> dict[str, list[Any]]:
    """A serialised `tf.train.Example` as names and their lists of bytes, floats or integers.

    Raises:
        ValueError: where it is none.
    """
    features: dict[str, list[Any]] = {}
    for number, message in _fields(payload):
        if number != 1:  # Example.features
            continue
        for inner, entry in _fields(_expect_bytes(message)):
            if inner != 1:  # Features.feature, a map
                continue
            pair = dict(_fields(_expect_bytes(entry)))
            try:
                name = _expect_bytes(pair.get(1, b"")).decode()
            except UnicodeDecodeError as error:
                raise _Unfit("a feature's name is not UTF-8") from error
            features[name] = _values(_expect_bytes(pair.get(2, b"")))
    return features


class _Unfit(ValueError):
    """The bytes are no example that can be used; the message says why and fits behind "the record at ...: "."""


def _payloads(path: Path) -> Iterator[tuple[int, bytes]]:
    with _open(path) as file:
        size = file.seek(0, 2)
        offset = file.seek(0)
        while offset < size:
            length = _length(path, offset, file.read(HEADER.size))
            if offset + HEADER.size + length + FOOTER.size > size:
                raise _broken(path, offset, "the file ends in the middle of it")
            payload = file.read(length)
            if FOOTER.unpack(file.read(FOOTER.size))[0] != masked_crc32c(payload):
                raise _broken(path, offset, "its checksum does not fit its content")
            yield offset, payload
            offset += HEADER.size + length + FOOTER.size


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise BoxcarError(
            ExitCode.DATA, f"The shard {uri_of(path)} is missing.", "Run `boxcar records` again for that folder."
        ) from error
    except OSError as error:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"The shard {uri_of(path)} cannot be read: {error.strerror}.",
            "Change its permissions so that you can read it.",
            again=True,
        ) from error


def _length(path: Path, offset: int, header: bytes) -> int:
    if len(header) < HEADER.size:
        raise _broken(path, offset, "the file ends in the middle of it")
    length, crc = HEADER.unpack(header)
    if crc != masked_crc32c(header[:8]):
        raise _broken(path, offset, "its length does not fit its checksum")
    return int(length)


def _broken(path: Path, offset: int, reason: str) -> BoxcarError:
    return BoxcarError(
        ExitCode.DATA,
        f"The record at byte {offset} of {uri_of(path)} cannot be used: {reason}.",
        "Run `boxcar records` again for that folder.",
    )


def _example(features: dict[str, list[Any]]) -> Example:
    encoded = _one(features, "image/encoded", bytes)
    height, width = _one(features, "image/height", int), _one(features, "image/width", int)
    if height < 1 or width < 1:
        raise _Unfit(f"its size is {width} x {height}")
    edges = [_many(features, f"image/object/bbox/{edge}", float) for edge in ("ymin", "xmin", "ymax", "xmax")]
    labels = _many(features, "image/object/class/label", int)
    if {len(edge) for edge in edges} != {len(labels)}:
        raise _Unfit("its lists of box edges and labels differ in length")
    boxes = np.array(edges, np.float32).reshape(4, -1).T.copy()
    if not np.isfinite(boxes).all():
        raise _Unfit("a box edge is not a finite number")
    if any(label < 1 for label in labels):
        raise _Unfit("a label is below 1")
    is_crowd = _many(features, "image/object/is_crowd", int) or [0] * len(labels)
    area = _many(features, "image/object/area", float) or (
        (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * (height * width)
    )
    if len(is_crowd) != len(labels) or len(area) != len(labels):
        raise _Unfit("its lists of boxes, areas and crowd marks differ in length")
    return Example(
        encoded=encoded,
        filename=_text(features, "image/filename"),
        source_id=_text(features, "image/source_id"),
        sha256=_text(features, "image/key/sha256") or hashlib.sha256(encoded).hexdigest(),
        height=height,
        width=width,
        boxes=boxes,
        labels=np.array(labels, np.int64),
        is_crowd=np.array(is_crowd, np.bool_),
        area=np.asarray(area, np.float32),
    )


def _one(features: dict[str, list[Any]], name: str, kind: type) -> Any:
    values = _many(features, name, kind)
    if len(values) != 1:
        raise _Unfit(f"{name} has {len(values)} values instead of one")
    return values[0]


def _many(features: dict[str, list[Any]], name: str, kind: type) -> list[Any]:
    values = features.get(name, [])
    for value in values:
        if not isinstance(value, kind):
            raise _Unfit(f"{name} holds {type(value).__name__} values")
    return values


def _text(features: dict[str, list[Any]], name: str) -> str:
    # A file name is whatever bytes the disk holds; it is for people to read, so what is not UTF-8 is replaced.
    values = _many(features, name, bytes)
    return values[0].decode(errors="replace") if values else ""


def _values(feature: bytes) -> list[Any]:
    """The list in a `tf.train.Feature`: bytes_list (1), float_list (2) or int64_list (3)."""
    values: list[Any] = []
    for kind, content in _fields(feature):
        for number, value in _fields(_expect_bytes(content)):
            if number != 1:
                continue
            if kind == 1:
                values.append(_expect_bytes(value))
            elif kind == 2:
                # Packed as bytes, or one value a field: readers must take both.
                if isinstance(value, int):
                    if value >= 1 << 32:
                        raise _Unfit("a list of floats holds a number of 64 bits")
                    value = value.to_bytes(4, "little")
                if len(value) % 4:
                    raise _Unfit("a list of floats is cut off")
                values += struct.unpack(f"<{len(value) // 4}f", value)
            elif kind == 3:
                numbers = [value] if isinstance(value, int) else _varints(value)
                values += [n - (1 << 64) if n >= 1 << 63 else n for n in numbers]
    return values


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """A protocol buffer message as field numbers and raw values: bytes for length-delimited fields, else integers."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise _Unfit("it is not a tf.train.Example")
        if position + length > end:
            raise _Unfit("it is not a tf.train.Example")
        content = message[position : position + length]
        yield number, content if wire == _BYTES else int.from_bytes(content, "little")
        position += length


def _varints(packed: bytes) -> list[int]:
    numbers, position = [], 0
    while position < len(packed):
        number, position = _varint(packed, position)
        numbers.append(number)
    return numbers


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The base-128 number at `position`, and the position behind it."""
    number = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & (1 << 64) - 1, position
        shift += 7
    raise _Unfit("it is not a tf.train.Example")


def _expect_bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise _Unfit("it is not a tf.train.Example")
    return value
