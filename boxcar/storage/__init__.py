"""Where files lie. Everything outside this package names files by URI or by a path that came from here."""

from boxcar.storage.local import (
    file_sha256,
    folder_sha256,
    is_temporary,
    list_files,
    local_path,
    lock,
    make_folder,
    read_whole_lines,
    remove_tree,
    replace_json,
    replace_pieces,
    replace_text,
)

__all__ = [
    "file_sha256",
    "folder_sha256",
    "is_temporary",
    "list_files",
    "local_path",
    "lock",
    "make_folder",
    "read_whole_lines",
    "remove_tree",
    "replace_json",
    "replace_pieces",
    "replace_text",
]
