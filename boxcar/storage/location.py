"""Locations in buckets, and their URIs."""

import re
from dataclasses import dataclass

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.names import CONTROL

SCHEMES = ("s3", "gs")
# GCS also allows underscores, and longer names if they contain dots.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


@dataclass(frozen=True)
class Location:
    """A folder in a bucket."""

    scheme: str  # "s3" or "gs"
    bucket: str
    prefix: str  # without a slash at either end; empty for the whole bucket

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def root(self) -> str:
        """The prefix of the names of all objects below it."""
        return f"{self.prefix}/" if self.prefix else ""

    def split(self) -> tuple[str, str]:
        """URI of its parent folder, and its own name there.

        Raises:
            BoxcarError: 64 if it is a whole bucket.
        """
        if not self.prefix:
            raise BoxcarError(ExitCode.USAGE, f"{self.uri} names a whole bucket.", "Give a folder or a file in it.")
        parent, _, name = self.uri.rpartition("/")
        return parent, name


def bucket_location(uri: str) -> Location | None:
    """The folder in a bucket that a URI names; None for a plain path or a `file:` URI.

    Nothing is percent-decoded, as in other tools.

    Raises:
        BoxcarError: 64 if the URI is not well-formed.
    """
    scheme, mark, rest = uri.partition("://")
    if not mark or scheme not in SCHEMES:
        return None
    bucket, _, path = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        # It may hold a secret, so the message does not repeat it.
        raise BoxcarError(
            ExitCode.USAGE,
            f"A {scheme}:// URI names only a bucket and a folder in it, never a server, a port, or a key.",
            f"Write {scheme}://bucket/folder; server and key come from the environment.",
        )
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        do = f"Write {scheme}://bucket/folder. A bucket's name has at least 3 lower-case letters, digits, dots, or hyphens."
        raise BoxcarError(ExitCode.USAGE, f"{uri!r} is not a valid bucket URI.", do)
    prefix = path.removesuffix("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise BoxcarError(ExitCode.USAGE, f"{uri!r} has an empty part, `.` or `..` in its path.", "Give the path without them.")
    if CONTROL.search(prefix):
        raise BoxcarError(ExitCode.USAGE, f"{uri!r} contains control characters.", "Give a path without them.")
    return Location(scheme, bucket, prefix)
