"""Masks that label formats store as images: of one object in LabelMe and Label Studio, of an image's objects in Pascal VOC.

Imports NumPy, which the processes that read images load only if there are outlines.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin  # noqa: F401 - which registers PNG

from boxcar.inference.seen import DAMAGED
from boxcar.records.masks import MOST_PIXELS, mask_of
from boxcar.records.outline import Outline

_MODES = ("1", "L", "P")  # one number per pixel
_VOID = 255  # pixels at the edges of objects


def decoded_mask(content: bytes) -> NDArray[np.uint8]:
    """The numbers of a PNG's pixels [height, width]: places in its palette, or gray values.

    Raises:
        ValueError: it is none, or has several numbers per pixel. The text is a clause that says so.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError("too many pixels")
            if image.mode in _MODES:
                return np.asarray(image, np.uint8)
            mode = image.mode
    except DAMAGED as error:
        raise ValueError(f"the mask cannot be read ({error})") from error
    raise ValueError(f"the mask has colors ({mode}) instead of the numbers of objects")


def brush_pixels(packed: Any, width: int, height: int) -> NDArray[np.bool_]:
    """The pixels [height, width] that a brush of Label Studio painted.

    Args:
        packed: a list of bytes: an RGBA image in the encoding of @thi.ng/rle-pack. It begins with the number of values (32
            bits), the bits of a value less 1 (5), and the bits of four kinds of lengths less 1 (4 each). Then, a bit says
            whether values are equal, two bits the kind of their number less 1, which follows, and then the value or values.
        width, height: of the image, pixels.

    Raises:
        ValueError: it has no such content. The text is a clause that says so.
    """
    if not isinstance(packed, list) or not all(type(one) is int and 0 <= one < 256 for one in packed):
        raise ValueError("has no list of bytes")
    bits = f"{int.from_bytes(packed, 'big'):0{8 * len(packed)}b}" if packed else ""
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)  # fails at the end

    try:
        total, size = read(32), read(5) + 1
        lengths = [read(4) + 1 for _ in range(4)]
        if total != 4 * width * height or width * height > MOST_PIXELS:
            raise ValueError(f"has {total:,} values instead of {4 * width * height:,}")
        found = np.zeros(width * height, np.bool_)
        place = 0
        while place < total:
            equal = read(1)
            end = place + 1 + read(lengths[read(2)])
            if equal:
                found[place // 4 : end // 4] = read(size) > 0  # the last value of each pixel says how opaque it is
            else:
                for value in range(place, end):
                    opaque = read(size) > 0
                    if value % 4 == 3:
                        found[value // 4] = opaque
            place = end
    except (ValueError, LookupError) as error:
        raise ValueError(f"cannot be read ({error})") from error
    return found.reshape(height, width)


def instance_outlines(content: bytes, size: tuple[int, int] | None, objects: int) -> list[Outline | None]:
    """The outline of each object in a PNG of `SegmentationObject`, whose pixels have the number of their object, from 1.

    Args:
        content: the file.
        size: width and height of the image that was labeled, pixels; None if it is not known.
        objects: how many there are.

    Returns:
        None for an object without pixels.

    Raises:
        ValueError: it does not fit the image or the objects, or as `decoded_mask`.
    """
    pixels = decoded_mask(content)
    height, width = pixels.shape
    if size is not None and size != (width, height):
        raise ValueError(f"the mask has {width}×{height} pixels instead of {size[0]}×{size[1]}")
    numbers = [number for number in np.unique(pixels).tolist() if number not in (0, _VOID)]
    if numbers and numbers[-1] > objects:
        raise ValueError(f"the mask has an object {numbers[-1]}, but there are {objects} boxes")
    return [Outline((), [mask_of(pixels == number)]) if number in numbers else None for number in range(1, objects + 1)]
