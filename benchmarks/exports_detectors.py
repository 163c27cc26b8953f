"""The detectors that exports.py measures, taken from weights to exported files by Boxcar's own commands."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import BOXCAR, new_run, run

from boxcar.export.children import Child, run_children
from boxcar.export.converting import CONVERTER_SECONDS
from boxcar.inference.specification import SPECIFICATION, Specification, read_specification

ARCHITECTURE = "ssd_mobilenet_v2_fpnlite_320x320"


@dataclass(frozen=True)
class Detector:
    """An exported detector.

    Attributes:
        folder: with `saved_model/`, `tflite/` and `tfjs/`, as a run's `export/` has them.
        records: labeled pictures to try it on.
    """

    folder: Path
    records: Path

    @property
    def frozen(self) -> Path:
        """What `boxcar freeze` wrote."""
        return self.folder / "saved_model"

    def specification(self) -> Specification:
        return read_specification(self.frozen)

    def freeze(self, architecture: str, prefix: Path, *options: object) -> None:
        command = [*BOXCAR, "freeze", "--architecture", architecture, "--checkpoint", prefix, "--output", self.frozen]
        run([*command, *options])

    def convert(self, formats: Sequence[str]) -> None:
        command = [*BOXCAR, "convert", "--saved-model", self.frozen, "--records", self.records, "--output", self.folder]
        run([*command, "--formats", ",".join(formats)])

    def convert_to_tfjs(self) -> None:
        """What `boxcar convert` starts for TensorFlow.js; by itself it wants pictures with the labels of the detector."""
        folder = self.folder / "tfjs" / "float32"
        folder.parent.mkdir(parents=True)
        arguments = ("tfjs_float32", str(self.frozen), str(folder))
        run_children([Child("tfjs_float32", "boxcar.export.tfjs_child", arguments, CONVERTER_SECONDS)], lambda _: None)
        shutil.copy(self.frozen / SPECIFICATION, folder)


def train(folder: Path, records: Path, size: int, steps: int, formats: Sequence[str], configuration: str) -> Detector:
    """Trains from random weights, then exports the last checkpoint; the learning rate has come down to zero there.

    Args:
        folder: for the run.
        records: to train on.
        size: side of the network's input, in pixels.
        steps: of training.
        formats: what to convert to.
        configuration: more settings, as YAML.
    """
    folder.mkdir()
    made = new_run(folder / "run", records)
    (folder / "config.yaml").write_text(configuration)
    command = [*BOXCAR, "train", "--run", made, "--evaluator", "none", "--init", "none", "--config", folder / "config.yaml"]
    run([*command, "--image-size", size, "--steps", steps])
    detector = Detector(made / "export", records)
    detector.freeze(ARCHITECTURE, made / "train" / f"ckpt-{steps}")
    detector.convert(formats)
    return detector
