"""The architectures that can be trained. Reading this table does not load TensorFlow; building a network does."""

import importlib
import pkgutil

from boxcar.detectors import architectures
from boxcar.detectors.architecture import Architecture
from boxcar.detectors.network import Network
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Specification

_FILES = [
    importlib.import_module(f"{architectures.__name__}.{file.name}") for file in pkgutil.iter_modules(architectures.__path__)
]

# From the lightest to the heaviest.
ARCHITECTURES: dict[str, Architecture] = {
    row.name: row for row in sorted((row for file in _FILES for row in file.ARCHITECTURES), key=lambda row: row.multiply_adds)
}


def find_architecture(name: str) -> Architecture:
    """The row of that name.

    Raises:
        BoxcarError: 64 where there is none.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise BoxcarError(
            ExitCode.USAGE, f"There is no architecture {name!r}.", f"Choose one of: {', '.join(sorted(ARCHITECTURES))}."
        ) from None


def check_image_size(architecture: Architecture, image_size: int) -> None:
    """Raises BoxcarError 64 where the architecture cannot read images of that side, in pixels."""
    if not 64 <= image_size <= 2048 or image_size % architecture.size_multiple:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{architecture.name} cannot work at an image size of {image_size} pixels.",
            f"Choose a multiple of {architecture.size_multiple} from 64 to 2048, for example {architecture.image_size}.",
        )


def build_network(specification: Specification, batch_norm_momentum: float = 0.997, *, synchronized: bool = False) -> Network:
    """Builds the specification's network with random weights. Loads TensorFlow.

    Args:
        specification: what to build.
        batch_norm_momentum: share of the moving statistics that a training step keeps.
        synchronized: whether batch norms take their statistics over all replicas of a distribution strategy; names, shapes
            and inference are the same either way.

    Raises:
        BoxcarError: 64 for an unknown architecture or an image size that it cannot read.
    """
    architecture = find_architecture(specification.architecture)
    check_image_size(architecture, specification.image_size)
    return architecture.build(specification, batch_norm_momentum, synchronized)
