"""What an image looks like at a size of 16 × 16 gray pixels, by which near-duplicates are found. Runs in worker processes."""

from PIL import Image

from boxcar.inference.seen import as_seen

LOOK_SIDE = 16  # pixels
LOOK_BYTES = LOOK_SIDE**2
DECODED_SIDE = 2 * LOOK_SIDE  # the least that a JPEG may be reduced to while it is decoded


def look_of(image: Image.Image, extent: tuple[float, float] | None) -> bytes:
    """The look of a decoded image as it is stored: rows of gray values from the top.

    Args:
        image: which may have been reduced while it was decoded.
        extent: its width and height without the reduced pixels that lie beyond the image; None for all.
    """
    # For the modes that large images have, this needs less time and memory than `as_seen`, and gives nearly the same.
    gray = (image if image.mode in ("L", "LA", "RGB", "RGBA") else as_seen(image)).convert("L")
    box = None if extent is None else (0, 0, *extent)
    small = gray.resize((LOOK_SIDE, LOOK_SIDE), Image.Resampling.BOX, box)
    if "A" in image.getbands():
        opacity = image.getchannel("A").resize((LOOK_SIDE, LOOK_SIDE), Image.Resampling.BOX)
        small = Image.composite(small, Image.new("L", small.size, 255), opacity)
    return small.tobytes()


def turned_look(look: bytes, turn: Image.Transpose) -> bytes:
    """The look of an image that is turned or mirrored."""
    return Image.frombytes("L", (LOOK_SIDE, LOOK_SIDE), look).transpose(turn).tobytes()
