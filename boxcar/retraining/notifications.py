"""Webhook notifications of how each retraining ended. Each is sent once, and failures are included."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boxcar.config.run_settings import Configuration
from boxcar.errors import BoxcarError, ChildEnded, ExitCode, explain
from boxcar.registry import Model
from boxcar.registry.ledger import Entry, read_entries, write_entry
from boxcar.retraining.claim import ModelBusyError
from boxcar.run.webhook import post


def notify(model: Model, configuration: Configuration, entry: Entry) -> None:
    """Sends an outcome to the webhook, and notes in the ledger that it was sent."""
    fields = entry.model_dump(include={"outcome", "reason", "run", "version", "changes", "gpu_hours"})
    _post(model, configuration, fields)
    write_entry(model.store, entry.model_copy(update={"told": True}))


def notify_pending(model: Model, configuration: Configuration) -> None:
    """Sends the outcomes that were not sent because the webhook failed or the process was killed."""
    for entry in read_entries(model.store):
        if entry.outcome is not None and not entry.told:
            notify(model, configuration, entry)


@contextmanager
def notifying_of_failure(model: Model, configuration: Configuration) -> Iterator[None]:
    """Notifies of an error in its block. It is for errors before a retraining has an entry in the ledger."""
    try:
        yield
    except Exception as error:
        if not is_interruption(error):
            failure = explain(error)
            with printing_errors():
                reason = f"{failure.what} {failure.do}"
                _post(model, configuration, {"outcome": "failed", "reason": reason, "run": None, "version": None})
        raise


def _post(model: Model, configuration: Configuration, fields: dict[str, Any]) -> None:
    version = f"version {fields['version']}" if fields["version"] else "no version"
    body: dict[str, Any] = {"text": f"{model.name}: {fields['outcome']}, {version}. {fields['reason']}"}
    if configuration.retraining.webhook_format == "boxcar":
        body |= {"models": model.models, "model": model.name, **fields}
    post(body)


def is_interruption(error: Exception) -> bool:
    """Whether an error is no failure: the process was stopped and can be resumed, or another retraining is running."""
    code = error.code if isinstance(error, BoxcarError | ChildEnded) else None
    return code in (ExitCode.AGAIN, ExitCode.INTERRUPTED) or isinstance(error, ModelBusyError)


@contextmanager
def printing_errors() -> Iterator[None]:
    """Prints an error instead of raising it, so that it does not hide a more important one. A notification that was not sent
    is sent by the next call."""
    try:
        yield
    except (BoxcarError, OSError) as error:
        say(str(error))


def say(line: str) -> None:
    """Prints a line to stderr."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
