"""The part of the configuration that conversion reads: which files, how INT8 is made, and the limits of every file."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from boxcar.config.settings import Settings, split_words
from boxcar.detectors.architecture import CONVERSIONS, Format

DEFAULT_FORMATS: tuple[Format, ...] = ("tflite_float32", "tflite_int8", "tfjs_float32")

_Share = Annotated[float, Field(ge=0, le=1)]
_Difference = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Cost = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Limits(Settings):
    """How far an exported file may be from its SavedModel, and what it may cost. A file beyond any of them is not exported.

    Files with the weights as they were trained are held to the raw differences, quantized ones to what they find; files that
    decode by themselves have no raw outputs.
    """

    raw_difference: _Difference = Field(1e-3, description="Largest difference of any raw output, for float32 files.")
    mean_raw_difference: _Difference = Field(1e-4, description="Mean difference of the raw outputs, for float32 files.")
    matched: _Share = Field(0.9, description="Minimum share of the SavedModel's detections that the file finds.")
    mean_iou: _Share = Field(0.8, description="Minimum mean IoU of the matched detections.")
    score_difference: _Share = Field(0.1, description="Mean score difference of the matched detections.")
    ap50_loss: _Share = Field(0.02, description="Maximum loss of AP50 relative to the SavedModel.")
    nms_ap50_loss: _Share = Field(0.05, description="The same, for files that return detections.")
    milliseconds: _Cost | None = Field(None, description="Median time per image in milliseconds.")
    megabytes: _Cost | None = Field(None, description="Size of the file in MB.")
    peak_memory_megabytes: _Cost | None = Field(None, description="Peak memory in MB of a process that runs the file.")


class Conversion(Settings):
    """The settings of `boxcar convert`."""

    formats: tuple[Format, ...] = Field(
        DEFAULT_FORMATS,
        min_length=1,
        description="Formats to export in addition to the SavedModel: all for every format, saved_model for no other.",
    )
    parity_pictures: int = Field(
        200, ge=1, le=10_000, description="Maximum number of images on which each file is compared with the SavedModel."
    )
    limits: Limits = Field(Limits(), description="Reject an exported file beyond this limit.")
    int8_pictures: int = Field(100, ge=1, le=10_000, description="Maximum number of training images for INT8 calibration.")
    int8_input: Literal["float32", "uint8"] = Field("float32", description="Data type of the input pixels of INT8 files.")
    int8_max_drop: float = Field(
        0.01, ge=0, le=1, description="Loss of AP50 above which the worst layers of an INT8 file stay in float32."
    )

    @field_validator("formats", mode="before")
    @classmethod
    def _all_formats(cls, value: Any) -> Any:
        words = split_words(value)
        return CONVERSIONS if isinstance(words, list | tuple) and "all" in words else words
