"""The text of label files."""

import codecs
import io
import math
from typing import Any, BinaryIO, cast

from boxcar.records.annotation import parsed_number
from boxcar.records.faults import FaultyError

_YES = frozenset({"true", "yes", "y", "t"})
_NO = frozenset({"false", "no", "n", "f", "", "none", "unknown", "unspecified"})


def is_marked(value: Any) -> bool | None:
    """Whether a mark such as `difficult` or `iscrowd` is set; None if that cannot be told.

    Positive numbers mean yes. Tools write negative ones for what they do not know.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _YES or text in _NO:
            return text in _YES
        value = parsed_number(text)
    elif value is None:
        return False
    return value > 0 if isinstance(value, int | float) and not math.isnan(value) else None


def encoding_of(beginning: bytes) -> str:
    """The encoding of a text by its first bytes: UTF-16 if they are its mark, else UTF-8, with its mark or without."""
    return "utf-16" if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def decoded(content: bytes) -> str:
    """A file's text.

    Raises:
        FaultyError: `broken_labels` if it is not in UTF-8 or UTF-16.
    """
    try:
        return content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        raise FaultyError("broken_labels", f"it is not text in UTF-8 (byte {error.start + 1})") from error


def opened_text(file: BinaryIO) -> io.TextIOWrapper:
    """A file as text, read in parts, with its line ends unchanged. Bytes that are not UTF-8 become surrogates, as in the names
    of files."""
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file))
    encoding = encoding_of(buffered.peek(3))
    return io.TextIOWrapper(buffered, encoding, "surrogateescape" if encoding == "utf-8-sig" else "replace", newline="")
