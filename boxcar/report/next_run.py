"""Commands for the run after this one, whole and quoted for a shell."""

import shlex
from itertools import count
from pathlib import Path

from boxcar.run.layout import RECORDS
from boxcar.storage.cache import uri_of
from boxcar.sync.mirror import Mirror


def longer_run(run: Path, steps: int) -> str:
    """The command that trains a run's best checkpoint for more steps."""
    uri = uri_of(run)
    return f"boxcar run --from {shlex.quote(uri)} --steps {steps} --output {shlex.quote(_free(uri, 'more'))}"


def larger_run(run: Path, options: str) -> str:
    """The command that trains on a run's records with the options of a larger input."""
    uri = uri_of(run)
    return f"boxcar run --records {shlex.quote(f'{uri}/{RECORDS}')} --output {shlex.quote(_free(uri, 'larger'))} {options}"


def _free(uri: str, ending: str) -> str:
    """URI of a folder next to a run that holds nothing yet."""
    names = (f"{uri}-{ending}" if number == 1 else f"{uri}-{ending}-{number}" for number in count(1))
    return next(name for name in names if not Mirror(name).names())
