"""The file that says when a pipeline runs by itself, and with which parameters."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from boxcar.config.conversion import Settings
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.cron import check_cron

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")  # 52: a CronJob of Kubernetes may be called no longer
_EXAMPLE = 'Write lines such as `name: nightly`, `pipeline: train-detector`, `cron: "0 2 * * *"` and `parameters:`.'


class Schedule(Settings):
    """When a pipeline runs by itself, and with which parameters."""

    name: str = Field(description="What the schedule is called on the server; one of that name is replaced.")
    pipeline: str = Field(description="train-detector, retrain-if-changed, convert-only, or a file that kfp has compiled.")
    parameters: dict[str, Any] = Field({}, description="Of the pipeline, by name.")
    cron: str = Field(description="When, in cron's five fields.")
    timezone: str = Field(
        "UTC",
        description="Time zone of `cron`.",
        validation_alias=AliasChoices("timezone", "timeZone"),  # as the chart and Kubernetes spell it
    )
    enabled: bool = Field(True, description="Whether it fires.")
    experiment: str = Field("Default", min_length=1, description="That the runs are filed under.")
    service_account: str | None = Field(None, min_length=1, description="Of the runs' pods; the server's own if not given.")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("it is to be at most 52 lower-case letters, digits and -")
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
                f"{self.name} is to fire by the clock of {self.timezone}, and the server's clock is that of {server}.",
                f"Write `cron` and `timezone` for {server}, or name with --server-timezone the cronScheduleTimezone that "
                "Kubeflow was installed with: its API does not tell it.",
            )


def same_zone(name: str) -> str:
    """A zone's name, of which UTC has two."""
    return "UTC" if name == "Etc/UTC" else name


def read_schedule(file: Path) -> Schedule:
    """The schedule in a YAML file.

    Raises:
        BoxcarError: 64 where the file cannot be read, or a field is unknown, missing or not as it must be.
    """
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else " ".join(str(error).split())
        do = "A cron that begins with * has to be written in quotes." if "alias" in reason else _EXAMPLE
        raise BoxcarError(ExitCode.USAGE, f"{file} cannot be read: {reason.rstrip('.')}.", do) from error
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise BoxcarError(ExitCode.USAGE, f"{file} is no mapping of names.", _EXAMPLE)
    try:
        return Schedule.model_validate(loaded)
    except ValidationError as error:
        problems = tuple(_problem(one) for one in error.errors())
        do = f"These exist: {', '.join(Schedule.model_fields)}." if "no field" in problems[0] else "Change that line."
        what = f"{file}: {problems[0]}."
        raise BoxcarError(ExitCode.USAGE, what, do, problems if len(problems) > 1 else ()) from error


def _problem(error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no field {name}"
    if error["type"] == "missing":
        return f"{name} is missing"
    return f"{name} cannot be {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"
