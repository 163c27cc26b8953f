"""The file that says when a pipeline starts by itself, and with which parameters."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, Field

from boxcar.config.cluster_settings import matching
from boxcar.config.settings import Settings, read_yaml, validate
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.cron import check_cron

_EXAMPLE = 'Write lines such as `name: nightly`, `pipeline: train-detector`, and `cron: "0 2 * * *"`, which needs the quotes.'


def _same_zone(name: str) -> str:
    """The name of a time zone. UTC has two, of which this is one."""
    return "UTC" if name == "Etc/UTC" else name


class Schedule(Settings):
    """When a pipeline starts by itself, and with which parameters."""

    # A CronJob of Kubernetes has a name of at most 52 characters.
    name: Annotated[str, matching("[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", "at most 52 lowercase letters, digits, and -")] = Field(
        description="Name of the schedule on the server; an existing one of that name is replaced."
    )
    pipeline: str = Field(description="train-detector, retrain-if-changed, convert-only, or a file that kfp has compiled.")
    parameters: dict[str, Any] = Field({}, description="Parameters of the pipeline, by name.")
    cron: Annotated[str, AfterValidator(check_cron)] = Field(description="When, in the five fields of cron.")
    timezone: Annotated[str, AfterValidator(_same_zone)] = Field(
        "UTC",
        description="Time zone of `cron`.",
        validation_alias=AliasChoices("timezone", "timeZone"),  # as the chart and Kubernetes spell it
    )
    enabled: bool = Field(True, description="Whether it starts runs.")
    experiment: str = Field("Default", min_length=1, description="Experiment of the runs.")
    service_account: str | None = Field(
        None, min_length=1, description="Service account of the runs' pods; default: the server's."
    )

    def check_timezone(self, server: str) -> None:
        """Refuses a time zone that is not the server's.

        Raises:
            BoxcarError: 64.
        """
        if self.timezone != _same_zone(server):
            raise BoxcarError(
                ExitCode.USAGE,
                f"The time zone of {self.name} is {self.timezone}, but the server's is {server}.",
                f"Write `cron` and `timezone` for {server}. If Kubeflow was installed with another cronScheduleTimezone, "
                "give that as --server-timezone, because its API does not report it.",
            )


def read_schedule(file: Path) -> Schedule:
    """The schedule in a YAML file.

    Raises:
        BoxcarError: 64 if the file cannot be read, or a field is unknown, missing, or invalid.
    """
    return validate(Schedule, read_yaml(file, _EXAMPLE), source=f"{file}: ")
