"""The pixels of a labeled image in the records, without TensorFlow."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxcar.data.example import Example
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.seen import as_seen


def decode_picture(example: Example) -> npt.NDArray[np.uint8]:
    """An example's pixels, uint8 RGB [H, W, 3].

    Raises:
        BoxcarError: 65 if they cannot be decoded or have another size than the record says.
    """
    try:
        with Image.open(io.BytesIO(example.encoded), formats=("JPEG", "PNG")) as image:
            pixels = np.asarray(as_seen(image))
    except (OSError, ValueError, SyntaxError) as error:
        raise _unusable(example, str(error).rstrip(".")) from error
    if pixels.shape != (example.height, example.width, 3):
        raise _unusable(example, f"its pixels are {pixels.shape[1]} x {pixels.shape[0]}")
    return pixels


def thumbnail(example: Example, side: int) -> Image.Image:
    """The image in RGB, reduced so that no side is longer than `side` pixels.

    Raises:
        BoxcarError: 65 if its bytes are not an image.
    """
    try:
        with Image.open(io.BytesIO(example.encoded)) as image:
            image.draft("RGB", (2 * side, 2 * side))
            small = as_seen(image)
            small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    except (OSError, SyntaxError) as error:
        raise BoxcarError(
            ExitCode.DATA,
            f"The image {example.filename or example.sha256} in the records cannot be decoded: {error}.",
            "Remove or repair it, then run `boxcar records` and the later steps again.",
        ) from error
    return small


def _unusable(example: Example, reason: str) -> BoxcarError:
    return BoxcarError(
        ExitCode.DATA,
        f"The image {example.filename or example.source_id} in the records cannot be used: {reason}.",
        "Run `boxcar records` again for that folder.",
    )
