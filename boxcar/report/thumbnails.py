"""The images of the page: thumbnails as data URIs, with the boxes to draw over them."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxcar.data import pixels
from boxcar.data.example import Example, read_examples
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.boxes import iou_matrix
from boxcar.inference.drawing import SHOWN_SCORE, choose_images
from boxcar.report.evidence import ImageDetections
from boxcar.scoring import greedy_partners

SIDE = 320  # a thumbnail's longer side, pixels at most
CANVAS = 240  # height of the canvas over each thumbnail; equal, so that lines and letters are of one size in a row
LOOKED_THROUGH = 200  # training images from which the few that are shown are picked


@dataclass(frozen=True)
class Drawn:
    """A box on the canvas over a thumbnail, with what is written at it (at `text_x`, `text_y`, from or up to there)."""

    x: float
    y: float
    width: float
    height: float
    text: str
    text_x: float
    text_y: float
    anchor: str


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail with boxes to draw over it on a canvas of `width` x `height`."""

    uri: str
    width: float
    height: float
    name: str
    true: tuple[Drawn, ...]
    found: tuple[Drawn, ...]
    caption: str
    description: str  # for a person who cannot see it


def labelled_thumbnails(shards: Sequence[Path], labels: Mapping[int, str], most: int) -> list[Thumbnail]:
    """A few images with their labelled boxes, such that as many classes as possible are seen."""
    looked_through = [set(example.labels.tolist()) for example in islice(read_examples(shards), LOOKED_THROUGH)]
    wanted = choose_images(looked_through, most)
    # Read again rather than kept: two hundred images off a camera would fill the memory.
    numbered = enumerate(islice(read_examples(shards), wanted[-1] + 1 if wanted else 0))
    return [_labelled(example, labels) for number, example in numbered if number in wanted]


def scored_thumbnails(shards: Sequence[Path], found: Iterable[ImageDetections], labels: Mapping[int, str]) -> list[Thumbnail]:
    """Test images with their true boxes and what was found in them, in the order of `found`.

    Raises:
        BoxcarError: 65 where the shards hold no such image, or its bytes are no image.
    """
    wanted = {image.sha256: image for image in found}
    done: dict[str, Thumbnail] = {}
    for example in read_examples(shards):
        if example.sha256 in wanted and example.sha256 not in done:
            done[example.sha256] = _scored(example, wanted[example.sha256], labels)
        if len(done) == len(wanted):
            break
    missing = wanted.keys() - done.keys()
    if missing:
        raise BoxcarError(
            ExitCode.DATA,
            f"eval/test.json shows the image {min(missing)}, which the test records do not hold.",
            "Run `boxcar evaluate` for this run again.",
        )
    return [done[sha256] for sha256 in wanted]


def _labelled(example: Example, labels: Mapping[int, str]) -> Thumbnail:
    uri, width, height = _shrunk(example)
    names = [labels.get(int(label), f"id {label}") for label in example.labels]
    true = tuple(_drawn(box, name, width, height) for box, name in zip(example.boxes, names, strict=True))
    caption = counted(names) or "no box"
    return Thumbnail(uri, width, height, example.filename, true, (), caption, f"{example.filename}. Labeled: {caption}.")


def _scored(example: Example, found: ImageDetections, labels: Mapping[int, str]) -> Thumbnail:
    thumbnail = _labelled(example, labels)
    shown = sorted((d for d in found.detections if d.score >= SHOWN_SCORE), key=lambda d: -d.score)
    boxes = np.array([d.box for d in shown], np.float32).reshape(-1, 4)
    hits = _hits(example, boxes, [d.id for d in shown])
    # A box that was found has its name from the found one; two names on one box could not be read.
    true = tuple(replace(box, text="") if place in hits else box for place, box in enumerate(thumbnail.true))
    texts = [f"{labels.get(d.id, f'id {d.id}')} {d.score:.2f}" for d in shown]
    # Of boxes that all but cover one another only the best is named: more words there could not be read.
    covered: list[bool] = np.any(np.triu(iou_matrix(boxes, boxes) > 0.5, 1), axis=0).tolist()
    drawn = tuple(
        _drawn(box, "" if hidden else text, thumbnail.width, thumbnail.height)
        for box, text, hidden in zip(boxes, texts, covered, strict=True)
    )
    verdict = _verdict(len(example.boxes), len(hits), len(shown) - len(hits))
    return replace(
        thumbnail,
        true=true,
        found=drawn,
        caption=verdict,
        description=f"{thumbnail.description} Found: {', '.join(texts) or 'nothing'}; {verdict}.",
    )


def _hits(example: Example, boxes: NDArray[np.float32], ids: Sequence[int]) -> set[int]:
    """Which true boxes are found: met by a box of their class, each by one only, with an IoU of 0.5 or more."""
    overlaps = iou_matrix(boxes, example.boxes)
    overlaps[np.array(ids, np.int64)[:, None] != example.labels[None, :]] = 0
    return set(greedy_partners(overlaps, 0.5).tolist()) - {-1}


def _verdict(true: int, hits: int, false: int) -> str:
    found = f"{hits} of {true} found" if true else "nothing to find"
    return f"{found}, {false} false" if false else found


def _shrunk(example: Example) -> tuple[str, float, float]:
    """A data URI of a JPEG of at most `SIDE` pixels, and the canvas's width and height."""
    small = pixels.thumbnail(example, SIDE)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return uri, round(CANVAS * small.width / small.height, 1), CANVAS


def _drawn(box: NDArray[np.float32], text: str, width: float, height: float) -> Drawn:
    """A normalised box on a canvas, cut at its edges."""
    top, left, bottom, right = (float(edge) for edge in np.clip(box, 0, 1))
    x, y = round(left * width, 1), round(top * height, 1)
    w, h = round(max(right - left, 0) * width, 1), round(max(bottom - top, 0) * height, 1)
    # Above the box where there is room, else inside; at the right edge the text ends where the box does.
    text_y = round(y - 5 if y > 18 else y + 16, 1)
    anchor, text_x = ("end", x + w - 2) if left > 0.6 else ("start", x + 2)
    return Drawn(x, y, w, h, text, round(text_x, 1), text_y, anchor)


def counted(names: Sequence[str]) -> str:
    """ "2 × circle, square"."""
    parts = [f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    return ", ".join(parts)
