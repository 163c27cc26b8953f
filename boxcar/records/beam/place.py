"""The data folder as any worker reads it."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from boxcar.records.check import open_data_file
from boxcar.records.faults import FaultyError
from boxcar.storage import Missing, bucket_location, open_store
from boxcar.storage.object_file import open_object
from boxcar.storage.parallel import for_each


@dataclass(frozen=True)
class Place:
    """A data folder: local, for which every worker needs the same file system, or in a bucket.

    Args:
        uri: of the folder.
        root: the local folder. Of a bucket, the one in the cache, which need not exist: messages show the URI for it.
    """

    uri: str
    root: Path

    @property
    def remote(self) -> bool:
        return bucket_location(self.uri) is not None

    def open(self, name: str) -> BinaryIO:
        """Opens a file, as `DataFiles.open`."""
        if not self.remote:
            return open_data_file(self.root, name)
        store = open_store(self.uri)
        entry = store.entry(name)
        if entry is None:
            raise FaultyError("broken_labels", "it is missing")
        return open_object(store, entry)

    @contextmanager
    def files(self, names: Iterable[str]) -> Iterator[Path]:
        """A local folder that contains these files: the folder itself, or copies of a bucket's objects.

        An object that is gone is not there. A copy's time is that of the object, so that a change between two reads shows.
        """
        if not self.remote:
            yield self.root
            return
        store = open_store(self.uri)
        with tempfile.TemporaryDirectory(prefix="boxcar-") as temporary:

            def fetch(name: str) -> None:
                path = Path(temporary, name)
                entry = store.entry(name)
                if entry is None:
                    return
                try:
                    store.download(entry, path)
                except Missing:
                    return
                nanoseconds = int(entry.modified * 1e9)
                os.utime(path, ns=(nanoseconds, nanoseconds))

            for_each(fetch, set(names))
            yield Path(temporary)
