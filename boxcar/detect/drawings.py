"""Images and videos with boxes drawn on them."""

import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxcar.detect.sources import Frame, Source
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.detections import Detections
from boxcar.inference.drawing import FOUND, draw
from boxcar.run.layout import DRAWINGS
from boxcar.run.own_outputs import DRAWN_MARK, is_drawn_file
from boxcar.storage import make_folder, replace_text

_DEFAULT_RATE = 25.0  # frames per second of a drawn video whose source does not say
_CAMERA_FRAMES = 18_000  # of one video of a camera: ten minutes at 30 per second, whose index is in memory until its end
_NOTE = "`boxcar detect` made this folder. It replaces its own files here, and Boxcar never takes them for data.\n"


def check_folder(folder: Path, sources: Sequence[Source]) -> None:
    """Checks a folder for drawings before anything is written.

    Raises:
        BoxcarError: 64 if it contains one of the sources, or files that no earlier call drew.
    """
    do = "Name another folder with --drawn."
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BoxcarError(ExitCode.USAGE, f"The folder for drawings, {folder}, is a file.", do)
    place = folder.resolve()
    for source in sources:
        if source.camera is None and Path(source.path).resolve().parent == place:
            what = f"The drawings would be written into {folder}, which contains {source.path}, an image to read."
            raise BoxcarError(ExitCode.USAGE, what, do)
    if not (folder / DRAWINGS).exists() and (found := min((path.name for path in folder.iterdir()), default=None)) is not None:
        what = f"The folder for drawings, {folder}, contains files that `boxcar detect` did not draw, such as {found}."
        raise BoxcarError(ExitCode.USAGE, what, do)


class Drawings:
    """Images and videos with boxes, in a folder that is marked as Boxcar's. Each has a hidden name until it is complete.

    Args:
        folder: it passed `check_folder`.

    Raises:
        BoxcarError: 69 if a file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = make_folder(folder)
        replace_text(folder / DRAWINGS, _NOTE)
        self._names: set[str] = set()
        self._video: Any = None
        self._frames = 0  # of the open video
        self._is_camera = False
        self._unfinished: Path | None = None
        self._finished: Path | None = None  # its name when it is complete

    def __enter__(self) -> "Drawings":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_camera:  # whatever ended it, what it has seen is kept
            self.finish()
        self._release()
        if self._unfinished is not None:
            self._unfinished.unlink(missing_ok=True)

    def add(self, frame: Frame, found: Detections, texts: Sequence[str]) -> None:
        """Draws what was found in an image, or in the next frame of a video."""
        pixels = draw(frame.pixels, found.boxes, texts, FOUND)
        if frame.number is not None:
            self._film(frame, pixels)
            return
        path = self._begin(frame.source, ".jpg")
        try:
            Image.fromarray(pixels).save(path, "JPEG", quality=92, comment=DRAWN_MARK)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error

    def finish(self) -> None:
        """Gives the drawing of a source its name."""
        is_video = self._video is not None
        self._release()
        if self._unfinished is None or self._finished is None:
            return
        if is_video:
            with self._unfinished.open("ab") as file:  # a box that players skip
                file.write(struct.pack(">I", 8 + len(DRAWN_MARK)) + b"free" + DRAWN_MARK)
        self._unfinished.replace(self._finished)
        self._unfinished = self._finished = None

    def _film(self, frame: Frame, pixels: npt.NDArray[np.uint8]) -> None:
        import cv2

        if self._is_camera and self._frames == _CAMERA_FRAMES:
            self.finish()
        if self._video is None:
            path = self._begin(frame.source, ".mp4")
            self._is_camera = frame.source.camera is not None
            height, width = pixels.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = cv2.VideoWriter(str(path), code, frame.rate or _DEFAULT_RATE, (width, height))
            if not self._video.isOpened():
                raise self._unwritable("OpenCV cannot write a video there")
        self._video.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def _release(self) -> None:
        if self._video is not None:
            self._video.release()
            self._video, self._frames, self._is_camera = None, 0, False

    def _begin(self, source: Source, ending: str) -> Path:
        """The hidden path of a source's drawing, whose name is no other drawing's of this call and no person's file."""
        stem = Path(source.path).stem
        name, number = f"{stem}{ending}", 2
        while name in self._names or ((self._folder / name).exists() and not is_drawn_file(self._folder / name)):
            name, number = f"{stem}-{number}{ending}", number + 1
        self._names.add(name)
        self._finished = self._folder / name
        # Not with the source's name, of which OpenCV cannot write every one.
        self._unfinished = self._folder.absolute() / f".unfinished{ending}"
        return self._unfinished

    def _unwritable(self, reason: str) -> BoxcarError:
        what = f"{self._finished} cannot be written: {reason}."
        return BoxcarError(ExitCode.ENVIRONMENT, what, "Choose another folder, or free disk space.")
