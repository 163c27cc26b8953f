"""Small images for the health page. Runs in worker processes, because a large image takes much memory to decode."""

import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from boxcar.pages.thumbnails import JPEG_QUALITY, SIDE
from boxcar.records.checked import Row
from boxcar.records.shards import stored_image
from boxcar.records.workers import note_image


class Preview(NamedTuple):
    """A task: one image to make small. It has been checked and is without faults."""

    root: Path  # the data folder
    file: str  # in which the image is, as `Source.file_of` returned it
    row: Row


def preview(task: Preview) -> bytes:
    """A JPEG of an image as its record stores it, with sides of at most `SIDE` pixels.

    Raises:
        BoxcarError: 65 if the file has changed since it was checked; 69 if it cannot be read.
    """
    note_image(task.file)
    encoded, _ = stored_image(task.root, task.file, task.row)
    with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()
