"""What a challenger is held to."""

from typing import Annotated

from pydantic import Field

from boxcar.config.conversion import Settings

_Share = Annotated[float, Field(ge=0, le=1)]


class GateSettings(Settings):
    """How the gate decides."""

    format: str = Field("tflite_int8", description="The file that ships, on which versions are compared.")
    min_gain: float = Field(-0.005, ge=-1, le=1, description="Difference of AP50 that must be exceeded.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of each one-sided bound of that difference.")
    class_floors: dict[str, _Share] = Field({}, description="AP50 that a class must reach, by its name.")
    max_milliseconds: float | None = Field(None, gt=0, allow_inf_nan=False, description="A picture, the median.")
    max_megabytes: float | None = Field(None, gt=0, allow_inf_nan=False, description="Size of the file.")
    accept_new_classes: bool = Field(False, description="Whether a challenger may know other classes than the champion.")
    threads: int = Field(2, ge=1, le=64, description="That the files are run with.")
