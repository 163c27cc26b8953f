"""The part of the configuration that says when a model is trained anew, and from what: `retraining:` in the YAML."""

from typing import Literal

from pydantic import Field

from boxcar.config.conversion import Settings


class RetrainingSettings(Settings):
    """What `boxcar retrain` can be told."""

    start: Literal["champion", "init"] = Field(
        "champion", description="Weights to start from: the champion's, or those that `init` names."
    )
    new_pictures: int = Field(
        0, ge=0, description="New labelled pictures there must be; 0 trains on any change of pictures, boxes or label map."
    )
    gpu_hours: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Hours of GPUs that a model's retrainings may take in a month."
    )
    webhook_format: Literal["boxcar", "slack"] = Field(
        "boxcar", description="Shape of the message to the webhook: all that is known, or what Slack takes."
    )
