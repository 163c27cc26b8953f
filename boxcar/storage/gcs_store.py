"""A prefix in a bucket of Google Cloud Storage.

Credentials are what Google's own chain finds: GOOGLE_APPLICATION_CREDENTIALS (a mounted key, or a workload identity
federation's file), `gcloud auth application-default login`, then the machine's or the pod's workload identity.
STORAGE_EMULATOR_HOST (`http://host:port`) names another server, which is used without credentials.
"""

import base64
import contextlib
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

import requests
import urllib3
from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from boxcar import retry
from boxcar.errors import BoxcarError, ExitCode
from boxcar.retry import Retry, TransientReason
from boxcar.storage.checksums import PART_BYTES
from boxcar.storage.location import Location
from boxcar.storage.parallel import for_each
from boxcar.storage.store import ABSENT, Changed, Missing, Store, StoredObject, expected_pieces

KEY_SETTING = "GOOGLE_APPLICATION_CREDENTIALS"
EMULATOR_SETTING = "STORAGE_EMULATOR_HOST"
FAULTS = (
    *(GoogleAPICallError, GoogleAuthError, InvalidResponse, DataCorruption),
    *(requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError),
)
_BUSY_STATUS = (408, 429, 500, 502, 503, 504)
_SESSIONS = 3  # for one large object
_TIMEOUT = (5.0, 60.0)  # seconds to connect, and between two pieces of an answer

Answer = TypeVar("Answer")


class GcsStore(Store):
    """Objects below a prefix. The server verifies uploads by their CRC32C; tags are generations."""

    def __init__(self, location: Location) -> None:
        try:
            # The project only matters for creating and listing buckets.
            client = storage.Client(project=None)
        except (GoogleAuthError, OSError, ValueError) as error:
            raise _explain(error, location) from error
        super().__init__(location.uri, client.api_endpoint)
        self._location = location
        self._client = client
        self._bucket = client.bucket(location.bucket)
        self._retry = Retry(_transient_reason)

    def entries(self, below: str = "") -> list[StoredObject]:
        root = self._location.root
        prefix = root + (f"{below}/" if below else "")
        found = self._ask(
            lambda: list(self._client.list_blobs(self._bucket, prefix=prefix or None, retry=None, timeout=_TIMEOUT))
        )
        entries = []
        for blob in found:
            name = blob.name.removeprefix(root)
            # If a person creates a folder, consoles create an empty object `folder/`.
            if not (name.endswith("/") or not name) or blob.size:
                seconds = blob.updated.timestamp() if blob.updated else 0.0
                entries.append(StoredObject(name, blob.size or 0, str(blob.generation), _checksum(blob), seconds))
        return sorted(entries, key=lambda entry: entry.name)

    def folders(self) -> list[str]:
        root = self._location.root

        def ask() -> list[str]:
            found = self._client.list_blobs(self._bucket, prefix=root or None, delimiter="/", retry=None, timeout=_TIMEOUT)
            for _ in found:
                pass  # the client collects the folders of each page
            return [prefix.removeprefix(root).removesuffix("/") for prefix in found.prefixes]

        return sorted(name for name in self._ask(ask) if name)

    def read(self, name: str, start: int = 0, length: int | None = None, tag: str | None = None) -> bytes:
        if length == 0:
            return b""
        end = None if length is None else start + length - 1

        def ask() -> bytes:
            # Raw: an object with gzip in its metadata must arrive as stored. The checksum of the whole is verified later.
            content: bytes = self._blob(name).download_as_bytes(
                start=start or None,
                end=end,
                if_generation_match=None if tag is None else int(tag),
                raw_download=True,
                checksum=None,
                retry=None,
                timeout=_TIMEOUT,
            )
            return content

        return self._ask(ask, name)

    def entry(self, name: str) -> StoredObject | None:
        blob = self._ask(lambda: self._bucket.get_blob(self._location.root + name, retry=None, timeout=_TIMEOUT))
        return None if blob is None else StoredObject(name, blob.size or 0, str(blob.generation), _checksum(blob))

    def _put(self, name: str, content: bytes, sha256: str, expected: str | None) -> str:
        condition = None if expected is None else 0 if expected == ABSENT else int(expected)
        attempts = 0

        def ask() -> str:
            nonlocal attempts
            attempts += 1
            blob = self._blob(name)
            blob.upload_from_string(
                content,
                content_type="application/octet-stream",
                if_generation_match=condition,
                checksum="crc32c",
                retry=None,
                timeout=_TIMEOUT,
            )
            return str(blob.generation)

        try:
            return self._ask(ask)
        except Changed:
            # An earlier attempt may have succeeded although its response was lost.
            if attempts > 1 and (entry := self.entry(name)) is not None and self.read(name, tag=entry.tag) == content:
                return entry.tag
            raise Changed(f"{self.uri}/{name}") from None

    def delete(self, names: Iterable[str]) -> None:
        def remove(name: str) -> None:
            with contextlib.suppress(Missing):
                self._ask(lambda: self._blob(name).delete(retry=None, timeout=_TIMEOUT), name)

        for_each(remove, names)

    def _upload_large(self, file: int, size: int, name: str, sha256: str | None) -> None:
        if sha256 is not None:
            # The client sends while it reads, so the file must be checked before.
            for _ in expected_pieces(file, size, name, sha256):
                pass
        # The client resends chunks. But if a response was lost, the server may refuse to resume the session, and a new session
        # must send all chunks.
        patience = DEFAULT_RETRY.with_timeout(retry.PATIENCE_SECONDS)
        sessions = iter(range(_SESSIONS - 1))

        def ask() -> None:
            blob = self._blob(name)
            blob.chunk_size = PART_BYTES
            with os.fdopen(os.dup(file), "rb") as stream:
                stream.seek(0)
                try:
                    blob.upload_from_file(stream, size=size, checksum="crc32c", retry=patience, timeout=_TIMEOUT)
                except GoogleAPICallError as error:
                    if error.code in (400, 404, 410) and next(sessions, None) is not None:
                        raise ConnectionError("the session is lost") from error
                    raise

        self._ask(ask)

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob(self._location.root + name)

    def _ask(self, ask: Callable[[], Answer], name: str = "") -> Answer:
        """Sends the request, and retries it while the error is transient.

        Raises:
            Missing, Changed: if the server reports it for the object.
            BoxcarError: 69 for every other error.
        """
        try:
            return self._retry(ask)
        except FAULTS as error:
            if name and isinstance(error, NotFound) and "bucket does not exist" not in str(error):
                raise Missing(f"{self.uri}/{name}") from error
            if isinstance(error, PreconditionFailed):
                raise Changed(f"{self.uri}/{name}") from error
            raise _explain(error, self._location) from error


