"""The images that TensorBoard shows: labeled boxes above found ones, and the confusion matrix."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boxcar.data.example import read_examples
from boxcar.data.own_names import own_name
from boxcar.data.pixels import thumbnail
from boxcar.inference.detections import Detections
from boxcar.inference.drawing import FOUND, SHOWN_SCORE, TRUE, Font, captions, choose_images, draw, shorten
from boxcar.scoring import GroundTruth

MOST = 4  # images whose boxes are drawn for every checkpoint
SIDE = 340  # the longer side of each, in pixels; what is wider than 350 TensorBoard shrinks until its letters are gone
_HEAD = 22  # pixels above each half, for its heading
_NAME_WIDTH = 200  # pixels of a class name in the confusion matrix, at most
_INK, _PAPER, _MUTED = (32, 33, 36), (255, 255, 255), (95, 99, 104)


class Panels:
    """A few images of a split, the same for every checkpoint, with their labeled boxes.

    Args:
        shards: the split's TFRecord files.
        truths: the ground truth of each of its images.
        labels: the label map, id to name.

    Raises:
        BoxcarError: 65 if an image cannot be decoded.
    """

    def __init__(self, shards: Sequence[Path], truths: Sequence[GroundTruth], labels: Mapping[int, str]) -> None:
        self._labels = labels
        self._chosen: list[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]] = []  # index, image, image with labeled boxes
        chosen = choose_images([set(truth.labels.tolist()) for truth in truths], MOST)
        for index, example in enumerate(islice(read_examples(shards), chosen[-1] + 1 if chosen else 0)):
            if index not in chosen:
                continue
            small = np.asarray(thumbnail(example, SIDE))
            names = [
                f"{labels[int(label)]} (crowd)" if crowd else labels[int(label)]
                for label, crowd in zip(example.labels, example.is_crowd, strict=True)
            ]
            self._chosen.append((index, small, draw(small, example.boxes, names, TRUE, SIDE)))

    def draw(self, detections: Sequence[Detections]) -> list[NDArray[np.uint8]]:
        """Each chosen image, uint8 [H, W, 3]: labeled boxes above, found ones below.

        Args:
            detections: one for each image of the split.
        """
        panels = []
        for index, small, labeled in self._chosen:
            shown = detections[index].above(SHOWN_SCORE)
            panels.append(_panel(labeled, draw(small, shown.boxes, captions(shown, self._labels), FOUND, SIDE)))
        return panels


def _panel(labeled: NDArray[np.uint8], found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = labeled.shape[:2]
    sheet = Image.new("RGB", (width, 2 * (height + _HEAD)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    pen.text((0, 2), "labeled", fill=TRUE, font=font)
    sheet.paste(Image.fromarray(labeled), (0, _HEAD))
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
        uint8 [H, W, 3]. The larger a cell's share of its row, the darker it is: green on the diagonal, else orange.
    """
    size = len(counts)
    cell = 44 if size <= 12 else 36 if size <= 32 else 22  # pixels
    font = ImageFont.load_default(14 if cell > 22 else 11)
    rows, columns = [*names, own_name("nothing there", names)], [*names, own_name("missed", names)]
    rows, columns = ([shorten(name, font, _NAME_WIDTH) for name in side] for side in (rows, columns))
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
                continue  # the background found as background is not counted
            share = counts[row, column] / max(counts[row].sum(), 1)
            hue = np.array(TRUE if row == column else FOUND)
            fill = tuple(int(v) for v in 250 + (hue - 250) * share)
            x = margin + column * cell
            pen.rectangle((x, y, x + cell - 2, y + cell - 2), fill=fill)
            if counts[row, column]:
                ink = _PAPER if share > 0.5 else _INK
                pen.text((x + cell // 2 - 1, y + cell // 2 - 1), f"{counts[row, column]}", fill=ink, font=font, anchor="mm")
    return np.asarray(sheet)


def _paste_upright(
    sheet: Image.Image,
    text: str,
    corner: tuple[int, int],
    color: tuple[int, int, int],
    font: Font,
    ends: bool = False,
) -> None:
    """Writes text from the bottom to the top. It starts at the corner's height if `ends`, else it ends there."""
    strip = Image.new("RGB", (int(font.getlength(text)) + 2, 20), _PAPER)
    ImageDraw.Draw(strip).text((0, 1), text, fill=color, font=font)
    turned = strip.rotate(90, expand=True)
    sheet.paste(turned, (corner[0], corner[1] - turned.height if ends else corner[1]))
