"""The configuration of a run, the same for the command, Kubeflow, and Jobs. It is validated once; unknown keys are refused."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from boxcar.config.class_choice import class_choice
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.conversion_settings import Conversion
from boxcar.config.gate_settings import GateSettings
from boxcar.config.retraining_settings import RetrainingSettings
from boxcar.config.settings import read_yaml, split_words, validate
from boxcar.detectors.catalog import ARCHITECTURES, check_image_size, find_architecture
from boxcar.errors import ExitCode, Refused
from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.run.layout import CONFIGURATION
from boxcar.storage import bucket_location, local_path, replace_text

MOST_STEPS = 1_000_000_000  # far more than anyone trains; larger numbers do not fit into TensorFlow's counters
DEFAULT_ARCHITECTURE = "ssd_mobilenet_v2_fpnlite_320x320"

LabelFormat = Literal["voc", "coco", "yolo", "csv", "cvat", "label-studio", "labelme", "via", "tfrecord"]
Difficult = Literal["score", "ignore"]
Augmentation = Literal["horizontal_flip", "crop", "scale_jitter", "colour", "mosaic"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
OnDivergence = Literal["stop", "rollback"]
INIT_WORDS = ("none", "zoo", "packaged")  # the values of `init` that are not a checkpoint's name


class Configuration(Conversion):
    """All settings of a run. Those that are None are derived from the data when training starts."""

    data: str | None = Field(None, description="Folder with images and their label files.")
    format: LabelFormat | None = Field(None, description="Format of the labels in `data`. [default: recognized by the files]")
    records: str | None = Field(None, description="Folder with finished records, instead of `data`.")
    architecture: str = Field(DEFAULT_ARCHITECTURE, description="Detector to train. `boxcar architectures` lists them.")
    image_size: int | None = Field(
        None, description="Side of the network's input in pixels, a multiple of 32. [default: the architecture's]"
    )
    steps: int | None = Field(
        None, ge=1, le=MOST_STEPS, description="Number of training steps. [default: derived from the number of images]"
    )
    batch_size: int | None = Field(
        None, ge=1, le=1024, description="Images per training step. [default: 16 for inputs up to 192 pixels, else 8]"
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Highest learning rate, after the warm-up. [default: derived from weights, batch size, and optimizer]",
    )
    checkpoint_interval_steps: int | None = Field(None, ge=1, le=MOST_STEPS, description="Steps between checkpoints.")
    init: str | None = Field(
        None,
        description="Initial weights: none, zoo, packaged, a run for its best checkpoint, or a checkpoint (.../ckpt-0). "
        "[default: zoo if available, else packaged, else none]",
    )
    optimizer: Optimizer = Field("adamw", description="SGD with momentum 0.9, or AdamW.")
    ema_decay: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Score and export an exponential moving average of the weights with this decay; 0: the weights themselves. "
        "[default: 0.98, but 0 from random weights]",
    )
    freeze_backbone: bool = Field(False, description="Keep the backbone's weights and statistics fixed.")
    precision: Precision = Field("float32", description="Data type that layers compute in; weights stay float32.")
    xla: bool = Field(False, description="Compile the training step with XLA. Use it on a GPU; on CPUs it is much slower.")
    gpus: int | None = Field(
        None,
        ge=0,
        le=64,
        description="Number of GPUs to train on, all of which must be visible; 0 for the CPU. [default: all that are visible]",
    )
    on_divergence: OnDivergence = Field(
        "stop", description="If training diverges: stop, or return to the last checkpoint with half the learning rate."
    )
    keep_best: int = Field(1, ge=1, le=1000, description="Number of checkpoints with the highest AP to keep.")
    keep_last: int = Field(3, ge=1, le=1000, description="Number of newest checkpoints to keep.")
    early_stopping_checkpoints: int | None = Field(
        None,
        ge=0,
        le=MOST_STEPS,
        description="Stop training after this many checkpoints in a row have not raised the highest AP; 0: never. [default: 6, "
        "but never from random weights]",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed for the split, initial weights, data order, and augmentation.")
    augmentations: Annotated[tuple[Augmentation, ...], BeforeValidator(split_words)] = Field(
        ("horizontal_flip", "scale_jitter", "colour"), description="Augmentations of the training images, in this order."
    )
    label_map: str | None = Field(None, description="A label_map.pbtxt whose class ids are kept.")
    frozen_test: str | None = Field(
        None, description="List of the images that make up the test split: a model's frozen-test.txt."
    )
    on_fault: Literal["stop", "skip"] = Field("stop", description="Stop at faulty images, or skip them.")
    unlabeled: Literal["stop", "skip", "background"] | None = Field(
        None,
        description="Images without a label: stop, skip them, or take them as background, without objects. [default: stop, but "
        "skip in a retraining, for which images may wait for their labels]",
    )
    classes: Annotated[tuple[str, ...] | None, BeforeValidator(split_words)] = Field(
        None,
        description="Classes to use: NAME keeps one, OLD=NEW renames or merges, -NAME drops one. Others stay only if all words "
        "drop one. [default: all]",
    )
    group_by: str | None = Field(
        None,
        description="Images that stay in one split: of one folder, of one name without its running number (name), of one time, "
        "or with the same match of REGEX in their paths. [default: name for frames of video, else none]",
    )
    difficult: Difficult = Field(
        "score",
        description="Objects that labels mark as difficult, which training uses in any case: score them, or ignore them in "
        "scores, as Pascal VOC does.",
    )
    max_megapixels: int = Field(
        MOST_MEGAPIXELS,
        ge=1,
        le=10_000,
        description="Megapixels that an image may have. Decoding takes 5 to 13 MB of memory for each.",
    )
    validation_fraction: float = Field(0.15, gt=0, lt=0.5, description="Share of the images used to choose the checkpoint.")
    test_fraction: float = Field(0.15, gt=0, lt=0.5, description="Share of the images used only for the final scores.")
    # Not stored in a run, which may be resumed elsewhere or for another purpose.
    cluster: ClusterSettings = Field(
        ClusterSettings(), description="Where the pods of a run are placed on a cluster, and their resources."
    )
    gate: GateSettings = Field(GateSettings(), description="What a new version of a model must reach.")
    retraining: RetrainingSettings = Field(
        RetrainingSettings(), description="When a model is trained again, and from which weights."
    )

    @field_validator("data", "records", "init", "label_map", "frozen_test")
    @classmethod
    def _absolute(cls, value: str | None, info: ValidationInfo) -> str | None:
        """The same text for all spellings of a place: an absolute path, or a URI without a slash at its end. Words stay
        unchanged.
        """
        if not value or (info.field_name == "init" and value in INIT_WORDS) or value.startswith(("http://", "https://")):
            return value
        location = bucket_location(value)
        if location is not None:
            return location.uri
        path = local_path(value).absolute()
        return str(path.resolve() if ".." in path.parts else path)

    @field_validator("augmentations")
    @classmethod
    def _each_once(cls, value: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        if len(set(value)) < len(value):
            raise ValueError("Input should name each augmentation once")
        return value

    @field_validator("classes")
    @classmethod
    def _is_choice(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None:
            class_choice(value)
        return value

    @field_validator("group_by")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"It is no regular expression ({error})") from error
        return value

    def check(self) -> None:
        """Checks combinations of settings.

        Raises:
            BoxcarError: 64 for an unknown architecture, an unsupported image size, or both of `data` and `records`.
        """
        if self.data is not None and self.records is not None:
            what = f"Both data ({self.data}) and records ({self.records}) are given."
            raise Refused(ExitCode.USAGE, what, "Give one: --data to build records, --records to use finished ones.")
        check_image_size(find_architecture(self.architecture), self.size)

    def of_records(self) -> dict[str, Any]:
        """The settings that `build_records` takes, by the names of its arguments."""
        names = {"format", "on_fault", "unlabeled", "classes", "label_map", "frozen_test", "group_by", "difficult"}
        names.add("max_megapixels")
        names |= {"validation_fraction", "test_fraction", "seed"}
        return self.model_dump(include=names, exclude_none=True)

    @property
    def size(self) -> int:
        """Side of the network's input, in pixels."""
        return ARCHITECTURES[self.architecture].image_size if self.image_size is None else self.image_size


