"""The cache: local copies of bucket files in BOXCAR_CACHE, or else in `boxcar` in XDG_CACHE_HOME or `~/.cache`."""

import hashlib
import os
from pathlib import Path

from boxcar.storage.local_files import local_path, make_folder, replace_bytes
from boxcar.storage.location import Location, bucket_location
from boxcar.storage.store_factory import open_store

# The environment variable of a pod that says which folder is a copy of what: folder=URI.
COPY_OF = "BOXCAR_COPY_OF"


def cache_folder() -> Path:
    """The cache's folder. It may be removed when no Boxcar process is running."""
    named = os.environ.get("BOXCAR_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "boxcar"


def bucket_folder(location: Location, server: str) -> Path:
    """The cache's folder for a folder in a bucket. Buckets with the same name on different servers are kept apart."""
    digest = hashlib.sha256(server.encode()).hexdigest()[:8]
    return _buckets() / f"{location.scheme}-{location.bucket}-{digest}" / location.prefix


def fetch_file(uri: str) -> Path:
    """The file itself for a path or a `file:` URI; for a bucket, a copy of it in the cache.

    Raises:
        BoxcarError: 64 if the URI is not well-formed or the bucket has no such object; 69 if the bucket fails.
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
    """The name of a file for error messages: its URI if the path is in the cache of a bucket, else the path. Errors about
    the disk itself (69) name the path.
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
