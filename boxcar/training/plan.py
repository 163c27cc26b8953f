"""The plan of a training, made before TensorFlow is loaded."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxcar.config.run_settings import Configuration
from boxcar.data.box_shapes import NARROW, BoxShapes, narrowest_class, read_box_shapes
from boxcar.data.label_map import read_label_map
from boxcar.data.trainable import require_training_objects
from boxcar.detectors.anchor_fitting import fit_anchors
from boxcar.detectors.catalog import find_architecture, larger_input
from boxcar.detectors.checkpoint_sources import InitialWeights
from boxcar.inference.anchors import make_anchors
from boxcar.inference.specification import (
    SPECIFICATION,
    Anchors,
    InitialCheckpoint,
    Specification,
    Thresholds,
    read_specification,
)
from boxcar.run.checkpoints import has_stalled, list_checkpoints, read_scores
from boxcar.run.layout import DATASET, EVAL, LABEL_MAP, RECORDS, TRAIN
from boxcar.run.step import Committed, Step, require_commit
from boxcar.storage.cache import uri_of
from boxcar.sync.mirror import Mirror
from boxcar.training.settings import TrainingSettings, derive_patience, derive_settings

MOST_DETECTIONS = 1000  # per image; suppression takes time with their square


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained, from which weights, and where the results are written.

    Attributes:
        evaluation: the run's `eval/` folder.
        shapes: of the training split's boxes; empty if the records do not say.
        images: how many the training split has.
    """

    step: Step
    records: Committed
    evaluation: Path
    specification: Specification
    configuration: Configuration
    settings: TrainingSettings
    shapes: BoxShapes
    images: int

    def is_trained(self) -> bool:
        """Whether the checkpoint of the final step is saved."""
        last = max((checkpoint.step for checkpoint in list_checkpoints(self.step.folder)), default=0)
        patience = derive_patience(self.configuration)
        stalled = patience is not None and has_stalled(read_scores(self.evaluation), patience)
        return last >= self.settings.steps or (last > 0 and stalled)


def make_plan(run: str, configuration: Configuration) -> TrainingPlan:
    """Derives the settings that a configuration leaves open.

    Raises:
        BoxcarError: 64 without records; 65 if their train split contains no object, or they or a `detector.json` of this
            training are damaged.
    """
    folder = Mirror(run).folder
    records = require_commit(folder / RECORDS, "records")
    dataset = json.loads((records.folder / DATASET).read_text(encoding="utf-8"))
    splits = dataset["splits"]
    require_training_objects({name: split["boxes"] for name, split in splits.items()}, uri_of(records.folder))
    images = splits["train"]["pictures"]
    settings = derive_settings(configuration, images)
    shapes = read_box_shapes(records.folder)
    specification = find_architecture(configuration.architecture).specify(
        configuration.size, read_label_map(records.folder / LABEL_MAP), dataset["version"]
    )
    anchors = _choose_anchors(folder / TRAIN, shapes, specification)
    thresholds = _fit_detections(dataset.get("most_boxes", 0), specification)
    specification = specification.model_copy(update={"anchors": anchors, "thresholds": thresholds})
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
        if_changed="Repeat the settings that it was started with. To train further, start another run: "
        f"`boxcar run --from {shlex.quote(uri_of(folder))} --output FOLDER`.",
    )
    return TrainingPlan(step, records, folder / EVAL, specification, configuration, settings, shapes, images)


def _choose_anchors(train: Path, shapes: BoxShapes, specification: Specification) -> Anchors:
    """Those of the training if it was started, whichever version of Boxcar chose them, else those that fit the boxes."""
    if (train / SPECIFICATION).exists():
        return read_specification(train).anchors
    return fit_anchors(shapes, specification.image_size, specification.anchors)


def _fit_detections(most_boxes: int, specification: Specification) -> Thresholds:
    """Thresholds that leave room for the objects of the image that has the most, up to `MOST_DETECTIONS`."""
    usual = specification.thresholds
    anchors = len(make_anchors(specification.image_size, specification.anchors))
    wanted = min(-(-most_boxes // 100) * 100, MOST_DETECTIONS, anchors)
    if wanted <= usual.max_detections:
        return usual
    return usual.model_copy(update={"max_detections": wanted, "max_detections_per_class": wanted})


def box_sentences(shapes: BoxShapes, specification: Specification) -> list[str]:
    """Sentences for the log about anchors that are not the architecture's, about more detections than usual, and about boxes
    that are too small for the input."""
    sentences = []
    usual = find_architecture(specification.architecture).anchors
    anchors, size = specification.anchors, specification.image_size
    if anchors != usual:
        fitted = anchors == fit_anchors(shapes, size, usual)
        why = "fitted to the data's boxes" if fitted else "as before"
        sentences.append(f"Anchors from {anchors.smallest_side:g} pixels up instead of {usual.smallest_side:g}, {why}.")
    most, usually = specification.thresholds.max_detections, Thresholds().max_detections
    if most > usually:
        limit = ", the largest number there can be" if most == MOST_DETECTIONS else ""
        sentences.append(
            f"Up to {most} detections per image instead of {usually}{limit}, because images have more than {usually} objects."
        )
    narrow, options = narrowest_class(shapes, size), larger_input(specification)
    if narrow is not None and options is not None:
        name, share = narrow
        sentences.append(
            f"{share:.0%} of the boxes of {name} have a side of less than {NARROW} pixels at the input of {size} × {size}. "
            f"They are easier to find with a larger one: start another run with {options}."
        )
    return sentences


def with_initial(specification: Specification, initial: InitialWeights | None) -> Specification:
    """The specification, with the initial weights of the training and the anchors that these were trained with, if known."""
    if initial is None:
        return specification
    update: dict[str, Any] = {"initial_checkpoint": InitialCheckpoint(source=initial.source, sha256=initial.sha256)}
    before = initial.specification
    if before is not None and before.architecture == specification.architecture:
        update["anchors"] = before.anchors
    return specification.model_copy(update=update)
