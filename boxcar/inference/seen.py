"""The pixels of an image file as a person sees them. Records, `detect`, the graph of `serve_bytes`, the browser page, and the
examples agree on them: upright, 8 bits, and on white where the image is transparent.
"""

from PIL import Image

# Pillow refuses photographs of 200 megapixels wherever an image is opened. Boxcar checks its own limit where files come in.
Image.MAX_IMAGE_PIXELS = None

_GRAY_16_BITS = ("I", "I;16", "I;16B", "I;16L")


def as_seen(image: Image.Image) -> Image.Image:
    """An opened image in RGB, without its orientation applied. Of 16 bits, the upper 8 are kept.

    Raises:
        OSError, ValueError, and what else Pillow raises: if it cannot be decoded.
    """
    if image.mode in _GRAY_16_BITS:
        # Pillow would clip the values at 255.
        return image.point(lambda gray: gray / 256).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    colors = image.convert("RGBA")
    seen = Image.new("RGB", image.size, "white")
    seen.paste(colors, mask=colors.getchannel("A"))
    return seen
