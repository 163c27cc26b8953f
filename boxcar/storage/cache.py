"""Local copies of what is in buckets: BOXCAR_CACHE, else `boxcar` in XDG_CACHE_HOME or `~/.cache`."""

import hashlib
import os
import re
from pathlib import Path

from boxcar.storage.local import local_path, make_folder, replace_bytes
from boxcar.storage.location import Location, bucket_location
from boxcar.storage.open import open_store


def cache_folder() -> Path:
    """Where copies are kept. They may be removed when nothing runs."""
    named = os.environ.get("BOXCAR_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "boxcar"


def bucket_folder(location: Location, server: str) -> Path:
    """The cache's folder for one in a bucket. Buckets of one name on several servers are kept apart."""
    digest = hashlib.sha256(server.encode()).hexdigest()[:8]
    return _buckets() / f"{location.scheme}-{location.bucket}-{digest}" / location.prefix


def fetch_file(uri: str) -> Path:
    """The file itself for a path or a `file:` URI; for a bucket, a copy of it in the cache.

    Raises:
        BoxcarError: 64 where the URI is not well-formed or, in a bucket, nothing is there; 69 where the bucket fails.
    """
    location = bucket_location(uri)
    if location is None:
        return local_path(uri)
    parent, name = location.split()
    store = open_store(parent)
    content = store.read(name)
    path = make_folder(bucket_folder(location, store.server).parent) / name
    replace_bytes(path, [content])
    return path


def with_uris(text: str) -> str:
    """A text with URIs in place of the cache's folders for them: a person looks for the files in the bucket."""
    return re.sub(rf"{re.escape(str(_buckets()))}/(s3|gs)-([^/\s]+)-[0-9a-f]{{8}}/", r"\1://\2/", text)


def _buckets() -> Path:
    return cache_folder() / "buckets"