# The first line of a run's configuration, by which it is told from a file of the same name that a person wrote.
_WRITTEN = "# Boxcar wrote this file: the settings that this run was started with.\n"
_TABLES = [name for name, field in Configuration.model_fields.items() if hasattr(field.annotation, "model_fields")]
# The tables that are not stored in a run.
NOT_STORED = frozenset({"cluster", "gate", "retraining"})


def read_settings(file: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a YAML file, if there is one, and options, which override it; not validated.

    Raises:
        BoxcarError: 64 for a file that cannot be read.
    """
    settings = {} if file is None else read_yaml(file, "Write lines such as `steps: 2000`.")
    return merge_settings(settings, {name: value for name, value in given.items() if value is not None})


def make_configuration(file: Path | None, given: dict[str, Any]) -> Configuration:
    """A configuration from a YAML file, if there is one, and options, which override it.

    Raises:
        BoxcarError: 64 for a file that cannot be read, unknown keys, and invalid values, each on its own line.
    """
    return validated(read_settings(file, given))


def validated(settings: dict[str, Any]) -> Configuration:
    """A configuration from settings.

    Raises:
        BoxcarError: 64 for unknown keys and invalid values, each on its own line.
    """
    configuration = validate(Configuration, settings)
    configuration.check()
    return configuration


def merge_settings(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Settings overridden by others. A table such as `limits` is merged setting by setting."""
    merged = settings | given
    for name in _TABLES:
        both = [table[name] for table in (settings, given) if isinstance(table.get(name), dict)]
        if len(both) == 2:
            merged[name] = both[0] | both[1]
    return merged


def read_configuration(run: Path) -> Configuration | None:
    """The configuration that a run was started with; None if there is none."""
    path = run / CONFIGURATION
    return make_configuration(path, {}) if path.exists() else None


def is_stored_configuration(text: str) -> bool:
    """Whether `write_configuration` wrote a file with this content, and not a person."""
    return text.startswith(_WRITTEN)


def write_configuration(run: Path, configuration: Configuration) -> None:
    """Stores a configuration in its run, without the tables in NOT_STORED."""
    dumped = configuration.model_dump(mode="json", exclude_none=True, exclude=set(NOT_STORED))
    # The data comes first, because people look for it first.
    settings = {name: dumped[name] for name in sorted(dumped, key=lambda name: name in Conversion.model_fields)}
    replace_text(run / CONFIGURATION, _WRITTEN + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
