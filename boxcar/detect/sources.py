"""Images to detect objects in: files, folders of them, videos, a camera."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pi_heif import register_heif_opener
from PIL import Image

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.inference.seen import UnseenError, as_seen, exif_orientation
from boxcar.run.own_outputs import walk_data
from boxcar.storage import local_path
from boxcar.storage.plain_path import plain_path

IMAGES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
LAST_CAMERA = 99  # OpenCV takes larger numbers for those of its drivers, and fails at negative ones
_SEQUENCES = frozenset({"AVIF", "GIF", "PNG", "TIFF", "WEBP"})  # formats whose files may contain several images
_SHOWN_KINDS = 5

register_heif_opener()  # what iPhones write, also under the name of a JPEG


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


def find_sources(names: Sequence[str], camera: int | None, say: Callable[[str], None] = lambda sentence: None) -> list[Source]:
    """The named images and videos, those below the named folders in alphabetical order, and the camera.

    Hidden files and Boxcar's own outputs in a folder are left out.

    Args:
        names: of images, folders, and videos.
        camera: its number, 0 to 99, if there is one.
        say: called with a line for each folder with files that are left out.

    Raises:
        BoxcarError: 64 if a file or image is missing, a file is neither an image nor a video, or there can be no such camera;
            69 if a folder cannot be read.
    """
    found: list[Source] = []
    for name in names:
        path = local_path(name)
        if path.is_dir():
            found += [Source(str(path / inside)) for inside in _inside(path, say)]
        elif not path.is_file():
            raise BoxcarError(ExitCode.USAGE, f"There is no {path}.", "Give images, folders of images, or videos that exist.")
        elif path.suffix.lower() not in IMAGES | VIDEOS:
            raise BoxcarError(ExitCode.USAGE, f"{path} is neither an image nor a video.", f"Give files of {_kinds()}.")
        else:
            found.append(Source(str(path)))
    if camera is not None:
        if not 0 <= camera <= LAST_CAMERA:
            do = f"Give a number from 0 to {LAST_CAMERA}; the first camera is 0."
            raise BoxcarError(ExitCode.USAGE, f"--camera cannot be {camera}.", do)
        found.append(Source(f"camera {camera}", camera))
    if not found:
        raise BoxcarError(ExitCode.USAGE, "No images were given.", "Give images, folders, or videos, or add --camera 0.")
    return found


def _inside(folder: Path, say: Callable[[str], None]) -> list[str]:
    """The images and videos below a folder, sorted."""
    own: list[str] = []
    try:
        names = sorted(walk_data(folder, own))
    except OSError as error:
        what = f"{error.filename} cannot be read: {error.strerror}."
        raise BoxcarError(ExitCode.ENVIRONMENT, what, "Change its permissions so that you can read it.", again=True) from error
    suffixes = {name: Path(name).suffix.lower() for name in names}
    found = [name for name in names if suffixes[name] in IMAGES | VIDEOS]
    others = Counter(suffix or "no suffix" for suffix in suffixes.values() if suffix not in IMAGES | VIDEOS)
    left_out = []
    if others:
        more = ", ..." if len(others) > _SHOWN_KINDS else ""
        some = ", ".join(suffix for suffix, _ in others.most_common(_SHOWN_KINDS)) + more
        left_out.append(f"{others.total()} files that are neither images nor videos ({some})")
    if own:
        left_out.append(f"Boxcar's own outputs in {', '.join(sorted(own)[:_SHOWN_KINDS])}")
    if own == ["."]:
        what = f"{folder} contains Boxcar's own outputs, which are never read."
        raise BoxcarError(ExitCode.USAGE, what, "Give the folder of your own images.")
    if not found:
        what = f"{folder} contains no images" + (f", only {' and '.join(left_out)}." if left_out else ".")
        raise BoxcarError(ExitCode.USAGE, what, f"Give a folder with files of {_kinds()}.")
    if left_out:
        say(f"{folder}: left out {' and '.join(left_out)}.")
    return found


def read_frames(
    source: Source, say: Callable[[str], None] = lambda sentence: None, max_megapixels: int = MOST_MEGAPIXELS
) -> Iterator[Frame]:
    """The source's frames, one after the other.

    Args:
        source: what to read.
        say: called with a sentence if a file has more images or frames than can be read.
        max_megapixels: what an image file may have.

    Raises:
        BoxcarError: 65 if it cannot be decoded, 69 if the camera cannot be used, or returns no more images.
    """
    if source.moves:
        yield from _moving(source, say)
    else:
        yield Frame(source, _still(Path(source.path), say, max_megapixels), None, None)


def _still(path: Path, say: Callable[[str], None], max_megapixels: int) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_megapixels * 1_000_000:
                limit = f"the limit is {max_megapixels} megapixels (--max-megapixels)"
                raise _unreadable(str(path), f"it has {image.width}×{image.height} pixels; {limit}")
            count = getattr(image, "n_frames", 1) if image.format in _SEQUENCES else 1
            orientation = exif_orientation(image)
            pixels = np.asarray(as_seen(image, orientation))
    # What Pillow raises for damaged files and for files that are too large for the machine's memory.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError) as error:
        reason = "it is damaged, or its name has the wrong suffix"
        if isinstance(error, UnseenError):
            reason = str(error)
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        raise _unreadable(str(path), reason) from error
    if count > 1:
        say(f"{path} contains {count} images. Only the first is read.")
    return pixels


def _moving(source: Source, say: Callable[[str], None]) -> Iterator[Frame]:
    import cv2  # comes with Model Garden

    # Not by its relative name, in which OpenCV takes what is before a colon for a protocol.
    with plain_path(Path(source.path)) as readable:
        opened: Any = cv2.VideoCapture(str(readable) if source.camera is None else source.camera)
    try:
        rate = float(opened.get(cv2.CAP_PROP_FPS)) or None
        promised = int(opened.get(cv2.CAP_PROP_FRAME_COUNT))
        number = 0
        while True:
            there, pixels = opened.read()
            if not there:
                break
            yield Frame(source, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), number, rate)
            number += 1
    finally:
        opened.release()
    if source.camera is not None:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"Camera {source.camera} returns no {'more images' if number else 'image'}.",
            "Check that it is plugged in and not used by another program.",
        )
    if number == 0:
        raise _unreadable(source.path, "OpenCV finds no image in it")
    # These contain no number of frames, and OpenCV estimates it from the duration.
    estimated = Path(source.path).suffix.lower() in (".mkv", ".webm")
    if number < promised - (1 + promised // 50 if estimated else 0):
        say(f"{source.path} is cut off or damaged: {number} of the {promised} frames that its header names could be read.")


def _unreadable(path: str, reason: str) -> BoxcarError:
    return BoxcarError(ExitCode.DATA, f"{path} cannot be read: {reason}.", "Give another file, or leave it out.")


def _kinds() -> str:
    return ", ".join(sorted(IMAGES | VIDEOS))
