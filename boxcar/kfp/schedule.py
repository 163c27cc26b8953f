"""The file that says when a pipeline starts by itself, and with which parameters."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from boxcar.config.conversion_settings import Settings
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.cron import check_cron

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")  # 52: a CronJob of Kubernetes may be called no longer
_EXAMPLE = 'Write lines such as `name: nightly`, `pipeline: train-detector`, `cron: "0 2 * * *"` and `parameters:`.'


class Schedule(Settings):
    """When a pipeline starts by itself, and with which parameters."""

    name: str = Field(description="Name of the schedule on the server; an existing one of that name is replaced.")
    pipeline: str = Field(description="train-detector, retrain-if-changed, convert-only, or a file that kfp has compiled.")
    parameters: dict[str, Any] = Field({}, description="Parameters of the pipeline, by name.")
    cron: str = Field(description="When, in the five fields of cron.")
    timezone: str = Field(
        "UTC",
        description="Time zone of `cron`.",
        validation_alias=AliasChoices("timezone", "timeZone"),  # as the chart and Kubernetes spell it
    )
    enabled: bool = Field(True, description="Whether it starts runs.")
    experiment: str = Field("Default", min_length=1, description="Experiment of the runs.")
    service_account: str | None = Field(
        None, min_length=1, description="Service account of the runs' pods; default: the server's."
    )

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("write at most 52 lowercase letters, digits, and -")
        return value

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        return check_cron(value)

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        return same_zone(value)

    def check_timezone(self, server: str) -> None:
        """Refuses a time zone that is not the server's.

        Raises:
            BoxcarError: 64.
        """
        if self.timezone != same_zone(server):
            raise BoxcarError(
                ExitCode.USAGE,
                f"The time zone of {self.name} is {self.timezone}, but the server's is {server}.",
                f"Write `cron` and `timezone` for {server}. If Kubeflow was installed with another cronScheduleTimezone, "
                "give that as --server-timezone, because its API does not report it.",
            )


def same_zone(name: str) -> str:
    """The name of a time zone. UTC has two, of which this is one."""
    return "UTC" if name == "Etc/UTC" else name


def read_schedule(file: Path) -> Schedule:
    """The schedule in a YAML file.

    Raises:
        BoxcarError: 64 if the file cannot be read, or a field is unknown, missing, or invalid.
    """
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else " ".join(str(error).split())
        do = "Write a cron that starts with * in quotes." if "alias" in reason else _EXAMPLE
        raise BoxcarError(ExitCode.USAGE, f"{file} cannot be read: {reason.rstrip('.')}.", do) from error
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise BoxcarError(ExitCode.USAGE, f"{file} is not a mapping of field names.", _EXAMPLE)
    try:
        return Schedule.model_validate(loaded)
    except ValidationError as error:
        problems = tuple(_problem(one) for one in error.errors())
        do = f"These fields exist: {', '.join(Schedule.model_fields)}." if "no field" in problems[0] else "Change that line."
        what = f"{file}: {problems[0]}."
        raise BoxcarError(ExitCode.USAGE, what, do, problems if len(problems) > 1 else ()) from error


def _problem(error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no field {name}"
    if error["type"] == "missing":
        return f"{name} is missing"
    return f"{name} cannot be {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"
