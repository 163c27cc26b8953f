"""Runs an exported file on images, then draws, lists, and times the detections."""

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxcar.detect.sources import Frame, find_sources, read_frames
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.detections import Detections
from boxcar.inference.drawing import FOUND, SHOWN_SCORE, captions, draw
from boxcar.inference.open_runner import open_runner
from boxcar.storage import bucket_location, local_path, make_folder, replace_json, replace_text
from boxcar.sync.mirror import Mirror

COLUMNS = ("path", "frame", "ymin", "xmin", "ymax", "xmax", "score", "class", "id")
_DEFAULT_RATE = 25.0  # frames per second of a drawn video whose source does not say


@dataclass(frozen=True)
class DetectSummary:
    """Counts and time."""

    images: int  # each frame of a video counts
    objects: int
    milliseconds: float  # median per image, from its pixels to its detections; 0 without images


def detect(
    model: str,
    names: Sequence[str],
    *,
    camera: int | None = None,
    drawn: str | None = None,
    json: str | None = None,
    table: str | None = None,
    score: float = SHOWN_SCORE,
    threads: int = 2,
    say: Callable[[str], None] = lambda sentence: None,
) -> DetectSummary:
    """Detects objects in images, folders of images, videos, and a camera's images.

    Args:
        model: what `inference.open_runner` opens, or its URI.
        names: of images, folders, and videos.
        camera: its number; it is read until Ctrl-C.
        drawn: folder for images (JPEG) and videos (MP4) with boxes drawn on them.
        json: file for a list of images, each with `path`, for videos `frame`, and `detections`: `box` (ymin, xmin, ymax,
            xmax), normalized, `score`, `class`, and `id`.
        table: file for the same as CSV, one line per box.
        score: the minimum score of a detection, 0 to 1.
        threads: CPU threads.
        say: called with a line for each image or video.

    Raises:
        BoxcarError: 64 for a wrong name or score, 65 if the model or some of the images cannot be read (the detections in the
            others are written), 69 if a result cannot be written or the camera cannot be used.
    """
    if not 0 <= score <= 1:
        raise BoxcarError(ExitCode.USAGE, f"--score cannot be {score}.", "Give a number from 0 to 1.")
    sources = find_sources(names, camera)
    folder = make_folder(local_path(drawn)) if drawn is not None else None
    images: list[dict[str, Any]] = []
    seconds: list[float] = []
    faults: list[str] = []
    with open_runner(_fetched(model), threads) as runner, _Drawings(folder) as drawings:
        labels = runner.specification.labels
        for source in sources:
            frames = read_frames(source)
            first = len(images)
            try:
                while (frame := _next(frames, faults)) is not None:
                    started = time.perf_counter()
                    found = runner.detect(frame.pixels).above(score)
                    seconds.append(time.perf_counter() - started)
                    texts = captions(found, labels)
                    images.append(_image(frame, found, labels))
                    drawings.add(frame, found, texts)
                    if not source.moves:
                        say(f"{source.path}: {', '.join(texts) or 'nothing'}")
            except KeyboardInterrupt:
                if source.camera is None:
                    raise
            if source.moves:
                say(f"{source.path}: {len(images) - first} frames")
            drawings.finish()
    if json is not None:
        replace_json(local_path(json), images)
    if table is not None:
        replace_text(local_path(table), _table(images))
    if faults:
        what = f"{len(faults)} of {len(sources)} files could not be read: {faults[0]}" if len(faults) > 1 else faults[0]
        raise BoxcarError(
            ExitCode.DATA, what, "Repair what cannot be read, or leave it out.", tuple(faults) if len(faults) > 1 else ()
        )
    objects = sum(len(image["detections"]) for image in images)
    return DetectSummary(len(images), objects, 1000 * median(seconds) if seconds else 0.0)


def _fetched(model: str) -> Path:
    """The model on this machine, with the files next to it."""
    location = bucket_location(model)
    if location is not None and model.endswith(".tflite"):
        folder, name = location.split()
        return Mirror(folder).fetch() / name
    return Mirror(model).fetch()


def _next(frames: Iterator[Frame], faults: list[str]) -> Frame | None:
    """The next frame; None after the last one, or if the source cannot be read, which is added to `faults`."""
    try:
        return next(frames, None)
    except BoxcarError as error:
        if error.code != ExitCode.DATA:
            raise
        faults.append(error.what)
        return None


def _image(frame: Frame, found: Detections, labels: dict[int, str]) -> dict[str, Any]:
    detections = [
        {
            "box": [round(side, 6) for side in box],
            "score": round(score, 6),
            "class": labels.get(label, str(label)),
            "id": label,
        }
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    ]
    number = {} if frame.number is None else {"frame": frame.number}
    return {"path": frame.source.path, **number, "detections": detections}


def _table(images: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image in images:
        for one in image["detections"]:
            writer.writerow([image["path"], image.get("frame", ""), *one["box"], one["score"], one["class"], one["id"]])
    return text.getvalue()


class _Drawings:
    """Images and videos with boxes, in a folder. Each has a hidden name until it is complete."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: set[str] = set()
        self._video: Any = None
        self._unfinished: Path | None = None

    def __enter__(self) -> "_Drawings":
        return self

    def __exit__(self, *_: object) -> None:
        self._release()
        if self._unfinished is not None:
            self._unfinished.unlink(missing_ok=True)

    def add(self, frame: Frame, found: Detections, texts: Sequence[str]) -> None:
        """Draws what was found in an image, or in the next frame of a video."""
        if self._folder is None:
            return
        pixels = draw(frame.pixels, found.boxes, texts, FOUND)
        if frame.number is not None:
            self._film(self._folder, frame, pixels)
            return
        self._unfinished = self._folder / f".{self._name(frame, '.jpg')}"
        try:
            Image.fromarray(pixels).save(self._unfinished, "JPEG", quality=92)
        except OSError as error:
            raise _unwritable(self._unfinished, error.strerror or str(error)) from error

    def finish(self) -> None:
        """Gives the drawing of a source its name."""
        self._release()
        if self._unfinished is not None:
            self._unfinished.replace(self._unfinished.with_name(self._unfinished.name[1:]))
            self._unfinished = None

    def _film(self, folder: Path, frame: Frame, pixels: npt.NDArray[np.uint8]) -> None:
        import cv2

        if self._video is None:
            self._unfinished = folder / f".{self._name(frame, '.mp4')}"
            height, width = pixels.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = cv2.VideoWriter(str(self._unfinished), code, frame.rate or _DEFAULT_RATE, (width, height))
            if not self._video.isOpened():
                raise _unwritable(self._unfinished, "OpenCV cannot write a video there")
        self._video.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    def _release(self) -> None:
        if self._video is not None:
            self._video.release()
            self._video = None

    def _name(self, frame: Frame, ending: str) -> str:
        """A name that no other image of this call has."""
        stem = Path(frame.source.path).stem
        name, number = f"{stem}{ending}", 2
        while name in self._names:
            name, number = f"{stem}-{number}{ending}", number + 1
        self._names.add(name)
        return name


def _unwritable(path: Path, reason: str) -> BoxcarError:
    place = path.with_name(path.name[1:])
    return BoxcarError(
        ExitCode.ENVIRONMENT, f"{place} cannot be written: {reason}.", "Choose another folder, or free disk space."
    )
