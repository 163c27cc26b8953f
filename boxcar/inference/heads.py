"""The outputs of a detector, and the decoder that turns them into detections. NumPy only.

A decoder is the part of a task (`detectors.task`) that runs an exported file. `decoding.py` contains the one for boxes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boxcar.inference.detections import Detections
from boxcar.inference.specification import Specification

Floats = npt.NDArray[np.float32]
CLASS_AXIS = "class slot"  # the axis of an output that has one element per class, the background first
Heads = Mapping[str, Floats]  # the raw outputs for one image, by their names, without the batch axis


@dataclass(frozen=True)
class Output:
    """One named output of a network, float32."""

    name: str  # as in the signature `heads` of every exported file
    axes: tuple[str, ...]  # what each axis counts, without the batch axis
    shape: Callable[[Specification], tuple[int, ...]]  # returns the size of each of these axes
    description: str  # a sentence for people who run the file without Boxcar


@dataclass(frozen=True)
class Decoder:
    """The decoder of one task's raw outputs."""

    outputs: tuple[Output, ...]  # all outputs, in the order in which they are compared and counted
    # Turns one image's heads into detections. ValueError for shapes that do not fit and for numbers that are not finite.
    decode: Callable[[Heads, Specification], Detections]

    def shapes(self, specification: Specification) -> dict[str, tuple[int, ...]]:
        """The shape of each output for one image."""
        return {output.name: output.shape(specification) for output in self.outputs}
