"""A model's folder in a model registry, `<models>/<name>/`:

aliases.json                 the champion, the previous champion, the held-out test split in use, and their history
<number>/                    a version; complete if it has a `step.json`
tests/<split>/               a held-out test split
decisions/<challenger>-<champion>-<split>.json
retrainings/<identity>.json  the result of each retraining
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import Store, lock, make_folder, open_store
from boxcar.sync.mirror import Mirror

FORMAT: Final = 1  # of aliases.json, version.json, a decision, and a retraining
TESTS, DECISIONS, RETRAININGS = "tests", "decisions", "retrainings"

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Model:
    """One model of a registry. It need not exist.

    Args:
        models: the registry's folder (URI).
        name: the model's name.

    Raises:
        BoxcarError: 64 for a name that is not allowed.
    """

    models: str
    name: str

    def __post_init__(self) -> None:
        if not MODEL_NAME.fullmatch(self.name):
            raise BoxcarError(
                ExitCode.USAGE,
                f"{self.name!r} cannot be a model's name.",
                "Use at most 63 lower-case letters, digits, '.', '_', and '-'. Start with a letter or a digit.",
            )

    @property
    def uri(self) -> str:
        return f"{self.models.rstrip('/')}/{self.name}"

    @property
    def store(self) -> Store:
        return open_store(self.uri)

    def numbers(self) -> list[str]:
        """The numbers of its versions, ascending, with incomplete ones."""
        return sorted(filter(_NUMBER.fullmatch, self.store.folders()), key=int)

    def version(self, number: str) -> Mirror:
        """The folder of a version."""
        return Mirror(f"{self.uri}/{number}")

    def test(self, split: str) -> Mirror:
        """The folder of a held-out test split."""
        return Mirror(f"{self.uri}/{TESTS}/{split}")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Locks the model, so that no other process on this machine adds to it.

        Raises:
            Refused: 69 if another process has locked it.
        """
        folder = Mirror(self.uri).folder
        path = make_folder(folder.parent) / f".{folder.name}.adding"
        path.touch()
        descriptor = lock(path, patience_seconds=0.0)
        try:
            yield
        finally:
            os.close(descriptor)


def check_format(found: object, where: str) -> None:
    """Refuses a file that a newer Boxcar wrote. If this one replaced the file, it would drop fields that it does not know.

    Raises:
        BoxcarError: 65.
    """
    if isinstance(found, int) and found > FORMAT:
        raise BoxcarError(
            ExitCode.DATA,
            f"{where} was written by a newer Boxcar: its format is {found}, and this Boxcar reads format {FORMAT}.",
            "Use the version of Boxcar that wrote it, or a newer one.",
        )
