"""A small detector for tests: a checkpoint with random weights, and the run that is exported from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boxcar.inference.specification import SPECIFICATION, Anchors, Specification, read_specification, specification_json

if TYPE_CHECKING:
    from boxcar.detectors.network import Network

ARCHITECTURE = "ssd_mobilenet_v2_fpnlite_320x320"
IMAGE_SIZE = 64
FORMATS = ("tflite_float32", "tflite_int8", "tflite_float32_nms", "tflite_int8_nms", "tfjs_float32")


@dataclass(frozen=True)
class ExportedRun:
    """A run's folder with records, a checkpoint that was never trained, and what is exported in `FORMATS`."""

    folder: Path

    @property
    def records(self) -> Path:
        return self.folder / "records"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "train" / "ckpt-7"

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def frozen(self) -> Path:
        return self.export / "saved_model"


def write_checkpoint(
    train: Path, labels: dict[int, str], seed: int, image_size: int = IMAGE_SIZE, anchor_scale: float = 4.0
) -> Path:
    """A checkpoint with random weights and its `detector.json`, as training leaves them; its prefix."""
    import tensorflow as tf

    from boxcar.detectors.catalog import build_network

    specification = Specification(
        architecture=ARCHITECTURE,
        image_size=image_size,
        labels=labels,
        anchors=Anchors(anchor_scale=anchor_scale),
        dataset_version="of-the-test",
    )
    tf.keras.utils.set_random_seed(seed)
    network = build_network(specification)
    random = np.random.default_rng(seed)
    for name, variable in network.variables_by_name().items():
        # Of fresh weights next to nothing reaches the heads; these keep the variance from layer to layer (He et al. 2015).
        if name.endswith("kernel"):
            inputs = int(np.prod(variable.shape[:2] if "depthwise" in name else variable.shape[:-1]))
            variable.assign(random.normal(0, np.sqrt(1.5 / inputs), variable.shape))
        if _is_class_bias(name):
            variable.assign(random.normal(-2, 0.5, variable.shape))
    return _save(network, specification, train)


def write_harmed(trained: Path, train: Path) -> Path:
    """The trained checkpoint of this prefix with the logits of slot 0, which no decoder reads, made large; its prefix.

    It finds what it found, and in INT8 these logits leave no room for the others.
    """
    from boxcar.detectors.catalog import build_network
    from boxcar.detectors.checkpoint_weights import load_weights

    specification = read_specification(trained.parent)
    network = build_network(specification)
    load_weights(network, trained)
    for name, variable in network.variables_by_name().items():
        if _is_class_bias(name):
            bias = variable.numpy()
            bias[:: len(specification.labels) + 1] = 300
            variable.assign(bias)
    return _save(network, specification, train)


def _is_class_bias(name: str) -> bool:
    return "class_predictions_with_background" in name and name.endswith("bias")


def _save(network: "Network", specification: Specification, train: Path) -> Path:
    import tensorflow as tf

    prefix = train / "ckpt-7"
    tf.train.Checkpoint(model=network.trackable()).write(str(prefix))
    (train / SPECIFICATION).write_text(specification_json(specification), encoding="utf-8")
    return prefix
