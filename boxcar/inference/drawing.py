"""Images for people: selects images to show, and draws boxes with captions into them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boxcar.inference.detections import Detections

SHOWN_SCORE = 0.3  # detections with a lower score are not drawn

Color = tuple[int, int, int]  # red, green, blue, 0 to 255
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Distinguishable with every kind of color vision, and from most photographs (Okabe and Ito,
# https://jfly.uni-koeln.de/color/, 2008: bluish green and vermilion).
TRUE: Color = (0, 158, 115)
FOUND: Color = (213, 94, 0)
_WHITE: Color = (255, 255, 255)

_Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels


def choose_images(labels: Sequence[set[int]], most: int) -> list[int]:
    """Chooses images to show, so that as many classes as possible are included.

    Args:
        labels: each image's class ids.
        most: maximum number to choose; fewer if fewer images have a box.

    Returns:
        Their indices, ascending.
    """
    chosen: list[int] = []
    seen: set[int] = set()
    for place, ids in enumerate(labels):
        if len(chosen) < most and ids - seen:
            chosen.append(place)
            seen |= ids
    rest = [place for place, ids in enumerate(labels) if ids and place not in chosen]
    return sorted(chosen + rest[: most - len(chosen)])


def captions(found: Detections, labels: Mapping[int, str]) -> list[str]:
    """Class and score of each detection: the captions for `draw`."""
    pairs = zip(found.classes.tolist(), found.scores.tolist(), strict=True)
    return [f"{labels.get(label, str(label))} {score:.2f}" for label, score in pairs]


def draw(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    captions: Sequence[str],
    color: Color = TRUE,
    side: int | None = None,
) -> NDArray[np.uint8]:
    """Draws boxes and their captions over an image.

    Args:
        image: uint8 [H, W, 3]; not changed.
        boxes: [N, 4] (ymin, xmin, ymax, xmax), finite, normalized by the image's height and width; cut at its edges.
        captions: one per box; an empty one is not drawn. A caption is placed where it hides no earlier one, if possible, and
            shortened if it is wider than the image. The font is Pillow's own, with Latin letters.
        color: of lines and captions.
        side: the longer side of the result, in pixels; None for the image's own size. A small image is enlarged first, so
            that captions are legible.

    Returns:
        uint8 [H', W', 3], in the image's proportions.

    Raises:
        ValueError: if the numbers of boxes and captions differ.
    """
    canvas = Image.fromarray(image)
    if side is not None:
        scale = side / max(canvas.size)
        size = (max(round(canvas.width * scale), 1), max(round(canvas.height * scale), 1))
        # Enlarged pixels stay visible as pixels, because the network sees no more than them.
        canvas = canvas.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas)
    longer = max(canvas.size)
    width = max(longer // 200, 1)
    rectangles = [_rectangle(box, canvas.width, canvas.height) for box in boxes]
    for left, top, right, bottom in rectangles:
        # A light outline keeps the line visible on any background.
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_WHITE, width=width + 2)
        pen.rectangle((left, top, right, bottom), outline=color, width=width)
    font = ImageFont.load_default(max(longer / 26, 11))
    taken: list[_Rectangle] = []
    for rectangle, caption in zip(rectangles, captions, strict=True):
        if not caption:
            continue
        text = shorten(caption, font, canvas.width - 4)
        ink = font.getbbox(text)
        height = round(sum(font.getmetrics()))  # type: ignore[union-attr]
        place = _place(rectangle, (round(ink[2]) + 4, height), canvas.size, taken)
        taken.append(place)
        pen.rectangle(place, fill=color)
        pen.text((place[0] + 2, place[1]), text, fill=_WHITE, font=font)
    return np.asarray(canvas)


def _rectangle(box: NDArray[np.float32], width: int, height: int) -> _Rectangle:
    top, left, bottom, right = (float(edge) for edge in np.clip(box, 0, 1))
    x, y = round(left * (width - 1)), round(top * (height - 1))
    return x, y, max(round(right * (width - 1)), x), max(round(bottom * (height - 1)), y)


def shorten(text: str, font: Font, width: int) -> str:
    """As much of a text as is not wider than `width` pixels, with "…" at its end if something is missing."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _place(box: _Rectangle, size: tuple[int, int], image: tuple[int, int], taken: Sequence[_Rectangle]) -> _Rectangle:
    """Where to draw a caption of `size` pixels: the first of six places at its box that hides the least of the others."""
    left, top, right, bottom = box
    width, height = size
    corners = [
        (left, top - height),  # above the box, then below it, then inside
        (right - width, top - height),
        (left, bottom),
        (right - width, bottom),
        (left, top),
        (right - width, bottom - height),
    ]
    places = []
    for x, y in corners:
        x, y = max(min(x, image[0] - 1 - width), 0), max(min(y, image[1] - 1 - height), 0)
        places.append((x, y, x + width, y + height))
    return min(places, key=lambda place: sum(_overlap(place, other) for other in taken))


def _overlap(a: _Rectangle, b: _Rectangle) -> int:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