def _checksum(blob: storage.Blob) -> str | None:
    """The checksum that the server keeps. An object that was composed of others has no MD5."""
    if blob.md5_hash:
        return f"md5 {base64.b64decode(blob.md5_hash).hex()}"
    return f"crc32c {blob.crc32c}" if blob.crc32c else None


def _status(error: BaseException) -> int | None:
    """The HTTP status of the response; None if there was no response."""
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    return int(error.code) if isinstance(error, GoogleAPICallError) and error.code else None


def _transient_reason(error: BaseException) -> TransientReason | None:
    """Why a failed request is worth repeating; None if it is not."""
    if (status := _status(error)) is not None:
        return "busy" if status in _BUSY_STATUS else None
    if isinstance(error, TransportError):
        return "unreachable"
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return None
    if isinstance(error, requests.ConnectionError) and "NewConnectionError" in repr(error):
        return "unreachable"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "unreachable"
    cut = requests.RequestException | urllib3.exceptions.HTTPError | DataCorruption | ConnectionError | TimeoutError
    return "busy" if isinstance(error, cut) else None


def _explain(error: BaseException, location: Location) -> BoxcarError:
    """The message for an error that no retry solved."""
    emulator = os.environ.get(EMULATOR_SETTING)
    server = f"The server of {EMULATOR_SETTING}" if emulator else "Google Cloud Storage"
    status, setting = _status(error), EMULATOR_SETTING if emulator else KEY_SETTING
    if isinstance(error, DefaultCredentialsError):
        what = f"There are no credentials for {location.uri}: no file of {KEY_SETTING}, and no workload identity."
        do = f"Set {KEY_SETTING} to a service account's file, or run with a workload identity."
    elif isinstance(error, RefreshError):
        what = f"Google did not renew the credentials for {location.uri}: they were revoked, or this machine's clock is wrong."
        do = f"Correct {KEY_SETTING} or the workload identity, and this machine's clock."
    elif status == 404:
        what, do = f"There is no bucket {location.bucket} at {server}.", f"Create it, or correct the URI {location.uri}."
    elif status in (401, 403):
        what = f"The credentials have no permission for this in {location.uri}."
        do = f"Give their account the role Storage Object Admin on the bucket, or correct {KEY_SETTING}."
    elif isinstance(error, requests.exceptions.SSLError):
        what, do = (
            f"The certificate of {server} is not trusted here.",
            "Set REQUESTS_CA_BUNDLE to the file of its certificate authority.",
        )
    elif _transient_reason(error) == "unreachable":
        what = f"{server} cannot be reached."
        do = f"Correct {EMULATOR_SETTING}, or start that server." if emulator else "Check the network, or set HTTPS_PROXY."
    elif _transient_reason(error) == "busy":
        what = f"{server} failed for too long ({f'HTTP status {status}' if status else 'the connection broke'})."
        do = "Wait until the server works again, then run this again."
    else:
        reason = f"HTTP status {status}" if status else type(error).__name__
        what, do = f"{server} refused a request for {location.uri} ({reason}).", f"Correct {setting}."
    return BoxcarError(ExitCode.ENVIRONMENT, what, do)
