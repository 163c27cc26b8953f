"""`detector.json`: everything besides the weights that is needed to turn an image into detections."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.cache import uri_of

SPECIFICATION = "detector.json"

TaskName = Literal["boxes"]  # the keys of `decoders.DECODERS` and of `detectors.tasks.find_task`

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Anchors(BaseModel):
    """Multi-scale anchor grid, as in the Object Detection API's `multiscale_anchor_generator`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_level: int = Field(3, ge=2, le=9)  # the stride of a level is 2 to its power, in pixels of the input
    max_level: int = Field(7, ge=2, le=9)
    anchor_scale: Positive = 4.0  # side of a level's smallest square anchor, in strides
    aspect_ratios: tuple[Positive, ...] = Field((1.0, 2.0, 0.5), min_length=1)  # width over height
    scales_per_octave: int = Field(2, ge=1, le=8)

    @model_validator(mode="after")
    def _levels_ascend(self) -> "Anchors":
        if self.min_level > self.max_level:
            raise ValueError("min_level is above max_level")
        return self

    @property
    def per_cell(self) -> int:
        """The number of anchors of each cell of a feature map."""
        return len(self.aspect_ratios) * self.scales_per_octave

    @property
    def smallest_side(self) -> float:
        """Side of the smallest square anchor, in pixels of the input."""
        return self.anchor_scale * 2.0**self.min_level


class BoxCoder(BaseModel):
    """Faster R-CNN box coder: offsets relative to the anchor, multiplied by these scales (Ren et al. 2015, section 3.1.2)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    y_scale: Positive = 10.0
    x_scale: Positive = 10.0
    height_scale: Positive = 5.0
    width_scale: Positive = 5.0


class Thresholds(BaseModel):
    """The thresholds that turn scored boxes into detections. The defaults are the zoo's, except for `score`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The zoo's 1e-8 keeps every anchor. With 0.01, no COCO score changes in the third decimal.
    score: float = Field(0.01, ge=0, lt=1)
    iou: float = Field(0.6, gt=0, le=1)
    max_detections_per_class: int = Field(100, ge=1)
    max_detections: int = Field(100, ge=1)


class InitialCheckpoint(BaseModel):
    """The weights that training started from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str  # a path or an address as it was requested, or the URL of a package
    sha256: str  # as `checkpoint_sources.InitialWeights` says


class Specification(BaseModel):
    """A detector without its weights.

    The network reads a float32 image [1, S, S, 3] whose values are in `value_range`, and returns the outputs that the task's
    decoder lists (`heads.Decoder`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    architecture: str
    # Left out of the file for boxes, so that the files of box detectors are the same as before there were tasks.
    task: TaskName = Field("boxes", exclude_if=lambda task: task == "boxes")
    image_size: int = Field(ge=64, le=2048)  # S, pixels; images are resized to S x S without keeping their aspect
    value_range: tuple[Finite, Finite] = (-1.0, 1.0)  # what black (byte 0) and white (byte 255) become
    labels: dict[int, str]  # class id, from 1, to name
    # Whether class slots are numbered without the gaps between ids, or by id, as the zoo's detectors of COCO are, and as all
    # were that Boxcar trained before there was this field. Left out of the file where it makes no difference.
    dense_slots: bool = Field(False, exclude_if=lambda dense: not dense)
    anchors: Anchors = Anchors()
    box_coder: BoxCoder = BoxCoder()
    thresholds: Thresholds = Thresholds()
    dataset_version: str | None = None
    initial_checkpoint: InitialCheckpoint | None = None  # None for random weights

    @model_validator(mode="after")
    def _is_consistent(self) -> "Specification":
        if not self.labels or min(self.labels) < 1:
            raise ValueError("labels need at least one class, with ids from 1")
        if self.value_range[0] >= self.value_range[1]:
            raise ValueError("value_range must ascend")
        return self

    @property
    def byte_step(self) -> float:
        """The difference in the network's input between adjacent byte values of a pixel."""
        low, high = self.value_range
        return (high - low) / 255

    @property
    def slot_ids(self) -> Sequence[int]:
        """As the function `slot_ids`."""
        return slot_ids(self.labels, dense=self.dense_slots)

    @property
    def slots(self) -> dict[int, int]:
        """The class slot of each class id."""
        return {number: slot if self.dense_slots else number for slot, number in enumerate(sorted(self.labels), start=1)}

    @property
    def class_slots(self) -> int:
        """C, the number of class logits an anchor has, the background's included."""
        return len(self.slot_ids)


def slot_ids(labels: Mapping[int, str], *, dense: bool) -> Sequence[int]:
    """The class id of each class slot, ascending, and 0 for slot 0, the background's. By id, some may be those of no class."""
    return (0, *sorted(labels)) if dense else range(max(labels) + 1)


def has_gaps(labels: Mapping[int, str]) -> bool:
    """Whether the ids of classes are other than 1, 2, 3, and so on."""
    return max(labels) > len(labels)


def read_specification(folder: Path) -> Specification:
    """Reads `detector.json` in a folder.

    Raises:
        BoxcarError: 64 if there is none, 65 if it is not valid.
    """
    path = folder / SPECIFICATION
    try:
        return Specification.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{uri_of(folder)} holds no {SPECIFICATION}.",
            "Give a folder that `boxcar freeze` or `convert` wrote.",
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(str(part) for part in first["loc"])
        raise BoxcarError(
            ExitCode.DATA,
            f"{uri_of(path)} is not a valid detector description: {where} {first['msg']}.",
            "Export the model again.",
        ) from error


def specification_json(specification: Specification) -> str:
    """The text of `detector.json`."""
    return json.dumps(specification.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
