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

LARGEST_INPUT = 640  # pixels; beyond it, a step takes minutes on a CPU

# From the lightest to the heaviest.
ARCHITECTURES: dict[str, Architecture] = {
    row.name: row for row in sorted((row for file in _FILES for row in file.ARCHITECTURES), key=lambda row: row.multiply_adds)
}


def find_architecture(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        BoxcarError: 64 if there is none.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise BoxcarError(
            ExitCode.USAGE, f"There is no architecture {name!r}.", f"Choose one of: {', '.join(sorted(ARCHITECTURES))}."
        ) from None


def check_image_size(architecture: Architecture, image_size: int) -> None:
    """Raises BoxcarError 64 if the architecture does not support this image size in pixels."""
    if not 64 <= image_size <= 2048 or image_size % architecture.size_multiple:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{architecture.name} does not support an image size of {image_size} pixels.",
            f"Choose a multiple of {architecture.size_multiple} from 64 to 2048, for example {architecture.image_size}.",
        )


def larger_input(specification: Specification) -> str | None:
    """The options of a run whose input has sides twice as long, up to 640 pixels. None if they have as many already.

    If the same network is in the table with that size, they name it, because there may be weights for it.
    """
    size = min(2 * specification.image_size, LARGEST_INPUT)
    row = ARCHITECTURES.get(specification.architecture)
    if row is None or size <= specification.image_size:
        return None
    named = next((other for other in ARCHITECTURES.values() if (other.build, other.image_size) == (row.build, size)), None)
    return f"--architecture {named.name}" if named else f"--architecture {row.name} --image-size {size}"


def build_network(specification: Specification, batch_norm_momentum: float = 0.997, *, synchronized: bool = False) -> Network:
    """Builds the specification's network with random weights. Loads TensorFlow.

    Args:
        specification: what to build.
        batch_norm_momentum: share of the moving statistics that one training step keeps.
        synchronized: whether batch norms compute their statistics over all replicas of a distribution strategy. Names,
            shapes, and inference do not depend on it.

    Raises:
        BoxcarError: 64 for an unknown architecture or an image size that it does not support.
    """
    architecture = find_architecture(specification.architecture)
    check_image_size(architecture, specification.image_size)
    return architecture.build(specification, batch_norm_momentum, synchronized)
