"""The part of the configuration that conversion reads: which files, how INT8 is made, and the limits of every file."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from boxcar.detectors.architecture import CONVERSIONS, Format

DEFAULT_FORMATS: tuple[Format, ...] = ("tflite_float32", "tflite_int8", "tfjs_float32")

_Share = Annotated[float, Field(ge=0, le=1)]
_Difference = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Cost = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """Settings that refuse unknown names, and true or false in place of a number: `steps: yes` would be 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        is_switch = cls.model_fields[info.field_name or ""].annotation is bool
        if isinstance(value, bool) and not is_switch:
            raise ValueError("Input should not be yes, no, true or false")
        return value


class Limits(Settings):
    """How far an exported file may be from its SavedModel, and what it may cost. A file beyond any of them is not exported.

    Files with the weights as they were trained are held to the raw differences, quantised ones to what they find; files that
    decode by themselves have no raw outputs.
    """

    raw_difference: _Difference = Field(1e-3, description="Largest difference of any raw output, float32 files.")
    mean_raw_difference: _Difference = Field(1e-4, description="Mean difference of the raw outputs, float32 files.")
    matched: _Share = Field(0.9, description="Share of the SavedModel's detections that must be found.")
    mean_iou: _Share = Field(0.8, description="Mean overlap with those that are found, at least.")
    score_difference: _Share = Field(0.1, description="Mean difference of their scores.")
    ap50_loss: _Share = Field(0.02, description="How far AP50 may be below the SavedModel's.")
    nms_ap50_loss: _Share = Field(0.05, description="The same for files that return detections.")
    milliseconds: _Cost | None = Field(None, description="Per image, the median.")
    megabytes: _Cost | None = Field(None, description="Size of the file.")
    peak_memory_megabytes: _Cost | None = Field(None, description="Of a process that runs the file.")


class Conversion(Settings):
    """The settings of `boxcar convert`."""

    formats: tuple[Format, ...] = Field(
        DEFAULT_FORMATS,
        min_length=1,
        description="Files to export besides the SavedModel; all for every one, saved_model for none.",
    )
    parity_pictures: int = Field(
        200, ge=1, le=10_000, description="Images to compare every file with the SavedModel on, at most."
    )
    limits: Limits = Field(Limits(), description="Reject an exported file beyond this limit.")
    int8_pictures: int = Field(100, ge=1, le=10_000, description="Training images to calibrate INT8 on, at most.")
    int8_input: Literal["float32", "uint8"] = Field("float32", description="Data type in which INT8 files take pixels.")
    int8_max_drop: float = Field(
        0.01, ge=0, le=1, description="AP50 that INT8 may cost before its worst layers stay in float32."
    )

    @field_validator("formats", mode="before")
    @classmethod
    def _all_formats(cls, value: Any) -> Any:
        words = [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value
        return CONVERSIONS if isinstance(words, list | tuple) and "all" in words else words
