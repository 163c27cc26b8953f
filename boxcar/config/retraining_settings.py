"""The part of the configuration that says when a model is trained again, and from what: `retraining:` in the YAML."""

from typing import Literal

from pydantic import Field

from boxcar.config.settings import Settings


class RetrainingSettings(Settings):
    """The settings of `boxcar retrain`."""

    start: Literal["champion", "init"] = Field(
        "champion", description="Initial weights: the champion's, or those that `init` names."
    )
    new_pictures: int = Field(
        0, ge=0, description="New labeled images to wait for; 0 trains on any change of images, boxes, or label map."
    )
    gpu_hours: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="GPU hours that a model's retrainings may take per month."
    )
    webhook_format: Literal["boxcar", "slack"] = Field(
        "boxcar", description="Format of the message to the webhook: all fields, or Slack's format."
    )
