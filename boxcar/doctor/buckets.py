"""Whether buckets can be reached, read, and written with the credentials that are set."""

import contextlib
import secrets

from boxcar.doctor.finding import Finding
from boxcar.errors import BoxcarError
from boxcar.storage import Missing, bucket_location, open_store


def examine_buckets(output: str, data: str | None) -> list[Finding]:
    """A finding for each URI in a bucket: whether `output` can be written, and whether `data` can be read."""
    findings = [_examine(output, writes=True), _examine(data, writes=False) if data else None]
    return [finding for finding in findings if finding is not None]


def _examine(uri: str, *, writes: bool) -> Finding | None:
    try:
        if bucket_location(uri) is None:
            return None
        store = open_store(uri)
        name = f".boxcar-doctor-{secrets.token_hex(8)}"
        if writes:
            content = secrets.token_bytes(16)
            store.write(name, content)
            try:
                if store.read(name) != content:
                    what = f"{uri} returns bytes that differ from those that were written."
                    return Finding("Bucket", False, what, "See the server's log.")
            finally:
                store.delete([name])
        else:
            with contextlib.suppress(Missing):  # what a server that grants access answers
                store.read(name)
    except BoxcarError as error:
        return Finding("Bucket", False, error.what, error.do)
    return Finding("Bucket", True, f"{uri} can be {'read, written, and deleted from' if writes else 'read'}.")
