"""The images on the page, with ground truth and detections."""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxcar.data import pixels
from boxcar.data.example import Example, read_examples
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.boxes import iou_matrix
from boxcar.inference.drawing import SHOWN_SCORE, choose_images
from boxcar.pages.thumbnails import CANVAS, JPEG_QUALITY, SIDE, Drawn, Thumbnail, canvas_width, drawn, jpeg_uri
from boxcar.report.evidence import ImageDetections

CONSIDERED = 200  # training images from which the examples are chosen


def labeled_thumbnails(shards: Sequence[Path], labels: Mapping[int, str], most: int) -> list[Thumbnail]:
    """Some training images with their ground truth, chosen so that they show as many classes as possible."""
    classes = [set(example.labels.tolist()) for example in islice(read_examples(shards), CONSIDERED)]
    wanted = choose_images(classes, most)
    # The images are read again, because two hundred images from a camera would fill the memory.
    numbered = enumerate(islice(read_examples(shards), wanted[-1] + 1 if wanted else 0))
    return [_labeled(example, labels) for number, example in numbered if number in wanted]


def scored_thumbnails(shards: Sequence[Path], found: Iterable[ImageDetections], labels: Mapping[int, str]) -> list[Thumbnail]:
    """Test images with ground truth and detections, in the order of `found`.

    Raises:
        BoxcarError: 65 if an image is not in the shards or cannot be decoded.
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
            f"eval/test.json shows the image {min(missing)}, which is not in the test records.",
            "Run `boxcar evaluate` for this run again.",
        )
    return [done[sha256] for sha256 in wanted]


def _labeled(example: Example, labels: Mapping[int, str]) -> Thumbnail:
    uri, width, height = _shrunk(example)
    names = [labels.get(int(label), f"id {label}") for label in example.labels]
    true = tuple(_drawn(box, name, width, height) for box, name in zip(example.boxes, names, strict=True))
    caption = counted(names) or "no box"
    return Thumbnail(uri, width, height, example.filename, true, (), caption, f"{example.filename}. Labeled: {caption}.")


def _scored(example: Example, found: ImageDetections, labels: Mapping[int, str]) -> Thumbnail:
    thumbnail = _labeled(example, labels)
    shown = sorted((d for d in found.detections if d.score >= SHOWN_SCORE), key=lambda d: -d.score)
    boxes = np.array([d.box for d in shown], np.float32).reshape(-1, 4)
    hits = _hits(example, boxes, [d.id for d in shown])
    # Only missed boxes have a caption of their own. Two captions at one object would not be legible.
    true = tuple(box._replace(text="") if place in hits else box for place, box in enumerate(thumbnail.true))
    texts = [f"{labels.get(d.id, f'id {d.id}')} {d.score:.2f}" for d in shown]
    # Of overlapping detections only the best one has a caption.
    covered: list[bool] = np.any(np.triu(iou_matrix(boxes, boxes) > 0.5, 1), axis=0).tolist()
    detections = tuple(
        _drawn(box, "" if hidden else text, thumbnail.width, thumbnail.height)
        for box, text, hidden in zip(boxes, texts, covered, strict=True)
    )
    verdict = _verdict(len(example.boxes), len(hits), len(shown) - len(hits))
    return thumbnail._replace(
        true=true,
        found=detections,
        caption=verdict,
        description=f"{thumbnail.description} Found: {', '.join(texts) or 'nothing'}; {verdict}.",
    )


def _hits(example: Example, boxes: NDArray[np.float32], ids: Sequence[int]) -> set[int]:
    """The true boxes that are found: each matched by one detection of its class with an IoU of at least 0.5."""
    # Here, because the container image ops, which only prints a run's summary, lacks what scoring imports.
    from boxcar.scoring import greedy_partners

    overlaps = iou_matrix(boxes, example.boxes)
    overlaps[np.array(ids, np.int64)[:, None] != example.labels[None, :]] = 0
    return set(greedy_partners(overlaps, 0.5).tolist()) - {-1}


def _verdict(true: int, hits: int, false: int) -> str:
    found = f"{hits} of {true} found" if true else "nothing to find"
    return f"{found}, {false} false" if false else found


def _shrunk(example: Example) -> tuple[str, float, float]:
    """A data URI of a JPEG of at most `SIDE` pixels, and the width and height of the canvas."""
    small = pixels.thumbnail(example, SIDE)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return jpeg_uri(buffer.getvalue()), canvas_width(small.width, small.height), CANVAS


def _drawn(box: NDArray[np.float32], text: str, width: float, height: float) -> Drawn:
    top, left, bottom, right = box.tolist()
    return drawn((top, left, bottom, right), text, width, height)


def counted(names: Sequence[str]) -> str:
    """ "2 × circle, square"."""
    parts = [f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    return ", ".join(parts)
