"""Who hears of how a retraining ended: the webhook, once, and of failures too."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boxcar.config.run_settings import Configuration
from boxcar.errors import BoxcarError, ChildEnded, ExitCode, explain
from boxcar.registry import Model
from boxcar.retraining.claim import AtWorkError, Claim
from boxcar.retraining.ledger import Entry, note_told, read_entries
from boxcar.run.webhook import post
from boxcar.storage import Store


def tell(model: Model, configuration: Configuration, identity: str, entry: Entry) -> None:
    """Has the webhook hear of an outcome, and remembers that it has."""
    _post(model, configuration, entry.model_dump(include={"outcome", "reason", "run", "version", "changes", "gpu_hours"}))
    note_told(model.store, identity, entry)


def tell_again(model: Model, configuration: Configuration) -> None:
    """Tells of what ended without being heard: the webhook did not answer, or this process was killed.

    Whoever is at work tells it himself, and it is not to be heard twice.
    """
    if not _unheard(model.store):
        return
    with Claim(model.store):
        for identity, entry in _unheard(model.store).items():
            tell(model, configuration, identity, entry)


def _unheard(store: Store) -> dict[str, Entry]:
    return {name: entry for name, entry in read_entries(store).items() if entry.outcome is not None and not entry.told}


def _post(model: Model, configuration: Configuration, told: dict[str, Any]) -> None:
    version = f"version {told['version']}" if told["version"] else "no version"
    text = f"{model.name}: {told['outcome']}, {version}. {told['reason']}"
    body: dict[str, Any] = {"text": text}
    if configuration.retraining.webhook_format == "boxcar":
        body |= {"models": model.models, "model": model.name, **told}
    post(body)


@contextmanager
def telling(model: Model, configuration: Configuration) -> Iterator[None]:
    """Has the webhook hear of a failure before anything is begun, which no entry tells of."""
    try:
        yield
    except Exception as error:
        if not concerns_nobody(error):
            told = explain(error)
            with beside():
                reason = f"{told.what} {told.do}"
                _post(model, configuration, {"outcome": "failed", "reason": reason, "run": None, "version": None})
        raise


def concerns_nobody(error: Exception) -> bool:
    """Whether the next call goes on as if nothing had been: it was stopped from outside, or another retraining is at work."""
    code = error.code if isinstance(error, BoxcarError | ChildEnded) else None
    return code in (ExitCode.AGAIN, ExitCode.INTERRUPTED) or isinstance(error, AtWorkError)


@contextmanager
def beside() -> Iterator[None]:
    """What fails beside something graver is said and no more: it must not hide that. What the webhook should have heard, it
    hears the next time."""
    try:
        yield
    except (BoxcarError, OSError) as error:
        say(str(error))


def say(line: str) -> None:
    """Tells the person, or the log."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
