"""Every record contains an upright RGB image. A file that already is one is kept byte for byte."""

import io
import json
import struct
from pathlib import Path

import pytest
from labelled import data_set, label, picture, save
from PIL import Image, ImageChops

from boxcar.detect.sources import Source, read_frames
from boxcar.errors import BoxcarError
from boxcar.records import build_records, images
from boxcar.records.annotation import unpack
from boxcar.records.check import Batch, check
from boxcar.records.checked import ROW, TREATMENTS, Row
from boxcar.records.faults import FaultyError
from boxcar.records.formats.voc import VocReader
from boxcar.records.images import InspectedImage, inspect, stored_bytes
from boxcar.records.reader import Item

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


@pytest.mark.slow
def test_a_photograph_of_200_megapixels_is_reduced_to_what_can_be_trained_on(tmp_path: Path) -> None:
    """TensorFlow decodes at most 178 megapixels."""
    save(tmp_path / "large.jpg", Image.new("RGB", (16320, 12240), "red"), quality=30)
    found = inspect((tmp_path / "large.jpg").read_bytes(), full_decode=True)
    assert (found.reduction, found.treatment(turn=True)) == (2, "encode")
    encoded, _ = stored_bytes((tmp_path / "large.jpg").read_bytes(), "encode", turn=True)
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.size == (8160, 6120)


def test_the_boxes_of_a_reduced_image_fit_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_MOST_STORED", 33 * 25)
    save(tmp_path / "a.jpg", picture("a", (65, 49)))
    label(tmp_path / "a.xml", (65, 49), [("cat", 10, 20, 60, 49)])
    checked = check(Batch(tmp_path, VocReader(), [Item("a.jpg", "a.xml")], full_decode=True))
    (row,) = map(Row._make, ROW.iter_unpack(checked.rows))
    (box,) = unpack(bytes(checked.objects[: row.packed]))
    encoded, _ = stored_bytes((tmp_path / "a.jpg").read_bytes(), TREATMENTS[row.treatment], row.turn)
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.size == (row.width, row.height) == (33, 25)
    assert box[1:5] == (5, 10, 30, 24.5)


def test_the_limit_of_pixels_can_be_chosen() -> None:
    content = _file(picture(1, (1200, 900)))
    assert inspect(content, full_decode=True, most_megapixels=2).width == 1200
    with pytest.raises(FaultyError, match="1200×900 pixels; the limit is 1 megapixels") as caught:
        inspect(content, full_decode=True, most_megapixels=1)
    assert caught.value.kind == "picture_too_large"


def test_detection_has_the_same_limit(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", picture(1, (1200, 900)))
    source = Source(str(tmp_path / "a.jpg"))
    (frame,) = read_frames(source, max_megapixels=2)
    assert frame.pixels.shape == (900, 1200, 3)
    with pytest.raises(BoxcarError, match="1200×900 pixels; the limit is 1 megapixels") as caught:
        next(read_frames(source, max_megapixels=1))
    assert caught.value.code == 65


def test_orientations_that_are_none_are_named(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 8)
    # The types 3 and 2 are numbers of 16 bits and text.
    for number, (kind, count, value) in enumerate([(3, 1, b"\0\0"), (3, 1, b"\x09\0"), (2, 4, b"abc\0")]):
        entry = struct.pack("<HHHI4s", 1, 0x0112, kind, count, value)
        save(data / f"p{number}.jpg", picture(number), exif=b"Exif\0\0II*\0\x08\0\0\0" + entry + bytes(4))
    build_records(str(data), str(tmp_path / "out"))
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    (warning,) = [text for text in dataset["warnings"] if "EXIF" in text]
    assert "p0.jpg (0), p1.jpg (9), p2.jpg ('abc')" in warning
    assert dataset["odd_orientations"] == ["p0.jpg (0)", "p1.jpg (9)", "p2.jpg ('abc')"]
