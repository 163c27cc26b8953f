"""The interface of every exported file that `open_runner` has loaded."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.decoders import find_decoder
from boxcar.inference.detections import Detections
from boxcar.inference.heads import Floats, Heads
from boxcar.inference.preprocessing import check_value_range, preprocess
from boxcar.inference.specification import Specification
from boxcar.storage.cache import uri_of

HEADS_SIGNATURE = "heads"


@dataclass(frozen=True)
class Tensor:
    """An input or output of a file, for programs that run it without Boxcar."""

    name: str
    shape: tuple[int, ...]  # -1 if it is not fixed
    dtype: str  # as NumPy calls it


class Runner(ABC):
    """A detector loaded from one exported file. Use it as a context manager, or call `close`.

    Attributes:
        specification: the `detector.json` next to the file.
        path: the file or folder it was opened from.
        inputs, outputs: in the file's own order; of a SavedModel those of `serving_default`.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __init__(self, path: Path, specification: Specification) -> None:
        self.path, self.specification = path, specification

    @property
    def process_id(self) -> int:
        """Of the process that runs the file."""
        return os.getpid()

    @abstractmethod
    def find(self, pixels: Floats) -> Detections:
        """The detections in one preprocessed image.

        Args:
            pixels: float32 [S, S, 3] in the specification's value range, as `preprocessing.preprocess` returns them.

        Raises:
            BoxcarError: 65 if the file's outputs are not valid detections.
            ValueError: if the pixels are in another range.
        """

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """The detections in a uint8 RGB image [H, W, 3]."""
        return self.find(preprocess(image, self.specification))

    def close(self) -> None:  # noqa: B027 - most runners have nothing to close
        """Stops the processes that the runner started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class HeadsRunner(Runner):
    """A detector whose outputs are raw heads, which are decoded on the host."""

    def __init__(self, path: Path, specification: Specification) -> None:
        super().__init__(path, specification)
        self.decoder = find_decoder(specification)

    def heads(self, pixels: Floats) -> Heads:
        """The raw outputs for one preprocessed image, in the order of the decoder's outputs.

        Args:
            pixels: float32 [S, S, 3] in the specification's value range.

        Raises:
            ValueError: if the pixels are in another range.
        """
        check_value_range(pixels, self.specification)
        answer = self._run(pixels[None])
        return {output.name: answer[output.name] for output in self.decoder.outputs}

    @abstractmethod
    def _run(self, pixels: Floats) -> Heads:
        """The file's outputs by name, each without the batch's axis, for pixels [1, S, S, 3]."""

    def find(self, pixels: Floats) -> Detections:
        return self.decode(self.heads(pixels))

    def decode(self, heads: Heads) -> Detections:
        """The detections in this file's heads.

        Raises:
            BoxcarError: 65 if the file's outputs are not finite.
        """
        try:
            return self.decoder.decode(heads, self.specification)
        except ValueError as error:
            raise unusable(self.path, str(error)) from error

    def check_outputs(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Compares the shapes of a file's outputs, batch axis included, with its `detector.json`.

        Raises:
            BoxcarError: 65 if they differ.
        """
        for name, shape in self.decoder.shapes(self.specification).items():
            if name not in shapes:
                raise unusable(self.path, f"it has no output {name}, only {', '.join(sorted(shapes)) or 'none'}")
            found, wanted = [int(size) for size in shapes[name]], [1, *shape]
            if found != wanted:
                raise unusable(self.path, f"its {name} are {found}, but its detector.json says {wanted}")


def unusable(path: Path, reason: str) -> BoxcarError:
    """The error for a file that cannot be run or returns invalid outputs."""
    return BoxcarError(ExitCode.DATA, f"{uri_of(path)} cannot be used: {reason.rstrip('.')}.", "Export the model again.")


def first_line(error: Exception) -> str:
    """The first line of a runtime's exception, without the internal details after it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
