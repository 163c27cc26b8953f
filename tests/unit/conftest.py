"""What several test files share: one small detector, exported once a session through the real steps."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ARCHITECTURE = "ssd_mobilenet_v2_fpnlite_320x320"
IMAGE_SIZE = 64


@dataclass(frozen=True)
class ExportedRun:
    """A run's folder with records, a checkpoint that was never trained, and everything that is exported by default."""

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


def write_checkpoint(train: Path, labels: dict[int, str], seed: int) -> Path:
    """A checkpoint with random weights and its `detector.json`, as training leaves them; its prefix."""
    import tensorflow as tf

    from boxcar.detectors.registry import build_network
    from boxcar.detectors.specification import SPECIFICATION, Specification, specification_json

    specification = Specification(
        architecture=ARCHITECTURE, image_size=IMAGE_SIZE, labels=labels, dataset_version="of-the-test"
    )
    tf.keras.utils.set_random_seed(seed)
    network = build_network(specification)
    random = np.random.default_rng(seed)
    for name, variable in network.variables_by_name().items():
        # Of fresh weights next to nothing reaches the heads; these keep the variance from layer to layer (He et al. 2015).
        if name.endswith("kernel"):
            inputs = int(np.prod(variable.shape[:2] if "depthwise" in name else variable.shape[:-1]))
            variable.assign(random.normal(0, np.sqrt(1.5 / inputs), variable.shape))
        if "class_predictions_with_background" in name and name.endswith("bias"):
            variable.assign(random.normal(-2, 0.5, variable.shape))
    prefix = train / "ckpt-7"
    tf.train.Checkpoint(model=network.trackable()).write(str(prefix))
    (train / SPECIFICATION).write_text(specification_json(specification), encoding="utf-8")
    return prefix


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """Three classes, because four class slots are as many as box encodings have numbers."""
    from boxcar.detectors.label_map import read_label_map
    from boxcar.export import convert, freeze
    from boxcar.records import build_records
    from boxcar.shapes import make_shapes

    run = ExportedRun(tmp_path_factory.mktemp("exported") / "run")
    data = make_shapes(str(run.folder.parent / "shapes"), pictures=48, image_size=96)
    build_records(str(data), str(run.records))
    write_checkpoint(run.folder / "train", read_label_map(run.records / "label_map.pbtxt"), seed=1)
    freeze(ARCHITECTURE, str(run.checkpoint), str(run.frozen))
    convert(str(run.frozen), str(run.records), str(run.export))
    return run
