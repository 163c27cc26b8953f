"""The store of a URI."""

from collections.abc import Iterator

from boxcar.storage.local_files import local_path
from boxcar.storage.location import bucket_location
from boxcar.storage.store import Store


def open_store(uri: str) -> Store:
    """The store of a plain path, a `file:`, an `s3:` or a `gs:` URI. No request is sent yet.

    Raises:
        BoxcarError: 64 if the URI is not well-formed, 69 if a setting in the environment is not.
    """
    location = bucket_location(uri)
    # The clients of buckets are large, and work on local folders does without them.
    if location is None:
        from boxcar.storage.folder_store import FolderStore

        return FolderStore(local_path(uri))
    if location.scheme == "s3":
        from boxcar.storage.s3_store import S3Store

        return S3Store(location)
    from boxcar.storage.gcs_store import GcsStore

    return GcsStore(location)


def enclosing_folders(uri: str, levels: int = 5) -> Iterator[Store]:
    """The stores of a URI and of the folders around it, the innermost first.

    Args:
        uri: of a file or a folder.
        levels: the number of folders around it. Five lead from any exported file to its run or its model.
    """
    place = uri.rstrip("/") if bucket_location(uri) is not None else str(local_path(uri).absolute())
    for _ in range(levels + 1):
        yield open_store(place)
        place = place.rpartition("/")[0]
        if not place or place.endswith("/"):
            return
