"""Images to detect objects in: files, folders of them, videos, a camera."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.seen import as_seen
from boxcar.storage import local_path
from boxcar.storage.plain_path import plain_path

IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})


@dataclass(frozen=True)
class Source:
    """An image, a video, or a camera."""

    path: str  # of the file, or `camera 0`
    camera: int | None = None  # the camera's number; None for a file

    @property
    def moves(self) -> bool:
        """Whether it has more than one frame."""
        return self.camera is not None or Path(self.path).suffix.lower() in VIDEOS


@dataclass(frozen=True)
class Frame:
    """One image of a source: uint8 RGB [H, W, 3], upright; `number` counts from 0 and is None for an image file."""

    source: Source
    pixels: npt.NDArray[np.uint8]
    number: int | None
    rate: float | None  # frames per second of the source, if it is known


def find_sources(names: Sequence[str], camera: int | None) -> list[Source]:
    """The named images and videos, those in the named folders in alphabetical order, and the camera.

    Raises:
        BoxcarError: 64 if a file or image is missing, or a file is neither an image nor a video.
    """
    found: list[Source] = []
    for name in names:
        path = local_path(name)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES | VIDEOS and file.is_file())
            if not inside:
                raise BoxcarError(ExitCode.USAGE, f"{path} contains no images.", f"Give a folder with files of {_kinds()}.")
            found += [Source(str(file)) for file in inside]
        elif not path.is_file():
            raise BoxcarError(ExitCode.USAGE, f"There is no {path}.", "Give images, folders of images, or videos that exist.")
        elif path.suffix.lower() not in IMAGES | VIDEOS:
            raise BoxcarError(ExitCode.USAGE, f"{path} is neither an image nor a video.", f"Give files of {_kinds()}.")
        else:
            found.append(Source(str(path)))
    if camera is not None:
        found.append(Source(f"camera {camera}", camera))
    if not found:
        raise BoxcarError(ExitCode.USAGE, "No images were given.", "Give images, folders, or videos, or add --camera 0.")
    return found


def read_frames(source: Source) -> Iterator[Frame]:
    """The source's frames, one after the other.

    Raises:
        BoxcarError: 65 if it cannot be decoded, 69 if the camera cannot be used.
    """
    if source.moves:
        yield from _moving(source)
    else:
        yield Frame(source, _still(Path(source.path)), None, None)


def _still(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(as_seen(ImageOps.exif_transpose(image)))
    # What Pillow raises for damaged files and for files that are too large for the machine's memory.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, Image.DecompressionBombError) as error:
        reason = "it is damaged, or its name has the wrong suffix"
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif isinstance(error, Image.DecompressionBombError):
            reason = "it has too many pixels"
        raise _unreadable(str(path), reason) from error


def _moving(source: Source) -> Iterator[Frame]:
    import cv2  # comes with Model Garden

    # Not by its relative name, in which OpenCV takes what is before a colon for a protocol.
    with plain_path(Path(source.path)) as readable:
        opened: Any = cv2.VideoCapture(str(readable) if source.camera is None else source.camera)
    try:
        rate = float(opened.get(cv2.CAP_PROP_FPS)) or None
        number = 0
        while True:
            there, pixels = opened.read()
            if not there:
                break
            yield Frame(source, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), number, rate)
            number += 1
    finally:
        opened.release()
    if number == 0 and source.camera is not None:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"Camera {source.camera} returns no image.",
            "Check that it is plugged in and not used by another program.",
        )
    if number == 0:
        raise _unreadable(source.path, "OpenCV finds no image in it")


def _unreadable(path: str, reason: str) -> BoxcarError:
    return BoxcarError(ExitCode.DATA, f"{path} cannot be read: {reason}.", "Give another file, or leave it out.")


def _kinds() -> str:
    return ", ".join(sorted(IMAGES | VIDEOS))
