"""The folder through which the command's process and Beam's workers pass what is large.

A pipeline's elements are names of files in it. So a runner that keeps elements in memory needs no more for a million images.
A name belongs to a task, and files appear complete: a runner may repeat a task.
"""

import pickle
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boxcar.errors import BoxcarError
from boxcar.storage import bucket_location, local_path, open_store


class Scratch:
    """Values by name. They are pickled, as Beam itself does: whoever can write into the folder can run code.

    Args:
        uri: a folder that the command's process and all workers reach by this name.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._store = open_store(uri)

    def put(self, name: str, value: Any) -> str:
        """Writes a value, and returns its name. A value that is an exception is raised by whoever gets it."""
        self._store.write(name, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
        return name

    def get(self, name: str) -> Any:
        """A value.

        Raises:
            BoxcarError: if that was put in its place.
        """
        value = pickle.loads(self._store.read(name))  # noqa: S301
        if isinstance(value, BoxcarError):
            raise value
        return value

    def remove(self) -> None:
        """Removes everything."""
        self._store.delete([entry.name for entry in self._store.entries()])


@contextmanager
def scratch_folder(output: str, temporary: str | None) -> Iterator[Scratch]:
    """An empty folder, which is removed at the end.

    Args:
        output: URI of the step's folder. If it is in a bucket, so is the scratch folder, hidden below it.
        temporary: URI of a folder to make it in instead; None for the output's bucket, or this machine's temporary folder.
    """
    place = temporary or (output if bucket_location(output) is not None else None)
    if place is None or bucket_location(place) is None:
        with tempfile.TemporaryDirectory(prefix="boxcar-", dir=None if place is None else local_path(place)) as folder:
            yield Scratch(folder)
        return
    scratch = Scratch(f"{place.rstrip('/')}/.boxcar-beam-{secrets.token_hex(8)}")
    try:
        yield scratch
    finally:
        scratch.remove()
