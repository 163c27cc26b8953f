"""What the Object Detection API's golden answers were computed from, and the tests compute ours from: no files, only numbers.

NumPy guarantees that `RandomState` gives the same stream for ever (NEP 19). `benchmarks/object_detection_api/golden.py`, which
runs without Boxcar, imports this too.
"""

from zlib import crc32

import numpy as np
import numpy.typing as npt

# Levels 6 and 7 of this size have anchors at the corners of cells, the others in their middle.
IMAGE_SIZE = 160
LABELS = {1: "one", 2: "two", 3: "three"}
# No box lies within several anchors: their IoU is then the same, and which of them it goes to a matter of rounding.
BOXES = np.array([[0.11, 0.22, 0.45, 0.5], [0.5, 0.31, 0.94, 0.9], [0.05, 0.61, 0.36, 0.83]], np.float32)
BOX_LABELS = np.array([2, 1, 3], np.int64)


def picture() -> npt.NDArray[np.uint8]:
    """uint8 RGB [117, 203, 3], smooth enough that resizing it is not noise."""
    coarse = np.random.RandomState(0).randint(0, 256, (13, 29, 3))
    return coarse.repeat(9, axis=0).repeat(7, axis=1).astype(np.uint8)


def weights(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A variable's value, from its name in the checkpoint (`model/...`) and its shape alone.

    Kernels keep the variance of what passes through, variances are positive, and the heads answer boxes and scores of
    ordinary size.
    """
    normal = np.random.RandomState(crc32(name.encode())).standard_normal(shape)
    kind = name.rpartition("/")[2]
    if kind in ("kernel", "pointwise_kernel", "depthwise_kernel"):
        inputs = np.prod(shape[:2] if kind == "depthwise_kernel" else shape[:3])
        is_head = "_box_encoder_layers" in name or "_class_predictor_layers" in name
        values = normal * np.sqrt((0.5 if is_head else 1.5) / inputs)
    elif kind == "gamma":
        values = 1.0 + 0.1 * normal
    elif kind == "moving_variance":
        values = np.exp(0.2 * normal)
    elif "_class_predictor_layers" in name:
        values = 0.5 * normal - 2.0
    else:
        values = 0.1 * normal
    return np.asarray(values, np.float32)
