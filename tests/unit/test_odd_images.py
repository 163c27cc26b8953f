"""One table of odd images through everything that reads an image file: all of them see what a person sees."""

import base64
import importlib.util
import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from exported import ExportedRun
from PIL import Image

from boxcar.demo_page.site import PAGE
from boxcar.detect.sources import find_sources, read_frames
from boxcar.records.images import inspect, stored_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

PI = Path(__file__).parents[2] / "examples" / "raspberry_pi" / "detect.py"
Pixels = npt.NDArray[np.uint8]


def _colors(seed: int = 0) -> Pixels:
    """Four blocks of different colors with smooth edges, uint8 [30, 44, 3]."""
    blocks = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((44, 30), Image.Resampling.BILINEAR))


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _turned(orientation: int, kind: str, big: bool = True, thumbnail: bool = False) -> bytes:
    exif = Image.Exif()
    if not big:
        exif.endian = "<"
    exif[0x010F] = "A maker whose name does not fit into an entry"
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    if thumbnail:  # other segments before the EXIF data
        options["comment"] = b"c" * 40_000
    return _file(Image.fromarray(_colors()), kind, exif=exif, **options)


def _upright(orientation: int) -> Pixels:
    rows = _colors()
    rows = rows.transpose(1, 0, 2) if orientation >= 5 else rows
    rows = rows[:, ::-1] if orientation in (2, 3, 6, 7) else rows
    return rows[::-1] if orientation in (3, 4, 7, 8) else rows


