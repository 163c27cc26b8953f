"""Where files lie. Everything outside this package names files by URI or by a path that came from here."""

from boxcar.storage.follow import Follower
from boxcar.storage.local import (
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
    replace_pieces,
    replace_text,
)
from boxcar.storage.location import bucket_location, open_store
from boxcar.storage.mirror import Mirror, cache_folder, fetch_file, with_uris
from boxcar.storage.store import ABSENT, Changed, Entry, Missing, Store
from boxcar.storage.transfer import fetch_folder, send_folder

__all__ = [
    "ABSENT",
    "Changed",
    "Entry",
    "Follower",
    "Mirror",
    "Missing",
    "Store",
    "bucket_location",
    "cache_folder",
    "fetch_file",
    "fetch_folder",
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
    "replace_pieces",
    "replace_text",
    "send_folder",
    "with_uris",
]
