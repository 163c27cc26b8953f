"""A prefix in a bucket of S3, MinIO, or a compatible server."""

import contextlib
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from minio.datatypes import Part
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from boxcar.errors import BoxcarError, ExitCode
from boxcar.retry import Retry
from boxcar.storage.checksums import part_bytes, parts_checksum
from boxcar.storage.location import Location
from boxcar.storage.parallel import in_order
from boxcar.storage.s3_errors import FAULTS, explain, transient_reason
from boxcar.storage.s3_settings import read_s3_settings
from boxcar.storage.s3_signed import SignedRequests
from boxcar.storage.store import ABSENT, Changed, Missing, Store, StoredObject, expected_pieces

_TYPE = {"Content-Type": "application/octet-stream"}
_ETAG = re.compile(r"([0-9a-f]{32})(?:-(\d+))?")

Answer = TypeVar("Answer")


class S3Store(Store):
    """Objects below a prefix.

    The server verifies the bytes of each request by their SHA-256, or of a part of a large object over https by their MD5.

    The SDK's public methods do not support conditions, ranges of a known version, and retries of single parts, so this class
    calls some private ones. The lock file pins the SDK's version, and tests run against a real server.
    """

    def __init__(self, location: Location) -> None:
        self._settings = read_s3_settings()
        super().__init__(location.uri, self._settings.endpoint)
        self._client = self._settings.client
        self._location = location
        self._bucket = location.bucket
        self._signed = SignedRequests(self._settings, location.bucket)
        self._retry = Retry(transient_reason)
        self._encrypted = False  # with KMS keys: then tags are not hashes of the content

    def entries(self, below: str = "") -> list[StoredObject]:
        root = self._location.root
        prefix = self._key(f"{below}/" if below else "")
        found = self._ask(lambda: list(self._client.list_objects(self._bucket, prefix or None, recursive=True)))
        entries = []
        for item in found:
            name, size, tag = str(item.object_name).removeprefix(root), item.size or 0, item.etag or ""
            # If a person creates a folder, consoles create an empty object `folder/`.
            if not (name.endswith("/") or not name) or size:
                entries.append(StoredObject(name, size, tag, _checksum(tag, size), _seconds(item.last_modified)))
        return sorted(entries, key=lambda entry: entry.name)

    def folders(self) -> list[str]:
        root = self._location.root
        found = self._ask(lambda: list(self._client.list_objects(self._bucket, root or None)))
        names = {str(item.object_name).removeprefix(root).removesuffix("/") for item in found if item.is_dir}
        return sorted(names - {""})  # which consoles create for the folder itself

    def read(self, name: str, start: int = 0, length: int | None = None, tag: str | None = None) -> bytes:
        if length == 0:
            return b""
        condition = {"If-Match": f'"{tag}"'} if tag else {}
        span = (
            {} if not start and length is None else {"Range": f"bytes={start}-{'' if length is None else start + length - 1}"}
        )

        def ask() -> bytes:
            if (answer := self._signed("GET", self._key(name), {**condition, **span})) is not None:
                self._encrypted |= answer.headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
                return answer.body
            response = self._client.get_object(
                self._bucket, self._key(name), offset=start, length=length or 0, request_headers=dict(condition)
            )
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

        return self._ask(ask, name)

    def entry(self, name: str) -> StoredObject | None:
        try:
            found = self._ask(lambda: self._client.stat_object(self._bucket, self._key(name)), name)
        except Missing:
            return None
        size, tag = found.size or 0, found.etag or ""
        return StoredObject(name, size, tag, _checksum(tag, size), _seconds(found.last_modified))

    def _put(self, name: str, content: bytes, sha256: str, expected: str | None) -> str:
        condition = {} if expected is None else {"If-None-Match": "*"} if expected == ABSENT else {"If-Match": f'"{expected}"'}
        attempts = 0

        def ask() -> str:
            nonlocal attempts
            attempts += 1
            if (answer := self._signed("PUT", self._key(name), {**_TYPE, **condition}, content, sha256)) is not None:
                return answer.headers.get("ETag", "").strip('"')
            result = self._client._put_object(self._bucket, self._key(name), content, headers={**_TYPE, **condition})
            return result.etag or ""

        try:
            return self._ask(ask, name)
        except (Changed, Missing):
            # An earlier attempt may have succeeded although its response was lost.
            if attempts > 1 and (entry := self.entry(name)) is not None and self.read(name, tag=entry.tag) == content:
                return entry.tag
            raise Changed(f"{self.uri}/{name}") from None

    def delete(self, names: Iterable[str]) -> None:
        objects = [DeleteObject(self._key(name)) for name in names]
        errors = self._ask(lambda: list(self._client.remove_objects(self._bucket, objects))) if objects else []
        for error in errors:
            raise BoxcarError(
                ExitCode.ENVIRONMENT,
                f"{self._settings.endpoint} did not remove s3://{self._bucket}/{error.name}: {error.code}.",
                f"Allow the key of {self._settings.key_setting} to delete in {self.uri}.",
            )

    def _upload_large(self, file: int, size: int, name: str, sha256: str | None) -> None:
        """Uploads in parts. If the process is killed, its parts stay until the bucket's lifecycle rule removes them."""
        key = self._key(name)
        upload = self._ask(lambda: self._client._create_multipart_upload(self._bucket, key, dict(_TYPE)))

        def send(numbered: tuple[int, bytes]) -> Part:
            number, piece = numbered
            return Part(number, self._ask(lambda: self._client._upload_part(self._bucket, key, piece, None, upload, number)))

        parts: list[Part] = []
        try:
            parts.extend(in_order(send, enumerate(expected_pieces(file, size, name, sha256), 1)))
            self._ask(lambda: self._complete(key, upload, parts))
        except Missing:
            # The upload no longer exists: an earlier attempt to complete it succeeded, but its response was lost.
            entry = self.entry(name)
            if entry is None or entry.checksum != parts_checksum(bytes.fromhex(part.etag) for part in parts):
                raise Changed(f"{self.uri}/{name}") from None
        except BaseException:
            with contextlib.suppress(*FAULTS):  # it only frees space, and the error itself is raised below
                self._client._abort_multipart_upload(self._bucket, key, upload)
            raise

    def _complete(self, key: str, upload: str, parts: list[Part]) -> None:
        if not self._client._complete_multipart_upload(self._bucket, key, upload, parts).etag:
            # S3 responds with 200 before it starts, and may fail afterwards.
            raise ConnectionError("the server did not put the parts together")

    def checksum(self, entry: StoredObject) -> str | None:
        return None if self._encrypted else entry.checksum

    def _key(self, name: str) -> str:
        return self._location.root + name

    def _ask(self, ask: Callable[[], Answer], name: str = "") -> Answer:
        """Sends the request, and retries it while the error is transient.

        Raises:
            Missing, Changed: if the server reports it for the object.
            BoxcarError: 69 for every other error.
        """
        try:
            return self._retry(ask)
        except FAULTS as error:
            if isinstance(error, S3Error) and error.code in ("NoSuchKey", "NoSuchUpload"):
                raise Missing(f"{self.uri}/{name}") from error
            if isinstance(error, S3Error) and error.code == "PreconditionFailed":
                raise Changed(f"{self.uri}/{name}") from error
            raise explain(error, self._settings, self._location) from error


def _checksum(tag: str, size: int) -> str | None:
    """The checksum in a tag, if it is a hash of the bytes as this store would send them."""
    match = _ETAG.fullmatch(tag)
    if match is None or (match[2] is not None and int(match[2]) != -(-size // part_bytes(size))):
        return None
    return f"md5 {tag}" if match[2] is None else f"parts {tag}"


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
