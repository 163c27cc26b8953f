"""Files in local folders and buckets, named by URI or by a path that this package returned.

May import `retry` and `errors` only.
"""

from boxcar.storage.cache import cache_folder, fetch_file
from boxcar.storage.local_files import (
    file_sha256,
    folder_sha256,
    is_temporary,
    list_files,
    local_path,
    lock,
    locked,
    make_folder,
    read_whole_lines,
    remove_tree,
    replace_json,
    replace_text,
)
from boxcar.storage.location import bucket_location
from boxcar.storage.store import ABSENT, Changed, Missing, Store, StoredObject
from boxcar.storage.store_factory import open_store

__all__ = [
    "ABSENT",
    "Changed",
    "Missing",
    "Store",
    "StoredObject",
    "bucket_location",
    "cache_folder",
    "fetch_file",
    "file_sha256",
    "folder_sha256",
    "is_temporary",
    "list_files",
    "local_path",
    "lock",
    "locked",
    "make_folder",
    "open_store",
    "read_whole_lines",
    "remove_tree",
    "replace_json",
    "replace_text",
]
