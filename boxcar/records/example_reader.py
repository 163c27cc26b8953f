"""Reads a `tf.train.Example` of any program in parts, so that its images are read only where they are needed.

The wire format is described in `boxcar.records.example_writer`.
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from boxcar.records.faults import FaultyError

_MOST_FEATURES = 1000  # far more than any image has
_LONGEST_KEY = 1000  # bytes
_LARGEST_LABELS = 10_000_000  # bytes of one image's labels: about 300,000 boxes
_KINDS = {"bytes_list": "texts", "float_list": "fractions", "int64_list": "whole numbers"}

Place = tuple[int, int]  # the first byte, and the one after the last


class NoExampleError(Exception):
    """The bytes are not a `tf.train.Example`."""


def feature_places(file: BinaryIO, example: Place) -> dict[str, Place]:
    """Where each `Feature` of an Example is, by its name. Of several with one name, the last counts, as in every map.

    Args:
        file: can be read from any place.
        example: where the Example is in it.

    Raises:
        NoExampleError: the bytes are no Example, or have far too many parts.
    """
    found = {}
    for features in _list(file, example):
        for entry in _list(file, features, _MOST_FEATURES):
            key, value = (list(_fields(file, entry, number, 2)) for number in (1, 2))
            if key and value:
                begin, end = key[-1]
                file.seek(begin)
                found[file.read(min(end - begin, _LONGEST_KEY)).decode("utf-8", "replace")] = value[-1]
    return found


def bytes_places(file: BinaryIO, feature: Place) -> list[Place]:
    """Where each value of a `Feature` with a list of bytes is; none for other lists.

    Raises:
        NoExampleError: as `feature_places`.
    """
    return [value for values in _list(file, feature) for value in _list(file, values, _MOST_FEATURES)]


def _list(file: BinaryIO, message: Place, most: int = 1) -> list[Place]:
    """The contents of the fields with the number 1."""
    return list(_fields(file, message, 1, most))


def _fields(file: BinaryIO, message: Place, wanted: int, most: int) -> Iterator[Place]:
    """The contents of the fields with a number. All fields are at most `most`: others could keep a reader busy for hours."""
    at, end = message
    for _ in range(most):
        if at >= end:
            break
        file.seek(at)
        tag, size = _varint(file)
        at += size
        match tag & 7:
            case 2:  # a length, and so many bytes
                length, size = _varint(file)
                at += size + length
                if tag >> 3 == wanted and at <= end:
                    yield at - length, at
            case 0:  # a number
                at += _varint(file)[1]
            case 1:
                at += 8
            case 5:
                at += 4
            case _:
                raise NoExampleError(f"a field has the type {tag & 7}")
    if at != end:
        raise NoExampleError("a part is longer than the whole" if at > end else f"a part has more than {most} fields")


def _varint(file: BinaryIO) -> tuple[int, int]:
    """A number in base 128, lowest group first, and how many bytes it has."""
    value = 0
    for size in range(1, 11):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << 7 * (size - 1)
        if byte[0] < 128:
            return value, size
    raise NoExampleError("a number does not end")


class Features:
    """The values of an Example by their names. Those that are not asked for are not read.

    All methods raise FaultyError: `broken_labels`, or `labels_too_large` if the values have too many bytes in all.

    Args:
        content: the Example.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        try:
            self._places = feature_places(io.BytesIO(content), (0, len(content)))
        except NoExampleError as error:
            raise FaultyError("broken_labels", f"its record is no tf.train.Example ({error})") from error
        self._left = _LARGEST_LABELS

    def texts(self, name: str) -> list[bytes]:
        return cast("list[bytes]", self._values(name, "bytes_list"))

    def floats(self, name: str) -> list[float]:
        return cast("list[float]", self._values(name, "float_list"))

    def integers(self, name: str) -> list[int]:
        return cast("list[int]", self._values(name, "int64_list"))

    def flags(self, name: str, count: int) -> list[int]:
        """0 or 1 for each of `count` boxes."""
        values = self.integers(name)
        if len(values) not in (0, count):
            raise FaultyError("broken_labels", f"its {name} has {len(values)} values for {count} boxes")
        return [int(value != 0) for value in values] or [0] * count

    def _values(self, name: str, kind: str) -> list[Any]:
        # protobuf takes 10 MB of memory, which other formats do without.
        from google.protobuf.message import DecodeError

        from boxcar.data.messages import TfFeature

        begin, end = self._places.get(name, (0, 0))
        self._left -= end - begin
        if self._left < 0:
            raise FaultyError("labels_too_large", f"its labels have over {_LARGEST_LABELS:,} bytes")
        try:
            feature = TfFeature.FromString(self._content[begin:end])
        except DecodeError as error:
            raise FaultyError("broken_labels", f"its {name} cannot be read") from error
        found = feature.WhichOneof("kind")
        values = [] if found is None else list(getattr(feature, found).value)
        if values and found != kind:
            raise FaultyError("broken_labels", f"its {name} has {_KINDS[found]} instead of {_KINDS[kind]}")
        return values
