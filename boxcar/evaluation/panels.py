"""The images that TensorBoard shows: labelled above found boxes, and the confusion matrix."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boxcar.data.example import read_examples
from boxcar.data.pixels import thumbnail
from boxcar.inference.detections import Detections
from boxcar.inference.drawing import FOUND, SHOWN_SCORE, TRUE, captions, choose_images, draw
from boxcar.scoring import GroundTruth

MOST = 4  # images whose boxes are drawn for every checkpoint
SIDE = 340  # the longer side of each, in pixels; what is wider than 350 TensorBoard shrinks until its letters are gone
_HEAD = 22  # pixels above each half, for its heading
_INK, _PAPER, _MUTED = (32, 33, 36), (255, 255, 255), (95, 99, 104)


class Panels:
    """A few images of a split, the same for every checkpoint, with their labelled boxes.

    Args:
        shards: the split's TFRecord files.
        truths: the labelled boxes of each of its images.
        labels: the label map, id to name.

    Raises:
        BoxcarError: 65 if an image cannot be decoded.
    """

    def __init__(self, shards: Sequence[Path], truths: Sequence[GroundTruth], labels: Mapping[int, str]) -> None:
        self._labels = labels
        self._chosen = choose_images([set(truth.labels.tolist()) for truth in truths], MOST)
        self._small: list[NDArray[np.uint8]] = []
        self._labelled: list[NDArray[np.uint8]] = []
        for place, example in enumerate(islice(read_examples(shards), self._chosen[-1] + 1 if self._chosen else 0)):
            if place not in self._chosen:
                continue
            small = np.asarray(thumbnail(example, SIDE))
            names = [
                f"{labels[int(label)]} (crowd)" if crowd else labels[int(label)]
                for label, crowd in zip(example.labels, example.is_crowd, strict=True)
            ]
            self._small.append(small)
            self._labelled.append(draw(small, example.boxes, names, TRUE, SIDE))

    def draw(self, detections: Sequence[Detections]) -> list[NDArray[np.uint8]]:
        """Each chosen image, uint8 [H, W, 3]: labelled boxes above, found ones below. One of `detections` for each image."""
        return [
            _panel(labelled, self._found(small, detections[place]))
            for place, small, labelled in zip(self._chosen, self._small, self._labelled, strict=True)
        ]

    def _found(self, small: NDArray[np.uint8], found: Detections) -> NDArray[np.uint8]:
        shown = found.above(SHOWN_SCORE)
        return draw(small, shown.boxes, captions(shown, self._labels), FOUND, SIDE)


def _panel(labelled: NDArray[np.uint8], found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = labelled.shape[:2]
    sheet = Image.new("RGB", (width, 2 * (height + _HEAD)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    pen.text((0, 2), "labeled", fill=TRUE, font=font)
    sheet.paste(Image.fromarray(labelled), (0, _HEAD))
    pen.text((0, height + _HEAD + 2), f"found, score {SHOWN_SCORE} or more", fill=FOUND, font=font)
    sheet.paste(Image.fromarray(found), (0, height + 2 * _HEAD))
    return np.asarray(sheet)


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str], title: str) -> NDArray[np.uint8]:
    """A confusion matrix as an image.

    Args:
        counts: [K + 1, K + 1] as `scoring.confusion_matrix` returns it.
        names: of its K classes.
        title: lines above it.

    Returns:
        uint8 [H, W, 3]. A cell is the darker the larger a share of its row it holds; green on the diagonal, else orange.
    """
    size = len(counts)
    cell = 44 if size <= 12 else 36 if size <= 32 else 22  # pixels
    font = ImageFont.load_default(14 if cell > 22 else 11)
    rows, columns = [*names, "nothing there"], [*names, "missed"]
    rows, columns = ([_short(name, font) for name in side] for side in (rows, columns))
    margin = int(max(font.getlength(name) for name in rows)) + 40
    lines = title.splitlines()
    head = 8 + 18 * len(lines) + 6
    top = head + 22 + int(max(font.getlength(name) for name in columns)) + 12
    width = max(margin + size * cell, *(round(font.getlength(line)) + 8 for line in lines)) + 8
    sheet = Image.new("RGB", (width, top + size * cell + 8), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((8, 8 + 18 * number), line, fill=_INK, font=font)
    pen.text((margin, head), "found as", fill=_MUTED, font=font)
    _paste_upright(sheet, "labeled as", (8, top), _MUTED, font)
    for place, name in enumerate(columns):
        _paste_upright(sheet, name, (margin + place * cell + cell // 2 - 9, top - 6), _INK, font, ends=True)
    for row, name in enumerate(rows):
        y = top + row * cell
        pen.text((margin - 8, y + cell // 2), name, fill=_INK, font=font, anchor="rm")
        for column in range(size):
            if row == column == size - 1:
                continue  # nothing found where nothing is: not counted
            share = counts[row, column] / max(counts[row].sum(), 1)
            hue = np.array(TRUE if row == column else FOUND)
            fill = tuple(int(v) for v in 250 + (hue - 250) * share)
            x = margin + column * cell
            pen.rectangle((x, y, x + cell - 2, y + cell - 2), fill=fill)
            if counts[row, column]:
                ink = _PAPER if share > 0.5 else _INK
                pen.text((x + cell // 2 - 1, y + cell // 2 - 1), f"{counts[row, column]}", fill=ink, font=font, anchor="mm")
    return np.asarray(sheet)


def _short(name: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """A name of at most 200 pixels."""
    if font.getlength(name) <= 200:
        return name
    while font.getlength(name + "…") > 200:
        name = name[:-1]
    return name + "…"


def _paste_upright(
    sheet: Image.Image,
    text: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
    ends: bool = False,
) -> None:
    """Writes from the bottom upwards: beginning at the corner's height if `ends`, else reaching down from there."""
    strip = Image.new("RGB", (int(font.getlength(text)) + 2, 20), _PAPER)
    ImageDraw.Draw(strip).text((0, 1), text, fill=colour, font=font)
    turned = strip.rotate(90, expand=True)
    sheet.paste(turned, (corner[0], corner[1] - turned.height if ends else corner[1]))
