"""The architectures that can be trained. This table is read without loading TensorFlow; a network is built where asked for."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from boxcar.detectors.specification import Specification
from boxcar.errors import BoxcarError, ExitCode

if TYPE_CHECKING:
    from boxcar.detectors.network import Network


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        name: as `--architecture` takes it.
        module: the file in this package with its `build(specification, batch_norm_momentum, synchronized) -> Network`.
        image_size: default side of the input, in pixels.
        size_multiple: the input's side must be a multiple of this, in pixels.
        source: where its definition comes from.
        zoo: address of the weights that the TF2 Detection Zoo publishes for it, trained on COCO; None where it has none.
    """

    name: str
    module: str
    image_size: int
    size_multiple: int
    source: str
    zoo: str | None


# models/research/object_detection/g3doc/tf2_detection_zoo.md in the TensorFlow Model Garden's repository.
_ZOO = "https://download.tensorflow.org/models/object_detection/tf2/20200711"

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="ssd_mobilenet_v2_fpnlite_320x320",
            module="ssd_mobilenet_v2_fpnlite",
            image_size=320,
            size_multiple=32,
            source="TF2 Detection Zoo, ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8",
            zoo=f"{_ZOO}/ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8.tar.gz",
        ),
        Architecture(
            name="ssd_mobilenet_v2_fpnlite_640x640",
            module="ssd_mobilenet_v2_fpnlite",
            image_size=640,
            size_multiple=32,
            source="TF2 Detection Zoo, ssd_mobilenet_v2_fpnlite_640x640_coco17_tpu-8",
            zoo=f"{_ZOO}/ssd_mobilenet_v2_fpnlite_640x640_coco17_tpu-8.tar.gz",
        ),
    )
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
    """Raises BoxcarError 64 where the architecture cannot read pictures of that side, in pixels."""
    if not 64 <= image_size <= 2048 or image_size % architecture.size_multiple:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{architecture.name} cannot work at an image size of {image_size} pixels.",
            f"Choose a multiple of {architecture.size_multiple} from 64 to 2048, {architecture.image_size} for one.",
        )


def build_network(specification: Specification, batch_norm_momentum: float = 0.997, *, synchronized: bool = False) -> "Network":
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
    module = importlib.import_module(f"boxcar.detectors.{architecture.module}")
    network: Network = module.build(specification, batch_norm_momentum, synchronized)
    return network
