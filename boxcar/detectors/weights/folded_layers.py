"""The variables of layers whose batch norms were folded into the convolutions before them.

Folding multiplies a convolution's kernel by gamma / sigma and leaves an offset to add. A norm with mean 0 and variance 1 has
the same effect, so every variable can be set, and the network finds the same. `norms.measure_norms` gives the norms real
statistics.
"""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

EPSILON = 0.001  # of every batch norm
_BACKBONE = "model/_feature_extractor/classification_backbone/layer_with_weights"


def norm_variables(name: str, offset: Floats, factor: npt.ArrayLike = 1.0) -> dict[str, Floats]:
    """A batch norm that multiplies its input by a factor and adds an offset, [C] each."""
    return {
        f"{name}/gamma": np.full_like(offset, np.asarray(factor) * math.sqrt(1 + EPSILON)),
        f"{name}/beta": offset,
        f"{name}/moving_mean": np.zeros_like(offset),
        f"{name}/moving_variance": np.ones_like(offset),
    }


def mobilenet_v2_variables(convolutions: Iterable[tuple[Floats, Floats]]) -> dict[str, Floats]:
    """The backbone of `ssd_mobilenet_v2_fpnlite`.

    Args:
        convolutions: folded kernel ([H, W, I, O], depthwise [H, W, C, 1]) and offset of each, in the order of use.
    """
    variables: dict[str, Floats] = {}
    for index, (kernel, offset) in enumerate(convolutions):
        attribute = "depthwise_kernel" if kernel.shape[-1] == 1 else "kernel"
        variables[f"{_BACKBONE}-{2 * index}/{attribute}"] = kernel
        variables |= norm_variables(f"{_BACKBONE}-{2 * index + 1}", offset)
    return variables
