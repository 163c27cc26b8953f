"""Thumbnails as data URIs, and the boxes over them. `thumbnail.html.jinja` draws them as SVG."""

import base64
from typing import NamedTuple

SIDE = 320  # maximum of a thumbnail's longer side, in pixels
CANVAS = 240  # height of the canvas over each thumbnail; equal, so that lines and letters have one size in a row
JPEG_QUALITY = 82


class Drawn(NamedTuple):
    """A box on the canvas over a thumbnail, with its caption."""

    x: float
    y: float
    width: float
    height: float
    text: str
    text_x: float
    text_y: float
    anchor: str  # SVG's text-anchor: whether the caption starts or ends at `text_x`


class Thumbnail(NamedTuple):
    """A thumbnail with boxes to draw over it on a canvas of `width` x `height`."""

    uri: str
    width: float
    height: float
    name: str
    true: tuple[Drawn, ...]
    found: tuple[Drawn, ...]
    caption: str
    description: str  # for screen readers
    outlines: tuple[str, ...] = ()  # paths of SVG on the canvas


def jpeg_uri(jpeg: bytes) -> str:
    """A data URI of a JPEG."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def canvas_width(width: float, height: float) -> float:
    """The width of the canvas over an image of these sides."""
    return round(CANVAS * width / height, 1)


def drawn(box: tuple[float, float, float, float], text: str, width: float, height: float) -> Drawn:
    """A box (ymin, xmin, ymax, xmax), normalized, on a canvas of `width` x `height`, clipped at its edges."""
    top, left, bottom, right = (min(max(edge, 0.0), 1.0) for edge in box)
    x, y = round(left * width, 1), round(top * height, 1)
    w, h = round(max(right - left, 0) * width, 1), round(max(bottom - top, 0) * height, 1)
    # The caption is above the box if there is room, else inside. On the right, it ends where the box ends.
    text_y = round(y - 5 if y > 18 else y + 16, 1)
    anchor, text_x = ("end", x + w - 2) if left > 0.6 else ("start", x + 2)
    return Drawn(x, y, w, h, text, round(text_x, 1), text_y, anchor)
