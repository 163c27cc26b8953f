"""The plan of a training, made before TensorFlow is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxcar.config.run_settings import Configuration
from boxcar.data.label_map import read_label_map
from boxcar.detectors.catalog import find_architecture
from boxcar.detectors.checkpoint_sources import InitialWeights
from boxcar.inference.specification import InitialCheckpoint, Specification
from boxcar.run.checkpoints import has_stalled, list_checkpoints, read_scores
from boxcar.run.layout import DATASET, EVAL, LABEL_MAP, RECORDS, TRAIN
from boxcar.run.step import Committed, Step, require_commit
from boxcar.sync.mirror import Mirror
from boxcar.training.settings import TrainingSettings, derive_settings


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained, from which weights, and where the results are written.

    Attributes:
        evaluation: the run's `eval/` folder.
        images: how many the training split has.
    """

    step: Step
    records: Committed
    evaluation: Path
    specification: Specification
    configuration: Configuration
    settings: TrainingSettings
    images: int

    def is_trained(self) -> bool:
        """Whether the checkpoint of the final step is saved."""
        last = max((checkpoint.step for checkpoint in list_checkpoints(self.step.folder)), default=0)
        patience = self.configuration.early_stopping_checkpoints
        stalled = patience is not None and has_stalled(read_scores(self.evaluation), patience)
        return last >= self.settings.steps or (last > 0 and stalled)


def make_plan(run: str, configuration: Configuration) -> TrainingPlan:
    """Derives the settings that a configuration leaves open.

    Raises:
        BoxcarError: 64 without records.
    """
    folder = Mirror(run).folder
    records = require_commit(folder / RECORDS, "records")
    dataset = json.loads((records.folder / DATASET).read_text(encoding="utf-8"))
    images = dataset["splits"]["train"]["pictures"]
    settings = derive_settings(configuration, images)
    specification = find_architecture(configuration.architecture).specify(
        configuration.size, read_label_map(records.folder / LABEL_MAP), dataset["version"]
    )
    step = Step(
        "train",
        folder / TRAIN,
        inputs={"records": records.digest},
        parameters={
            "architecture": specification.architecture,
            "image_size": specification.image_size,
            "init": configuration.init or "none",
            **settings.parameters(),
        },
        resumable=True,
    )
    return TrainingPlan(step, records, folder / EVAL, specification, configuration, settings, images)


def with_initial(specification: Specification, initial: InitialWeights | None) -> Specification:
    """The specification, with the initial weights of the training and the anchors that these were trained with, if known."""
    if initial is None:
        return specification
    update: dict[str, Any] = {"initial_checkpoint": InitialCheckpoint(source=initial.source, sha256=initial.sha256)}
    before = initial.specification
    if before is not None and before.architecture == specification.architecture:
        update["anchors"] = before.anchors
    return specification.model_copy(update=update)
