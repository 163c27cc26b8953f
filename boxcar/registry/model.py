"""A model's folder in a model registry, `<models>/<name>/`, and what it holds.

aliases.json                 which version is the champion, which was before it, the test split that counts, and why
<number>/                    a version; finished when its `step.json` is there
tests/<split>/               a held-out test split
decisions/<challenger>-<champion>-<split>.json
retrainings/<identity>.json  what each retraining came to
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

FORMAT: Final = 1  # of aliases.json, a version's version.json, a decision and a retraining
TESTS, DECISIONS, RETRAININGS = "tests", "decisions", "retrainings"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Model:
    """One model of a registry, whether it is there already or not.

    Args:
        models: the registry's folder (URI).
        name: of the model.

    Raises:
        BoxcarError: 64 for a name that cannot be a folder everywhere.
    """

    models: str
    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BoxcarError(
                ExitCode.USAGE,
                f"{self.name!r} cannot be a model's name.",
                "Use at most 63 lower-case letters, digits, '.', '_' and '-', beginning with a letter or a digit.",
            )

    @property
    def uri(self) -> str:
        return f"{self.models.rstrip('/')}/{self.name}"

    @property
    def store(self) -> Store:
        return open_store(self.uri)

    def numbers(self) -> list[str]:
        """Of its versions, ascending, unfinished ones too."""
        return sorted(filter(_NUMBER.fullmatch, self.store.folders()), key=int)

    def version(self, number: str) -> Mirror:
        """The folder of a version."""
        return Mirror(f"{self.uri}/{number}")

    def test(self, split: str) -> Mirror:
        """The folder of a held-out test split."""
        return Mirror(f"{self.uri}/{TESTS}/{split}")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Takes the model for this process, to add to it.

        Raises:
            Refused: 69 where another process on this machine has it.
        """
        folder = Mirror(self.uri).folder
        path = make_folder(folder.parent) / f".{folder.name}.adding"
        path.touch()
        descriptor = lock(path, patience_seconds=0.0)
        try:
            yield
        finally:
            os.close(descriptor)


def model_names(models: str) -> list[str]:
    """The models of a registry; other folders in it are left out."""
    return [name for name in open_store(models).folders() if _NAME.fullmatch(name)]


def check_format(found: object, where: str) -> None:
    """Refuses a file that a newer Boxcar wrote: rewritten by this one, it would lose what this one does not know.

    Raises:
        BoxcarError: 65.
    """
    if isinstance(found, int) and found > FORMAT:
        raise BoxcarError(
            ExitCode.DATA,
            f"{where} was written by a newer Boxcar: its format is {found}, and this Boxcar reads format {FORMAT}.",
            "Use the version of Boxcar that wrote it, or a newer one.",
        )
