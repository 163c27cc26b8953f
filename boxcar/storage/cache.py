"""Local copies of what is in buckets: BOXCAR_CACHE, else `boxcar` in XDG_CACHE_HOME or `~/.cache`."""

import hashlib
import os
from pathlib import Path

from boxcar.storage.local_files import local_path, make_folder, replace_bytes
from boxcar.storage.location import Location, bucket_location
from boxcar.storage.open_store import open_store

# The variable in which a pod finds which folder in it is a copy of what: folder=URI.
COPY_OF = "BOXCAR_COPY_OF"


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


def uri_of(path: Path | str) -> str:
    """Where a person finds a file: its URI where the path is in a copy of what is in a bucket, else the path.

    For errors about files. One about the disk itself (69) names the path.
    """
    folder, _, uri = os.environ.get(COPY_OF, "").partition("=")
    if folder and Path(path).is_relative_to(folder):
        return "/".join([uri, *Path(path).relative_to(folder).parts])
    if Path(path).is_relative_to(_buckets()):
        bucket, *rest = Path(path).relative_to(_buckets()).parts
        scheme, _, name = bucket.rpartition("-")[0].partition("-")
        return "/".join([f"{scheme}://{name}", *rest])
    return str(path)


def _buckets() -> Path:
    return cache_folder() / "buckets"
