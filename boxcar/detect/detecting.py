"""Runs an exported file on images, then draws, lists, and times the detections."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from boxcar.detect.drawings import Drawings, check_folder
from boxcar.detect.lists import JsonLines, Table, as_listed, check_files
from boxcar.detect.sources import Frame, find_sources, read_frames
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.drawing import SHOWN_SCORE, captions
from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.inference.open_runner import open_runner
from boxcar.storage import bucket_location, local_path
from boxcar.sync.mirror import Mirror

MOST_THREADS = 64  # TensorFlow Lite crashes at numbers that the machine cannot start
_TIMED = 1000  # images: a camera may return millions


@dataclass(frozen=True)
class DetectSummary:
    """Counts and time."""

    images: int  # each frame of a video counts
    objects: int
    milliseconds: float  # median per image of the last 1,000, from its pixels to its detections; 0 without images


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
    max_megapixels: int = MOST_MEGAPIXELS,
    say: Callable[[str], None] = lambda sentence: None,
) -> DetectSummary:
    """Detects objects in images, folders of images, videos, and a camera's images.

    Detections are written as they are found, and only those of one image are in memory.

    Args:
        model: what `inference.open_runner` opens, or its URI.
        names: of images, folders, and videos.
        camera: its number; it is read until Ctrl-C.
        drawn: folder for images (JPEG) and videos (MP4) with boxes drawn on them: a new one, or one of an earlier call.
        json: file for one line of JSON per image, with `path`, for videos `frame`, and `detections`: `box` (ymin, xmin, ymax,
            xmax), normalized, `score`, `class`, and `id`.
        table: file for the same as CSV, one line per box.
        score: the minimum score of a detection, 0 to 1.
        threads: CPU threads, 1 to 64.
        max_megapixels: of an image file; a larger one cannot be read.
        say: called with a line for each image or video.

    Raises:
        BoxcarError: 64 for a wrong name or number, or if a file that no earlier call wrote would be replaced; 65 if the model
            or some of the images cannot be read (the detections in the others are written); 69 if a result cannot be written
            or the camera cannot be used.
    """
    if not 0 <= score <= 1:
        raise BoxcarError(ExitCode.USAGE, f"--score cannot be {score}.", "Give a number from 0 to 1.")
    if not 1 <= threads <= MOST_THREADS:
        raise BoxcarError(ExitCode.USAGE, f"--threads cannot be {threads}.", f"Give a number from 1 to {MOST_THREADS}.")
    sources = find_sources(names, camera, say)
    check_files(json, table)
    if drawn is not None:
        check_folder(local_path(drawn), sources)
    images = objects = 0
    seconds: deque[float] = deque(maxlen=_TIMED)
    faults: list[str] = []
    with open_runner(_fetched(model), threads) as runner, ExitStack() as stack:
        labels = runner.specification.labels
        drawings = None if drawn is None else stack.enter_context(Drawings(local_path(drawn)))
        lists = [
            stack.enter_context(kind(local_path(name)))
            for kind, name in ((JsonLines, json), (Table, table))
            if name is not None
        ]
        for source in sources:
            frames = read_frames(source, say, max_megapixels)
            first = images
            try:
                while (frame := _next(frames, faults)) is not None:
                    started = time.perf_counter()
                    found = runner.detect(frame.pixels).above(score)
                    seconds.append(time.perf_counter() - started)
                    texts = captions(found, labels)
                    if lists:
                        listed = as_listed(frame, found, labels)
                        for file in lists:
                            file.add(listed)
                    if drawings is not None:
                        drawings.add(frame, found, texts)
                    images += 1
                    objects += len(found.scores)
                    if not source.moves:
                        say(f"{source.path}: {', '.join(texts) or 'nothing'}")
            except KeyboardInterrupt:
                if source.camera is None:
                    raise
            if source.moves:
                say(f"{source.path}: {images - first} frames")
            if drawings is not None:
                drawings.finish()
    if faults:
        what = f"{len(faults)} of {len(sources)} files could not be read: {faults[0]}" if len(faults) > 1 else faults[0]
        raise BoxcarError(
            ExitCode.DATA, what, "Repair what cannot be read, or leave it out.", tuple(faults) if len(faults) > 1 else ()
        )
    return DetectSummary(images, objects, 1000 * median(seconds) if seconds else 0.0)


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
