"""Image files: their format and size, whether they decode completely, and the bytes that go into a record.

Every record holds an upright 8-bit RGB image whose EXIF need not be read, as a baseline JPEG or a PNG:
- A JPEG that already fits is stored byte for byte. If its EXIF orientation must be ignored, its EXIF is removed.
- Any other JPEG (progressive, gray, CMYK, rotated by EXIF), WebP, BMP, TIFF, and the first image of a GIF are encoded again as
  JPEG of quality 95.
- An image of more than 178 megapixels is reduced.
- A PNG stays a PNG, without loss of what a person sees: it is white where it is transparent. Of 16 bits, the upper 8 are kept.
"""

import io
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from PIL import (
    BmpImagePlugin,  # noqa: F401 - these register only the needed formats
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.inference.seen import (
    DAMAGED,
    TRANSPOSED,
    UnseenError,
    as_seen,
    exif_orientation,
    has_brightness,
    stored_orientation,
    valid_orientation,
)
from boxcar.records.faults import FaultyError
from boxcar.records.looks import DECODED_SIDE, look_of, turned_look

_SUFFIXES = frozenset({"bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp"})
# Formats that cameras, scanners and phones write, and records cannot contain.
_OTHER_SUFFIXES = frozenset({"avif", "cr2", "cr3", "dng", "heic", "heif", "jp2", "nef"})
LARGEST_FILE = 200_000_000  # bytes
JPEG_QUALITY = 95
# TensorFlow decodes images of less than 2^29 bytes. Larger ones are stored at a half, a third, ... of their size.
_MOST_STORED = (2**29 - 1) // 3  # pixels

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")
_TIFF = (b"II*\0", b"MM\0*")
_LONGEST = 20  # characters of a value that is shown
_EXIF_IFD, _TAKEN = 0x8769, 0x9003
Treatment = Literal["keep", "strip", "encode"]


def is_image(name: str) -> bool:
    """Whether the file's name is that of an image that records can contain."""
    return name.rpartition(".")[2].lower() in _SUFFIXES


def is_other_image(name: str) -> bool:
    """Whether the file's name is that of an image of a format that records cannot contain."""
    return name.rpartition(".")[2].lower() in _OTHER_SUFFIXES


@dataclass(frozen=True)
class InspectedImage:
    """What is known about an image from its file."""

    width: int  # pixels, as stored
    height: int
    orientation: int  # EXIF's, 1 to 8; 1 if there is none or it is not valid
    plain: bool  # an 8-bit RGB baseline JPEG or 8-bit RGB PNG: its pixels can be stored as they are
    png: bool
    look: bytes = b""  # as stored; empty if it was not decoded
    odd_orientation: str = ""  # what EXIF has as the orientation if it is none of 1 to 8

    def size(self, turn: bool) -> tuple[int, int]:
        """(width, height) in pixels, with the EXIF orientation applied or not."""
        return (self.height, self.width) if turn and self.orientation >= 5 else (self.width, self.height)

    @property
    def reduction(self) -> int:
        """The divisor of the sides at which the image is stored; 1 unless it is very large."""
        return _reduction(self.width, self.height)

    def look_when(self, turn: bool) -> bytes:
        """What it looks like with the EXIF orientation applied or not, as in `boxcar.records.looks`; empty if not decoded."""
        return (
            turned_look(self.look, TRANSPOSED[self.orientation]) if turn and self.look and self.orientation != 1 else self.look
        )

    def treatment(self, turn: bool) -> Treatment:
        """How the file's bytes become those of the record."""
        if not self.plain or (turn and self.orientation != 1) or self.reduction > 1:
            return "encode"
        if self.orientation == 1:
            return "keep"
        return "encode" if self.png else "strip"


def inspect(content: bytes, full_decode: bool, most_megapixels: int = MOST_MEGAPIXELS) -> InspectedImage:
    """Inspects an image's bytes.

    Args:
        content: the whole file.
        full_decode: decode every image to its end. Without it, only images that must be encoded again are decoded; other
            JPEGs are only checked for an end marker.
        most_megapixels: what the image may have; more is taken for a decompression bomb.

    Raises:
        FaultyError: `not_a_picture`, `picture_too_large` or `truncated_picture`.
    """
    image = _opened(content)
    width, height = image.size
    if width * height > most_megapixels * 1_000_000:
        reason = f"the image has {width}×{height} pixels; the limit is {most_megapixels} megapixels (--max-megapixels)"
        raise FaultyError("picture_too_large", reason)
    stored = stored_orientation(image)
    orientation = valid_orientation(stored)
    if image.format == "TIFF" and orientation >= 5:
        width, height = height, width  # Pillow gives the size of a TIFF as it is shown
    odd = "" if stored in (None, orientation) else repr(stored)[:_LONGEST]
    png = image.format == "PNG"
    if png:
        # IHDR's bit depth 8 and color type 2, which is RGB.
        plain = content[24:26] == b"\x08\x02" and "transparency" not in image.info
        scan = 0
    else:
        frame, scan = _jpeg_frame(content) if image.format in ("JPEG", "MPO") else (0, 0)
        # SOF0 and SOF1: sequential Huffman coding, which every decoder of JPEG reads.
        plain = image.mode == "RGB" and frame in (0xC0, 0xC1)
    if not has_brightness(image):
        raise FaultyError("not_a_picture", str(UnseenError()))
    look = b""
    if full_decode or not plain or png:
        look = _decoded_look(image)
    elif content.rfind(b"\xff\xd9") < scan:
        raise FaultyError("truncated_picture", "the JPEG is cut off: it has no end marker")
    return InspectedImage(width, height, orientation, plain, png, look, odd)


def stored_bytes(content: bytes, treatment: Treatment, turn: bool) -> tuple[bytes, Literal["jpeg", "png"]]:
    """The bytes that go into the record, and their format.

    Args:
        content: the whole file, which passed `inspect`.
        treatment: what `InspectedImage.treatment` returned.
        turn: apply the EXIF orientation.
    """
    if treatment == "keep":
        return content, "png" if content.startswith(b"\x89PNG") else "jpeg"
    if treatment == "strip":
        return _without_exif(content), "jpeg"
    image = _opened(content)
    png = image.format == "PNG"
    orientation = exif_orientation(image)  # in any case, because it keeps Pillow from turning a TIFF
    upright = as_seen(image, orientation if turn else 1)
    if (factor := _reduction(*upright.size)) > 1:
        upright = upright.reduce(factor)
    upright.info.clear()  # without EXIF, profiles and transparency
    file = io.BytesIO()
    if png:
        upright.save(file, "PNG")
    else:
        upright.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue(), "png" if png else "jpeg"


def _reduction(width: int, height: int) -> int:
    factor = 1
    while -(-width // factor) * -(-height // factor) > _MOST_STORED:
        factor += 1
    return factor


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        what = "the file is not a JPEG, PNG, BMP, GIF, TIFF, or WebP image"
        if not content:
            what = "the file is empty"
        elif content.startswith(_TIFF):
            what = "the file is a TIFF of a kind that cannot be read; save it as PNG"
        raise FaultyError("not_a_picture", what) from error
    except DAMAGED as error:
        raise FaultyError("not_a_picture", f"the image cannot be opened ({error})") from error


def _decoded_look(image: Image.Image) -> bytes:
    """Decodes an image to its end.

    Raises:
        FaultyError: `truncated_picture`.
    """
    try:
        # At an eighth of its size and in gray, a JPEG is still read to its end, with less arithmetic and memory.
        reduced = image.draft("L" if image.mode == "RGB" else image.mode, (DECODED_SIDE, DECODED_SIDE))
        image.load()
        return look_of(image, None if reduced is None else reduced[1][2:])
    except DAMAGED as error:
        raise FaultyError("truncated_picture", f"the image cannot be decoded to its end ({error})") from error


def taken(content: bytes) -> int | None:
    """When a photograph was taken by EXIF's DateTimeOriginal, in seconds of the camera's clock since 1970; None if it has none.

    Args:
        content: the whole file, which passed `inspect`.
    """
    exif = _opened(content).info.get("exif")
    if not exif:
        return None
    fields = Image.Exif()
    try:
        fields.load(exif)
        value = fields.get_ifd(_EXIF_IFD).get(_TAKEN)
        if not isinstance(value, str):
            return None
        time = datetime.strptime(value.strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except DAMAGED:
        return None
    return int((time - datetime(1970, 1, 1)).total_seconds())


def _jpeg_segments(content: bytes) -> list[tuple[int, int, int]]:
    """(marker, start, end) of each segment, up to the first scan's header or the first malformed segment."""
    segments = []
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        segments.append((marker, position, end))
        if marker == 0xDA:
            break
        position = end
    return segments


def _jpeg_frame(content: bytes) -> tuple[int, int]:
    """The marker of the frame's header (0 if there is none), and the position at which the scan's data begins."""
    frame = 0
    for marker, _, end in _jpeg_segments(content):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = marker
        if marker == 0xDA:
            return frame, end
    return 0, 0


def _without_exif(content: bytes) -> bytes:
    pieces, position = [], 0
    for marker, start, end in _jpeg_segments(content):
        if marker == 0xE1 and content[start + 4 : start + 8] == b"Exif":
            pieces.append(content[position:start])
            position = end
    return b"".join([*pieces, content[position:]])
