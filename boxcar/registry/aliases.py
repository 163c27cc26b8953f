"""`aliases.json`: which version is the champion. It is the only file of a model that changes.

Every change replaces exactly the state that was read. If two processes change it at the same time, one of them is refused.
The order in the file says what came first. Its times are for people and are never compared.
"""

import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry.model import FORMAT, MODEL_NAME, Model, check_format
from boxcar.storage import ABSENT, Missing, open_store

ALIASES = "aliases.json"
CHAMPION, PREVIOUS = "champion", "previous"

Action = Literal["begin", "promote", "rollback", "retest"]


class NoModelError(BoxcarError):
    """There is no such model yet."""

    def __init__(self, model: Model) -> None:
        what = f"There is no model {model.name} in {model.models}."
        do = "Correct --models or --model, or add its first version with `boxcar models add`."
        super().__init__(ExitCode.USAGE, what, do)


class Change(BaseModel):
    """One entry in a model's history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Action
    champion: str | None  # after the change
    test: str  # after the change
    reason: str
    at: str  # by the clock of the machine that made it
    by: str  # host, process, and random digits: a writer whose response was lost recognizes its own change


class Aliases(BaseModel):
    """The state of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT
    aliases: dict[str, str] = {}  # for other readers: `champion` and `previous`, if there are any
    champions: tuple[str, ...] = ()  # the last one is the champion; a rollback removes it
    test: str  # the held-out test split in use
    history: tuple[Change, ...] = ()  # oldest first

    @property
    def champion(self) -> str | None:
        return self.champions[-1] if self.champions else None

    def after(self, action: Action, reason: str, *, champions: tuple[str, ...] | None = None, test: str = "") -> "Aliases":
        """The state after a change, with the change added to its history."""
        champions = self.champions if champions is None else champions
        test = test or self.test
        named = dict(zip((CHAMPION, PREVIOUS), reversed(champions[-2:]), strict=False))
        change = Change(
            action=action,
            champion=champions[-1] if champions else None,
            test=test,
            reason=reason,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            by=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(6)}",
        )
        return Aliases(aliases=named, champions=champions, test=test, history=(*self.history, change))

    def promoted(self, number: str, reason: str) -> "Aliases":
        """The state in which a version is the champion."""
        return self.after("promote", reason, champions=(*self.champions, number))


def read_aliases(model: Model) -> Aliases:
    """A model's state.

    Raises:
        BoxcarError: 64 if there is no such model; 65 if its file cannot be read or a newer Boxcar wrote it.
    """
    return _read(model)[0]


def read_models(models: str) -> Iterator[tuple[Model, Aliases | BoxcarError]]:
    """The models of a registry, each with its state, or with the error (65) if its file cannot be read. Other folders are
    skipped."""
    for name in filter(MODEL_NAME.fullmatch, open_store(models).folders()):
        model = Model(models, name)
        try:
            yield model, read_aliases(model)
        except NoModelError:
            continue
        except BoxcarError as error:
            if error.code != ExitCode.DATA:
                raise
            yield model, error


def begin(model: Model, test: str) -> Aliases:
    """A model's state. Creates the model with this held-out test split if it does not exist."""
    try:
        return read_aliases(model)
    except NoModelError:
        store = model.store
        store.require_conditions()
        first = Aliases(test=test).after("begin", "The first version was added.")
        store.write(ALIASES, _content(first), expected=ABSENT)
        return first


def change(model: Model, next_state: Callable[[Aliases], Aliases]) -> Aliases:
    """Changes a model's state.

    Args:
        model: the model.
        next_state: makes the new state from the old one. If it raises, nothing is changed.

    Returns:
        The new state.

    Raises:
        Changed: 69 if another process changed the state meanwhile; nothing was written.
        BoxcarError: 64 if there is no such model, 65 if its file cannot be read, 69 if the bucket fails.
    """
    before, tag = _read(model)
    after = next_state(before)
    model.store.write(ALIASES, _content(after), expected=tag)
    return after


def step_back(model: Model) -> Aliases:
    """Makes the previous champion the champion again, without a look at its files. Repeated calls go further back.

    Raises:
        BoxcarError: 64 if there was none; else as `change`.
    """

    def back(state: Aliases) -> Aliases:
        if len(state.champions) < 2:
            what = f"{model.name} had no champion before {state.champion or 'now'}."
            raise BoxcarError(ExitCode.USAGE, what, "`boxcar models show` lists its champions.")
        return state.after("rollback", f"Rolled back from version {state.champion}.", champions=state.champions[:-1])

    return change(model, back)


def resolve(model: Model, version: str) -> str:
    """The number of a version that is given by its number or an alias.

    Raises:
        BoxcarError: 64 if there is no such alias.
    """
    if version.isdecimal():
        return version
    aliases = read_aliases(model).aliases
    if version not in aliases:
        known = ", ".join(f"{name} ({number})" for name, number in aliases.items()) or "none yet"
        what = f"{model.name} has no alias {version}; it has: {known}."
        raise BoxcarError(ExitCode.USAGE, what, "Give one of them, or a version's number.")
    return aliases[version]


def _read(model: Model) -> tuple[Aliases, str]:
    where = f"{model.uri}/{ALIASES}"
    try:
        content, tag = model.store.read_tagged(ALIASES)
    except Missing as error:
        raise NoModelError(model) from error
    try:
        found: dict[str, Any] = json.loads(content)
        check_format(found.get("format_version"), where)
        return Aliases.model_validate(found), tag
    except (ValueError, ValidationError, AttributeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        what = f"{where} is not valid: {' '.join(reason.split()).rstrip('.')}."
        raise BoxcarError(ExitCode.DATA, what, "Restore it from an older copy of the bucket.") from error


def _content(state: Aliases) -> bytes:
    return (json.dumps(state.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()
