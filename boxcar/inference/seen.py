"""The pixels of an image file as a person sees them. Records, `detect`, the graph of `serve_bytes`, the browser page, and the
examples agree on them: upright, 8 bits, and on white where the image is transparent.
"""

import struct
import zlib

from PIL import Image

# Pillow refuses photographs of 200 megapixels wherever an image is opened. Boxcar checks its own limit where files come in.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's decoders and its EXIF reader raise on damaged files.
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, EOFError, struct.error, zlib.error)

# How Pillow turns an image upright, by EXIF's orientation.
TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112  # EXIF's tag
_WHITE_IS_ZERO = (262, 0)  # TIFF's tag PhotometricInterpretation, and its value for images in which 0 is white


class UnseenError(ValueError):
    """An image whose pixels have no brightness."""

    def __init__(self) -> None:
        super().__init__("its pixels are floating-point or 32-bit numbers; save it with 8 or 16 bits")


def has_brightness(image: Image.Image) -> bool:
    """Whether it is known which values of an opened image are black and white."""
    return image.mode != "F" and (image.mode != "I" or image.format == "PNG")


def exif_orientation(image: Image.Image) -> int:
    """EXIF's orientation of an opened image that is not decoded yet, 1 to 8; 1 if there is none or it is not valid.

    Pillow turns a TIFF by itself when it decodes it. After a call of this, it does not.
    """
    return valid_orientation(stored_orientation(image))


def valid_orientation(value: object) -> int:
    """What EXIF has as the orientation if it is 1 to 8, else 1."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def stored_orientation(image: Image.Image) -> object:
    """As `exif_orientation`, but of any value; None if EXIF has none."""
    try:
        if image.format == "TIFF":
            fields = image.getexif()
            value = fields.get(_ORIENTATION)
            fields[_ORIENTATION] = 1
        else:
            # Not `getexif`, which also takes XMP's word for it.
            fields = Image.Exif()
            fields.load(image.info.get("exif") or b"")
            value = fields.get(_ORIENTATION)
    except DAMAGED:
        return None  # an unreadable EXIF rotates nothing
    return value


def as_seen(image: Image.Image, orientation: int = 1) -> Image.Image:
    """An opened image in RGB, upright if its EXIF has this orientation. Of 16 bits, the upper 8 are kept.

    Raises:
        UnseenError: its values are floating-point numbers, or integers of other sizes.
        OSError, ValueError, and what else Pillow raises: if it cannot be decoded.
    """
    seen = _in_rgb(image)
    return seen.transpose(TRANSPOSED[orientation]) if orientation in TRANSPOSED else seen


def _in_rgb(image: Image.Image) -> Image.Image:
    if not has_brightness(image):  # Pillow would clip the values at 0 and 255
        raise UnseenError
    if image.mode.startswith("I"):
        return _of_16_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    colors = image.convert("RGBA")
    seen = Image.new("RGB", image.size, "white")
    seen.paste(colors, mask=colors.getchannel("A"))
    return seen


def _of_16_bits(image: Image.Image) -> Image.Image:
    """A gray image of 16 bits, in either order of bytes."""
    import numpy as np  # only here, because the processes that check images need no more of it

    values = np.asarray(image).astype(np.uint16)
    tag, inverted = _WHITE_IS_ZERO
    # Pillow inverts such images of 8 bits only.
    gray = ((~values if getattr(image, "tag_v2", {}).get(tag) == inverted else values) >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return Image.fromarray(gray).convert("RGB")