def _png(values: npt.NDArray[np.uint16], color_type: int, chunks: bytes = b"") -> bytes:
    """A PNG of 16 bits, of which Pillow writes gray ones only."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values.reshape(height, -1))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def _tiff(values: npt.NDArray[np.uint16], order: str = "<", white_is_zero: bool = False) -> bytes:
    """A TIFF of 16 bits, in either order of bytes."""
    height, width = values.shape[:2]
    channels = values.size // (width * height)
    content = values.astype(f"{order}u2").tobytes()
    entries = {256: width, 257: height, 258: 16, 259: 1, 262: 0 if white_is_zero else 1, 273: 0, 277: channels, 278: height}
    entries[279] = len(content)
    begin = 8 + 2 + 12 * len(entries) + 4
    if channels == 3:  # the bits of each channel do not fit into an entry
        entries |= {258: begin, 262: 2}
    after = struct.pack(f"{order}3H", 16, 16, 16)
    entries[273] = begin + len(after)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, value in sorted(entries.items()):
        count = 3 if tag == 258 and channels == 3 else 1
        kind = 3 if tag == 258 else 4
        short = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + short
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", 8) + directory + bytes(4) + after + content


def _of_16_bits(rows: Pixels) -> dict[str, tuple[bytes, Pixels]]:
    """Images whose lower 8 bits are anything: the upper ones are seen."""
    low = np.random.default_rng(2).integers(0, 256, (*rows.shape[:2], 4), np.uint16)
    deep = np.dstack([rows, _colors(1)[..., 0]]).astype(np.uint16) * 256 + low
    gray, alpha = deep[..., 0], deep[..., 3]
    three = np.stack([rows[..., 0]] * 3, -1)
    seen_through = (alpha >> 8)[..., None] / 255
    on_white = np.rint(rows * seen_through + 255 * (1 - seen_through)).astype(np.uint8)
    gray_on_white = np.rint(three * seen_through + 255 * (1 - seen_through)).astype(np.uint8)
    hole = np.where((gray == gray[0, 0])[..., None], 255, three).astype(np.uint8)
    key = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", int(gray[0, 0]))
    return {
        "16 bits of gray, all used": (_png(gray, 0), three),
        "16 bits of color": (_png(deep[..., :3], 2), rows),
        "16 bits of gray and alpha": (_png(deep[..., [0, 3]], 4), gray_on_white),
        "16 bits of color and alpha": (_png(deep, 6), on_white),
        "16 bits of gray with a hole": (_png(gray, 0, key + struct.pack(">I", zlib.crc32(key[4:]))), hole),
        "TIFF of 16 bits": (_tiff(gray), three),
        "TIFF of 16 bits, big endian": (_tiff(gray, ">"), three),
        "TIFF of 16 bits, white is zero": (_tiff(gray ^ 0xFFFF, white_is_zero=True), three),
        "TIFF of 16 bits of color": (_tiff(deep[..., :3]), rows),
    }


def _table() -> dict[str, tuple[bytes, Pixels]]:
    """Each file with what a person sees."""
    rows, gray = _colors(), _colors()[..., 0]
    image, alpha = Image.fromarray(rows), _colors(1)[..., 0]
    on_white = np.rint((rows * (alpha[..., None] / 255)) + (255 - alpha[..., None])).astype(np.uint8)
    gray_on_white = np.rint(gray * (alpha / 255) + (255 - alpha)).astype(np.uint8)
    three = lambda plane: np.stack([plane] * 3, -1)  # noqa: E731
    half = np.where(np.arange(44)[None, :, None] < 22, 255, rows).astype(np.uint8)
    transparent = np.dstack([rows, np.where(np.arange(44) < 22, 0, 255)[None].repeat(30, 0).astype(np.uint8)])
    palette = image.quantize(16)
    index = np.asarray(palette)
    palette_seen = np.asarray(palette.convert("RGB"))
    palette_holes = np.where((index == index[0, 0])[..., None], 255, palette_seen).astype(np.uint8)
    key = tuple(int(one) for one in rows[0, 0])
    keyed = np.where((rows == rows[0, 0]).all(-1, keepdims=True), 255, rows).astype(np.uint8)
    return {
        **{f"JPEG turned by {o}": (_turned(o, "JPEG", big=o % 2 == 0), _upright(o)) for o in range(1, 9)},
        "JPEG turned by 9": (_turned(9, "JPEG"), rows),
        "JPEG turned, after a comment": (_turned(6, "JPEG", thumbnail=True), _upright(6)),
        "PNG turned by 6": (_turned(6, "PNG"), _upright(6)),
        "PNG half transparent": (_file(Image.fromarray(transparent), "PNG"), half),
        "PNG with alpha": (_file(Image.fromarray(np.dstack([rows, alpha])), "PNG"), on_white),
        "gray and alpha": (_file(Image.fromarray(np.dstack([gray, alpha]), "LA"), "PNG"), three(gray_on_white)),
        "palette": (_file(palette, "PNG"), palette_seen),
        "palette with a hole": (_file(palette, "PNG", transparency=int(index[0, 0])), palette_holes),
        "a color that is transparent": (_file(image, "PNG", transparency=key), keyed),
        **_of_16_bits(rows),
        **{f"TIFF turned by {o}": (_turned(o, "TIFF"), _upright(o)) for o in (3, 6)},
        "16 bits of gray": (_file(Image.fromarray(gray.astype(np.uint16) * 257), "PNG"), three(gray)),
        "1 bit": (_file(Image.fromarray(gray > 127), "PNG"), three(np.where(gray > 127, 255, 0).astype(np.uint8))),
        "gray JPEG": (_file(Image.fromarray(gray), "JPEG", quality=100), three(gray)),
        "progressive JPEG": (_file(image, "JPEG", quality=100, subsampling=0, progressive=True), rows),
        "CMYK JPEG": (_file(image.convert("CMYK"), "JPEG", quality=100, subsampling=0), rows),
    }


TABLE = _table()
each = pytest.mark.parametrize("name", TABLE)
# What everybody reads. TIFF is read by the records and by `boxcar detect`.
COMMON = {name: case for name, case in TABLE.items() if "TIFF" not in name}


def check(name: str, found: Pixels) -> None:
    wanted = TABLE[name][1]
    assert found.shape == wanted.shape
    most = 8 if "JPEG" in name or "TIFF" in name else 1  # its colors are rounded; records store a TIFF as JPEG
    assert np.abs(found.astype(int) - wanted).max() <= most


@each
def test_detect(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{'jpg' if 'JPEG' in name else 'tif' if 'TIFF' in name else 'png'}"
    path.write_bytes(TABLE[name][0])
    (source,) = find_sources([str(path)], None)
    check(name, next(read_frames(source)).pixels)


@each
def test_records(name: str) -> None:
    content = TABLE[name][0]
    image = inspect(content, full_decode=True)
    stored, _ = stored_bytes(content, image.treatment(turn=True), turn=True)
    opened = Image.open(io.BytesIO(stored))
    assert opened.mode == "RGB" and opened.getexif().get(0x0112) not in range(2, 9)
    check(name, np.asarray(opened))


@pytest.mark.parametrize("name", COMMON)
def test_raspberry_pi(name: str, tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("detect_on_a_pi", PI)
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    path = tmp_path / "image"
    path.write_bytes(TABLE[name][0])
    check(name, script.read(path))


def test_graph_of_serve_bytes() -> None:
    import tensorflow as tf

    from boxcar.inference.decode_graph import decode_file

    decode = tf.function(decode_file, input_signature=[tf.TensorSpec([], tf.string)])
    for name, (content, _) in COMMON.items():
        check(name, decode(content).numpy())
    exif = b"Exif\0\0"
    plain = _file(Image.fromarray(_colors()), "JPEG", quality=100, subsampling=0)
    # An orientation that cannot be read turns nothing, and what is cut short is not read beyond its end.
    for broken in (b"", exif, exif + b"MM\0*\0\0\0\xff", exif + b"II*\0\x08\0\0\0\xff\xff", exif + b"MM\0*\xff\xff\xff\xff"):
        segment = b"\xff\xe1" + (len(broken) + 2).to_bytes(2, "big") + broken
        check("JPEG turned by 1", decode(plain[:2] + segment + plain[2:]).numpy())
    png = _file(Image.fromarray(_colors()), "PNG")
    np.testing.assert_array_equal(decode(png).numpy(), _colors())


def test_browser_page(chromium: "Browser") -> None:
    page = chromium.new_page()

    def answer(route: "Route") -> None:
        name = route.request.url.rpartition("/")[2]
        if name:
            route.fulfill(body=(PAGE / name).read_text(encoding="utf-8"), content_type="text/javascript")
        else:
            route.fulfill(body="<canvas></canvas>", content_type="text/html")

    page.route("**/*", answer)
    page.goto("http://localhost/")
    read = """async (text) => {
      const { readImage } = await import('/images.js');
      const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
      const { width, height, data } = await readImage(new Blob([bytes]), document.querySelector('canvas'));
      return [width, height, [...data]];
    }"""
    for name, (content, _) in COMMON.items():
        if name == "PNG turned by 6":
            continue  # not in every version of Chromium
        width, height, data = page.evaluate(read, base64.b64encode(content).decode())
        check(name, np.array(data, np.uint8).reshape(height, width, 4)[..., :3])
    page.close()


def test_the_exported_signature_turns_a_photograph(exported_run: ExportedRun) -> None:
    import tensorflow as tf

    model = tf.saved_model.load(str(exported_run.frozen / "saved_model"))
    for name in ("JPEG turned by 6", "PNG turned by 6", "PNG half transparent"):
        content, seen = TABLE[name]
        if "JPEG" in name:
            seen = np.asarray(Image.open(io.BytesIO(content)).transpose(Image.Transpose.ROTATE_270))
        answer = model.signatures["serve_bytes"](encoded=tf.constant([content]))
        wanted = model.signatures["serving_default"](input_tensor=tf.constant(seen[None]))
        for key in wanted:
            np.testing.assert_allclose(answer[key], wanted[key], rtol=0, atol=1e-5)
