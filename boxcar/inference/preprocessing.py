"""From a picture's pixels to what the network reads, on the host. `graph.py` says the same in TensorFlow; a test compares."""

import numpy as np
import numpy.typing as npt

# The same as others say it, in the files for instance: (x - mean) / deviation.
MEAN = DEVIATION = 127.5


def preprocess(picture: npt.NDArray[np.uint8], image_size: int) -> npt.NDArray[np.float32]:
    """Resizes a uint8 RGB picture [H, W, 3] to float32 [S, S, 3] in [-1, 1].

    Bilinear with pixel positions at their upper left corners, no anti-aliasing, aspect not kept: TensorFlow 1's resize, which
    the zoo's models were trained with (`fixed_shape_resizer` in the Object Detection API's core/preprocessor.py), then
    2 / 255 x - 1.

    Raises:
        ValueError: another type or shape, or an empty picture.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"a picture is uint8 [H, W, 3], not {picture.dtype} {list(picture.shape)}")
    upper, lower, down = _taps(picture.shape[0], image_size)
    left, right, across = _taps(picture.shape[1], image_size)
    across, down = across[None, :, None], down[:, None, None]

    def row(index: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        pixels = picture[index]
        first, second = pixels[:, left].astype(np.float32), pixels[:, right].astype(np.float32)
        return np.asarray(first + (second - first) * across, np.float32)

    top = row(upper)
    resized = top + (row(lower) - top) * down
    normalised = resized * np.float32(2 / 255) - np.float32(1)
    check_value_range(normalised)
    return normalised


def check_value_range(pixels: npt.NDArray[np.float32]) -> None:
    """Asserts what every reader of preprocessed pixels relies on: values in [-1, 1].

    Raises:
        ValueError: values outside, or not finite; 0 to 1 and 0 to 255 are the usual mistakes behind it.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -1.0001 and high <= 1.0001):
        raise ValueError(f"preprocessed pixels lie in [-1, 1], these in [{low:.3g}, {high:.3g}]")


def _taps(size: int, wanted: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """For each output position the two input positions it lies between, and how far it is on the way to the second."""
    # float32 throughout, as TensorFlow's kernel computes it (core/util/image_resizer_state.h, LegacyScaler).
    position = np.arange(wanted, dtype=np.float32) * (np.float32(size) / np.float32(wanted))
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, size - 1), (position - first).astype(np.float32)
