"""Where files lie. Everything outside this package names files by URI or by a path that came from here."""

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
from boxcar.storage.store import ABSENT, Changed, Entry, Missing, Store

__all__ = [
    "ABSENT",
    "Changed",
    "Entry",
    "Missing",
    "Store",
    "bucket_location",
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
]
