"""Reads the records without TensorFlow: the `tf.train.Example` messages in TFRecord files.

An Example is a protocol buffer that maps names to lists of bytes, floats or integers
(tensorflow/core/example/{example,feature}.proto).
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from boxcar.data.messages import TfExample
from boxcar.data.tfrecord import DamagedRecordError, find_records, read_records
from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.cache import uri_of

Kind = Literal["bytes_list", "float_list", "int64_list"]
_KINDS: dict[Kind, str] = {"bytes_list": "bytes", "float_list": "floats", "int64_list": "integers"}


@dataclass(frozen=True, eq=False)
class Example:
    """One labeled image as the records hold it."""

    encoded: bytes  # JPEG or PNG
    filename: str
    source_id: str
    sha256: str  # of the image's file, hexadecimal: `image/key/sha256`, or of `encoded` if that is missing
    height: int
    width: int
    boxes: NDArray[np.float32]  # [N, 4]: ymin, xmin, ymax, xmax, normalized by height and width
    labels: NDArray[np.int64]  # [N], from 1, as in the label map
    is_crowd: NDArray[np.bool_]  # [N]
    is_ignored: NDArray[np.bool_]  # [N]: objects that are left out of scores; none if the records do not say
    area: NDArray[np.float32]  # [N], square pixels of the stored image; the box's own if the records have none


def read_examples(paths: Iterable[Path]) -> Iterator[Example]:
    """The examples of the shards, in their order. Checks every checksum.

    Raises:
        BoxcarError: 65 if a shard is missing, damaged, or contains something other than labeled images, with the shard and the
            offset; 69 if it cannot be read.
    """
    for path in paths:
        with _opened(path) as file:
            for offset, payload in read_records(file):
                yield decode_example(payload, path, offset)


def index_shard(path: Path) -> list[tuple[int, int]]:
    """The offset and the length in bytes of each payload of a shard. Reads and checks the headers only.

    Raises:
        BoxcarError: 65 if the shard is missing or cut off, or a header is damaged; 69 if it cannot be read.
    """
    with _opened(path) as file:
        return list(find_records(file))


def decode_example(payload: bytes, path: Path, offset: int) -> Example:
    """The labeled image in a serialized `tf.train.Example`.

    Args:
        payload: the message.
        path, offset: the record's shard, and its offset in bytes there, for error messages.

    Raises:
        BoxcarError: 65 if it is not a labeled image.
    """
    try:
        return _labeled_image(TfExample.FromString(payload).features.feature)
    except DecodeError as error:
        raise _unusable(path, offset, "it is not a tf.train.Example") from error
    except _UnfitError as error:
        raise _unusable(path, offset, str(error)) from error


class _UnfitError(ValueError):
    """The message is not a labeled image; the text says why and completes "the record at ...: "."""


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except DamagedRecordError as error:
        raise _unusable(path, error.offset, error.reason) from error
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


def _unusable(path: Path, offset: int, reason: str) -> BoxcarError:
    return BoxcarError(
        ExitCode.DATA,
        f"The record at byte {offset} of {uri_of(path)} cannot be used: {reason}.",
        "Run `boxcar records` again for that folder.",
    )


def _labeled_image(features: Any) -> Example:
    encoded = _one(features, "image/encoded", "bytes_list")
    height, width = _one(features, "image/height", "int64_list"), _one(features, "image/width", "int64_list")
    if height < 1 or width < 1:
        raise _UnfitError(f"its size is {width} x {height}")
    edges = [_many(features, f"image/object/bbox/{edge}", "float_list") for edge in ("ymin", "xmin", "ymax", "xmax")]
    labels = _many(features, "image/object/class/label", "int64_list")
    if {len(edge) for edge in edges} != {len(labels)}:
        raise _UnfitError("its lists of box edges and labels differ in length")
    boxes = np.array(edges, np.float32).reshape(4, -1).T.copy()
    if not np.isfinite(boxes).all():
        raise _UnfitError("a box edge is not a finite number")
    if any(label < 1 for label in labels):
        raise _UnfitError("a label is below 1")
    is_crowd = _many(features, "image/object/is_crowd", "int64_list") or [0] * len(labels)
    is_ignored = _many(features, "image/object/ignore", "int64_list") or [0] * len(labels)
    area = _many(features, "image/object/area", "float_list") or (
        (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * (height * width)
    )
    if {len(is_crowd), len(is_ignored), len(area)} != {len(labels)}:
        raise _UnfitError("its lists of boxes, areas and marks differ in length")
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
        is_ignored=np.array(is_ignored, np.bool_),
        area=np.asarray(area, np.float32),
    )


def _one(features: Any, name: str, kind: Kind) -> Any:
    values = _many(features, name, kind)
    if len(values) != 1:
        raise _UnfitError(f"{name} has {len(values)} values instead of one")
    return values[0]


def _many(features: Any, name: str, kind: Kind) -> list[Any]:
    if name not in features:  # a look-up would add it
        return []
    feature = features[name]
    found = feature.WhichOneof("kind")
    values: list[Any] = [] if found is None else list(getattr(feature, found).value)
    if values and found != kind:
        raise _UnfitError(f"{name} holds {_KINDS[found]} instead of {_KINDS[kind]}")
    return values


def _text(features: Any, name: str) -> str:
    # A file name is whatever bytes the disk holds; it is for people to read, so what is not UTF-8 is replaced.
    values = _many(features, name, "bytes_list")
    return values[0].decode(errors="replace") if values else ""
