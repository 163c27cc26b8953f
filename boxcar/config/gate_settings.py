"""The part of the configuration that says what a challenger must reach: `gate:` in the YAML."""

from typing import Annotated

from pydantic import Field

from boxcar.config.conversion_settings import Settings

_Share = Annotated[float, Field(ge=0, le=1)]


class GateSettings(Settings):
    """How the gate decides."""

    format: str = Field("tflite_int8", description="The file that ships, on which versions are compared.")
    min_gain: float = Field(-0.005, ge=-1, le=1, description="Difference of AP50 to the champion that must be exceeded.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of each one-sided bound of that difference.")
    class_floors: dict[str, _Share] = Field({}, description="AP50 that a class must reach.")
    max_milliseconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Most milliseconds per image, the median."
    )
    max_megabytes: float | None = Field(None, gt=0, allow_inf_nan=False, description="Largest size of the file.")
    accept_new_classes: bool = Field(False, description="Allow other classes than the champion's; shared ones are compared.")
    threads: int = Field(2, ge=1, le=64, description="CPU threads that the files are run with.")
