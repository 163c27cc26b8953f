"""Turns an image's pixels into the network's input on the host. `graph.py` does the same in TensorFlow; tests compare them."""

import numpy as np
import numpy.typing as npt

from boxcar.inference.specification import Specification


def preprocess(image: npt.NDArray[np.uint8], specification: Specification) -> npt.NDArray[np.float32]:
    """Resizes a uint8 RGB image [H, W, 3] to float32 [S, S, 3] in the specification's value range.

    The resize is bilinear with pixel positions at upper left corners, without anti-aliasing, and does not keep the aspect: that
    of TensorFlow 1, with which the zoo's models were trained (`fixed_shape_resizer` in the Object Detection API's
    core/preprocessor.py). Then bytes are mapped linearly: for [-1, 1], 2 / 255 x - 1.

    Raises:
        ValueError: for another type or shape, or an empty image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image is uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    upper, lower, down = _taps(image.shape[0], specification.image_size)
    left, right, across = _taps(image.shape[1], specification.image_size)
    across, down = across[None, :, None], down[:, None, None]

    def row(index: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        pixels = image[index]
        first, second = pixels[:, left].astype(np.float32), pixels[:, right].astype(np.float32)
        return np.asarray(first + (second - first) * across, np.float32)

    top = row(upper)
    resized = top + (row(lower) - top) * down
    normalized = resized * np.float32(specification.byte_step) + np.float32(specification.value_range[0])
    check_value_range(normalized, specification)
    return normalized


def to_bytes(pixels: npt.NDArray[np.float32], specification: Specification) -> npt.NDArray[np.uint8]:
    """Converts preprocessed pixels of any shape back to bytes, rounded."""
    low, high = specification.value_range
    bytes_: npt.NDArray[np.float32] = np.rint((pixels - low) * (255 / (high - low)))
    return bytes_.astype(np.uint8)


def normalization(specification: Specification) -> tuple[float, float]:
    """The value range as exported files state it: mean and deviation, so that a byte x becomes (x - mean) / deviation."""
    low, high = specification.value_range
    deviation = 255 / (high - low)
    return -low * deviation, deviation


def check_value_range(pixels: npt.NDArray[np.float32], specification: Specification) -> None:
    """Checks that preprocessed pixels are in the specification's value range.

    Raises:
        ValueError: if values are outside of it or not finite. The usual mistake is to mix up the ranges 0 to 255, 0 to 1, and
            -1 to 1.
    """
    low, high = float(pixels.min()), float(pixels.max())
    lowest, highest = specification.value_range
    tolerance = (highest - lowest) * 5e-5
    if not (low >= lowest - tolerance and high <= highest + tolerance):
        allowed = f"[{lowest:g}, {highest:g}]"
        raise ValueError(f"preprocessed pixels must be in {allowed}, these are in [{low:.3g}, {high:.3g}]")


def _taps(size: int, wanted: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """For each output position, the two input positions around it, and its distance from the first as a share of theirs."""
    # float32 throughout, as TensorFlow's kernel computes it (core/util/image_resizer_state.h, LegacyScaler).
    position = np.arange(wanted, dtype=np.float32) * (np.float32(size) / np.float32(wanted))
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, size - 1), (position - first).astype(np.float32)
