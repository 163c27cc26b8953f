"""Pictures to detect in: files, folders of them, videos, a camera."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import local_path

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})


@dataclass(frozen=True)
class Source:
    """A picture, a video or a camera.

    Attributes:
        path: as a person knows it: the file's path, or `camera 0`.
        camera: the camera's number; None for a file.
    """

    path: str
    camera: int | None = None

    @property
    def moves(self) -> bool:
        """Whether it has more than one frame."""
        return self.camera is not None or Path(self.path).suffix.lower() in VIDEOS


@dataclass(frozen=True)
class Frame:
    """One picture of a source: uint8 RGB [H, W, 3], upright; `number` counts from 0, and is None for a picture's file."""

    source: Source
    pixels: npt.NDArray[np.uint8]
    number: int | None
    rate: float | None  # frames a second of the source, where it says so


def find_sources(names: Sequence[str], camera: int | None) -> list[Source]:
    """The pictures and videos of that name, and those in folders of that name, sorted; and the camera.

    Raises:
        BoxcarError: 64 where nothing is there, or a file is of another kind.
    """
    found: list[Source] = []
    for name in names:
        path = local_path(name)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES | VIDEOS and file.is_file())
            if not inside:
                raise BoxcarError(ExitCode.USAGE, f"{path} holds no pictures.", f"Name a folder with files of {_kinds()}.")
            found += [Source(str(file)) for file in inside]
        elif not path.is_file():
            raise BoxcarError(ExitCode.USAGE, f"There is no {path}.", "Name pictures, folders of pictures, or videos.")
        elif path.suffix.lower() not in PICTURES | VIDEOS:
            raise BoxcarError(ExitCode.USAGE, f"{path} is neither a picture nor a video.", f"Name files of {_kinds()}.")
        else:
            found.append(Source(str(path)))
    if camera is not None:
        found.append(Source(f"camera {camera}", camera))
    if not found:
        raise BoxcarError(ExitCode.USAGE, "No pictures were named.", "Name pictures, folders or videos, or add --camera 0.")
    return found


def read_frames(source: Source) -> Iterator[Frame]:
    """The source's pictures, one after the other.

    Raises:
        BoxcarError: 65 where it cannot be decoded, 69 where the camera cannot be used.
    """
    if source.moves:
        yield from _moving(source)
    else:
        yield Frame(source, _still(Path(source.path)), None, None)


def _still(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    # What Pillow raises on damaged files, and before it would take the machine's memory.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, Image.DecompressionBombError) as error:
        reason = "it is damaged, or of another kind than its name says"
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif isinstance(error, Image.DecompressionBombError):
            reason = "it has too many pixels"
        raise _unreadable(str(path), reason) from error


def _moving(source: Source) -> Iterator[Frame]:
    import cv2  # comes with Model Garden

    opened: Any = cv2.VideoCapture(source.path if source.camera is None else source.camera)
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
            ExitCode.ENVIRONMENT, f"Camera {source.camera} gives no picture.", "See that it is plugged in and used by nobody."
        )
    if number == 0:
        raise _unreadable(source.path, "OpenCV finds no picture in it")


def _unreadable(path: str, reason: str) -> BoxcarError:
    return BoxcarError(ExitCode.DATA, f"{path} cannot be read: {reason}.", "Name another, or leave it out.")


def _kinds() -> str:
    return ", ".join(sorted(PICTURES | VIDEOS))
