"""`aliases.json`: which version is the champion. It is the one file of a model that changes.

Every change reads it and replaces exactly what was read. Of two at a time one wins, and the other is refused. The file's own
order says what came first; times are written for people and never compared.
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
from boxcar.registry.model import FORMAT, Model, check_format, model_names
from boxcar.storage import ABSENT, Missing

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
    """One line of a model's history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Action
    champion: str | None  # after it
    test: str  # after it
    reason: str
    at: str  # by the clock of the machine that did it
    by: str  # host, process, and random digits by which a writer whose answer was lost knows its own


class Aliases(BaseModel):
    """The state of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT
    aliases: dict[str, str] = {}  # what others read: `champion` and `previous`, where they are
    champions: tuple[str, ...] = ()  # the champion is the last; a rollback takes it away
    test: str  # the frozen test split that counts
    history: tuple[Change, ...] = ()  # oldest first

    @property
    def champion(self) -> str | None:
        return self.champions[-1] if self.champions else None

    def after(self, action: Action, reason: str, *, champions: tuple[str, ...] | None = None, test: str = "") -> "Aliases":
        """The state after a change, which is written into its history."""
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


def read_aliases(model: Model) -> Aliases:
    """A model's state.

    Raises:
        BoxcarError: 64 where there is no such model, 65 where its file cannot be understood or a newer Boxcar wrote it.
    """
    return _read(model)[0]


def read_models(models: str) -> Iterator[tuple[Model, Aliases]]:
    """The models of a registry, each with its state; other folders are left out.

    Raises:
        BoxcarError: 65 where the state of one cannot be understood or a newer Boxcar wrote it.
    """
    for name in model_names(models):
        model = Model(models, name)
        try:
            state = read_aliases(model)
        except NoModelError:
            continue  # another folder
        yield model, state


def begin(model: Model, test: str) -> Aliases:
    """A model's state, which is made where there is none yet.

    Args:
        model: which.
        test: the frozen test split that counts from then on; one that was chosen before stays.
    """
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
        next_state: makes the new state of the old one. What it raises ends the change.

    Returns:
        The state that was written.

    Raises:
        Changed: 69 where another process changed the state meanwhile; nothing was written.
        BoxcarError: 64 where there is no such model, 65 where its file cannot be understood, 69 where the bucket fails.
    """
    before, tag = _read(model)
    after = next_state(before)
    model.store.write(ALIASES, _content(after), expected=tag)
    return after


def rollback(model: Model, reason: str = "") -> Aliases:
    """Makes the champion before this one the champion again; once more goes further back.

    Raises:
        BoxcarError: 64 where there was none before; else as `change`.
    """

    def back(state: Aliases) -> Aliases:
        if len(state.champions) < 2:
            what = f"{model.name} had no champion before {state.champion or 'now'}."
            raise BoxcarError(ExitCode.USAGE, what, "`boxcar models show` lists its champions.")
        said = reason or f"Rolled back from version {state.champions[-1]}."
        return state.after("rollback", said, champions=state.champions[:-1])

    return change(model, back)


def promoted(state: Aliases, number: str, reason: str) -> Aliases:
    """The state in which a version is the champion."""
    return state.after("promote", reason, champions=(*state.champions, number))


def resolve(model: Model, version: str) -> str:
    """The number of the version that is meant by its number or an alias.

    Raises:
        BoxcarError: 64 where there is none.
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
        what = f"{where} cannot be understood: {' '.join(reason.split()).rstrip('.')}."
        raise BoxcarError(ExitCode.DATA, what, "Restore it from an older copy of the bucket.") from error


def _content(state: Aliases) -> bytes:
    return (json.dumps(state.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()
