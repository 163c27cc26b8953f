"""Every record contains an upright RGB image. A file that already is one is kept byte for byte."""

import io
import struct
from pathlib import Path

import pytest
from labelled import data_set, label, picture, save
from PIL import Image, ImageChops

from boxcar.errors import BoxcarError
from boxcar.records import build_records
from boxcar.records.images import InspectedImage, inspect, stored_bytes

QUARTER = Image.new("RGB", (64, 48), "white")
QUARTER.paste("red", (0, 0, 32, 24))  # its top left corner tells how it was turned


def _file(image: Image.Image, image_format: str = "JPEG", orientation: int | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(file, image_format, **options)
    return file.getvalue()


def _stored(content: bytes, turn: bool = True) -> tuple[InspectedImage, bytes, Image.Image]:
    found = inspect(content, full_decode=True)
    encoded, image_format = stored_bytes(content, found.treatment(turn), turn)
    image = Image.open(io.BytesIO(encoded))
    image.load()
    assert image.mode == "RGB"
    assert image.format == image_format.upper()
    return found, encoded, image


def _red_corner(image: Image.Image) -> tuple[bool, bool]:
    """Whether the red corner is (right, bottom)."""
    width, height = image.size
    for right in (False, True):
        for bottom in (False, True):
            red, green, _ = image.getpixel((width * (1 + 2 * right) // 4, height * (1 + 2 * bottom) // 4))
            if red > 200 and green < 80:
                return right, bottom
    raise AssertionError("no red corner")


@pytest.mark.parametrize("orientation", [None, 0, 1, 9])
def test_an_upright_baseline_jpeg_is_kept_byte_for_byte(orientation: int | None) -> None:
    content = _file(picture(1), orientation=orientation)
    found, encoded, _ = _stored(content)
    assert found.orientation == 1
    assert encoded == content


def test_an_orientation_beyond_16_bits_is_none() -> None:
    wide = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 4, 1, 65537, 0)
    content = _file(picture(1), exif=wide)
    assert _stored(content)[1] == content


def test_a_plain_png_is_kept_byte_for_byte() -> None:
    content = _file(picture(1), "PNG")
    assert _stored(content)[1] == content


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [
        (2, (True, False)),
        (3, (True, True)),
        (4, (False, True)),
        (5, (False, False)),
        (6, (True, False)),
        (7, (True, True)),
        (8, (False, True)),
    ],
)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_followed_and_taken_away(orientation: int, corner: tuple[bool, bool], image_format: str) -> None:
    content = _file(QUARTER, image_format, orientation)
    found, _, image = _stored(content)
    assert image.size == found.size(turn=True) == ((48, 64) if orientation >= 5 else (64, 48))
    assert _red_corner(image) == corner
    assert image.getexif().get(0x0112) is None

    _, kept, image = _stored(content, turn=False)
    assert image.size == (64, 48)
    assert _red_corner(image) == (False, False)
    assert image.getexif().get(0x0112) is None
    if image_format == "JPEG":
        # Nothing but the EXIF segment is gone.
        assert ImageChops.difference(image, Image.open(io.BytesIO(content)).convert("RGB")).getbbox() is None
        assert 0 < len(content) - len(kept) < 200


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_a_broken_exif_turns_nothing(exif: bytes) -> None:
    assert inspect(_file(picture(1), exif=exif), full_decode=True).orientation == 1


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (_file(Image.new("L", (16, 16), 200)), (200, 200, 200)),
        (_file(Image.new("1", (16, 16), 1), "PNG"), (255, 255, 255)),
        (_file(Image.new("LA", (16, 16), (200, 0)), "PNG"), (255, 255, 255)),
        (_file(Image.new("RGBA", (16, 16), (10, 200, 30, 51)), "PNG"), (206, 244, 210)),
        (_file(Image.new("RGBA", (16, 16), (10, 200, 30, 255)), "WEBP", lossless=True), (10, 200, 30)),
        (_file(Image.new("P", (16, 16), 3), "PNG"), None),
        (_file(Image.new("RGB", (16, 16), (10, 200, 30)), "PNG", transparency=(10, 200, 30)), (255, 255, 255)),
        (_file(Image.new("RGB", (16, 16), (10, 200, 30)).quantize(4), "PNG", transparency=b"\0\0\0\0"), (255, 255, 255)),
        (_file(Image.new("I;16", (16, 16), 200 * 256), "PNG"), (200, 200, 200)),
        (_file(Image.new("CMYK", (16, 16), (255, 0, 255, 0))), (0, 255, 0)),
        (_file(Image.new("RGB", (16, 16), (10, 200, 30)), progressive=True), (10, 200, 30)),
        (_file(Image.new("RGB", (16, 16), (10, 200, 30)), "BMP"), (10, 200, 30)),
    ],
)
def test_every_colour_mode_becomes_rgb(content: bytes, colour: tuple[int, int, int] | None) -> None:
    _, encoded, image = _stored(content)
    assert encoded != content
    if colour:
        assert all(abs(got - wanted) <= 4 for got, wanted in zip(image.getpixel((8, 8)), colour, strict=True))


def test_the_xml_s_size_says_which_way_up_boxes_were_drawn(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, size in (("turned", (48, 64)), ("stored", (64, 48)), ("neither", (50, 60))):
        save(data / f"{name}.jpg", picture(name), exif=exif)
        label(data / f"{name}.xml", size, [("cat", 2, 2, size[0] - 2, size[1] - 2)])
    with pytest.raises(BoxcarError) as caught:
        build_records(str(data), str(tmp_path / "out"))
    assert caught.value.details == ("neither.xml: it says 50×60, the image is 64×48, 48×64 when turned",)
