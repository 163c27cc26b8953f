"""The part of the configuration that says what a challenger must reach: `gate:` in the YAML."""

from typing import Annotated

from pydantic import Field

from boxcar.config.settings import Settings

_Share = Annotated[float, Field(ge=0, le=1)]


class GateSettings(Settings):
    """How the gate decides."""

    format: str = Field("tflite_int8", description="Format of the file that ships. Versions are compared with it.")
    min_gain: float = Field(-0.005, ge=-1, le=1, description="Difference in AP50 from the champion that a version must exceed.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of each one-sided bound of the AP50 difference.")
    class_floors: dict[str, _Share] = Field({}, description="Minimum AP50 of a class.")
    max_milliseconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Maximum median time per image in milliseconds."
    )
    max_megabytes: float | None = Field(None, gt=0, allow_inf_nan=False, description="Maximum size of the file in MB.")
    accept_new_classes: bool = Field(
        False, description="Allow classes that differ from the champion's; only shared classes are compared."
    )
    threads: int = Field(2, ge=1, le=64, description="CPU threads for running the files.")
