"""The PNG of an object's mask, as records contain it.

Imports NumPy, which the processes that read images load only if there are outlines.
"""

import math
import zlib
from functools import cache

import numpy as np

from boxcar.records.masks import Box, Pixels, drawn
from boxcar.records.outline import Outline

_BLANK = 1 << 16  # bytes


def mask_png(outline: Outline | None, box: Box, width: int, height: int) -> bytes:
    """A PNG of an object's mask: of the image's size, with one channel of 8 bits, 1 inside and 0 outside.

    An object without an outline, or whose outline contains the middle of no pixel, has its box as its mask.

    Args:
        outline: checked; None if there is none.
        box: the object's, inside the image.
        width, height: of the image, pixels.
    """
    pixels, left, top = (np.zeros((0, 0), np.bool_), 0, 0) if outline is None else drawn(outline, width, height)
    if not pixels.any():
        left, top = int(box[0]), int(box[1])
        pixels = np.ones((math.ceil(box[3]) - top, math.ceil(box[2]) - left), np.bool_)
    return _encoded(pixels, left, top, width, height)


def _encoded(pixels: Pixels, left: int, top: int, width: int, height: int) -> bytes:
    """Most rows of a mask are blank. They are compressed once for all masks, because a record may have thousands of them."""
    row = width + 1  # bytes; the first one says that the row is not filtered
    before, after = top * row, (height - top - len(pixels)) * row
    begin, end = before % _BLANK, after % _BLANK
    middle = np.zeros(begin + len(pixels) * row + end, np.uint8)
    middle[begin : len(middle) - end].reshape(-1, row)[:, left + 1 : left + 1 + pixels.shape[1]] = pixels
    data = _blank() * (before // _BLANK) + _deflated(middle.data) + _blank() * (after // _BLANK)
    checksum = zlib.adler32(middle.data, _after_zeros(1, before - begin))
    checksum = _after_zeros(checksum, after - end)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])  # gray, 8 bits
    # zlib's header; an empty block that is the last one; the checksum of the rows.
    stream = b"".join([b"\x78\x9c", data, b"\x03\x00", checksum.to_bytes(4, "big")])
    return b"".join([b"\x89PNG\r\n\x1a\n", *_chunk(b"IHDR", header), *_chunk(b"IDAT", stream), *_chunk(b"IEND", b"")])


def _chunk(name: bytes, data: bytes) -> list[bytes]:
    return [len(data).to_bytes(4, "big"), name, data, zlib.crc32(data, zlib.crc32(name)).to_bytes(4, "big")]


def _deflated(data: bytes | memoryview) -> bytes:
    """Blocks of a deflate stream that depend on nothing before them and end with a whole byte."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


@cache
def _blank() -> bytes:
    return _deflated(bytes(_BLANK))


def _after_zeros(checksum: int, count: int) -> int:
    """An Adler-32 checksum after `count` further zeros (RFC 1950)."""
    low, high = checksum & 0xFFFF, checksum >> 16
    return (high + count * low) % 65521 << 16 | low
