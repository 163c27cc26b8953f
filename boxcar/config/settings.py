"""What all settings have in common: a strict type, the YAML file that they are read from, and errors that name them."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from boxcar.config.yaml_text import load_yaml
from boxcar.errors import ExitCode, Refused


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


def split_words(value: Any) -> Any:
    """Words separated by commas as a list; any other value unchanged."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


_S = TypeVar("_S", bound=Settings)
_SHOWN = 30  # signs of a number
_FEW = 10  # names that a sentence can list


def read_yaml(file: Path, do: str) -> dict[str, Any]:
    """The settings in a YAML file by name. `do` says what to write into it.

    Raises:
        BoxcarError: 64 if the file cannot be read, or is not a mapping of names.
    """
    try:
        loaded = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise Refused(ExitCode.USAGE, f"{file} cannot be read: {_reason(error)}.", do) from error
    if not isinstance(loaded, dict | None) or not all(isinstance(name, str) for name in loaded or {}):
        raise Refused(ExitCode.USAGE, f"{file} is not a mapping of names.", do)
    return loaded or {}


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem}, in line {error.problem_mark.line + 1}"
    return " ".join(str(error).split())


def validate(settings: type[_S], values: dict[str, Any], source: str = "") -> _S:
    """Settings from values of any type. `source` comes before the message, such as "config.yaml: ".

    Raises:
        BoxcarError: 64 for unknown or missing names and invalid values, with a line for each if there are several.
    """
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        # If an element of a list is invalid, pydantic also reports that the list is too short without it.
        found = [one for one in error.errors() if one["type"] != "too_short" or error.error_count() == 1]
        problems = tuple(f"{source}{_problem(one)}" for one in found)
        do = "Change that setting."
        if (unknown := next((one["loc"] for one in found if one["type"] == "extra_forbidden"), None)) is not None:
            do = _what_exists(settings, tuple(map(str, unknown)))
        details = problems if len(problems) > 1 else ()
        raise Refused(ExitCode.USAGE, f"{problems[0]}.", do, details) from error


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant by an unknown one; None if none is near. Tables before a name do not count."""
    ends = {_spelled(one): one for one in reversed(list(names))}
    near = difflib.get_close_matches(_spelled(name), ends, 1)
    return ends[near[0]] if near else None


def _spelled(name: str) -> str:
    return name.rpartition(".")[2].replace("-", "_").lower()


def _what_exists(settings: type[Settings], unknown: tuple[str, ...]) -> str:
    """What to write instead of an unknown name: the nearest one, or where all are listed."""
    name, every = ".".join(unknown), list(_names(settings))
    table = name.rpartition(".")[0]
    siblings = [one for one in every if one.rpartition(".")[0] == table]
    exact = [one for one in every if _spelled(one) == _spelled(name)]
    near = nearest(name, siblings) if not exact else exact[0]
    if near is not None:
        return f"Write {near} instead of {name}."
    if len(siblings) <= _FEW:
        return f"These settings exist: {', '.join(siblings)}."
    return "The page docs/reference/configuration.md lists all settings."


def _names(settings: type[Settings], table: str = "") -> Iterator[str]:
    for name, field in settings.model_fields.items():
        yield f"{table}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from _names(field.annotation, f"{table}{name}.")


def _problem(error: ErrorDetails) -> str:
    """What is wrong with one setting. For a list's element, the list's name is given."""
    name = ".".join(part for part in error["loc"] if isinstance(part, str)) or "the configuration"
    if error["type"] == "extra_forbidden":
        return f"There is no setting {name}"
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] == "int_parsing_size":
        return f"{name} cannot be {str(error['input'])[:_SHOWN]}: the number is too large"
    cause = error.get("ctx", {}).get("error")  # a validator's own sentence, without pydantic's "Value error, "
    return f"{name} cannot be {error['input']!r}: {cause or error['msg']}"
