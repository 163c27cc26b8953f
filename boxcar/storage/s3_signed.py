"""Requests for single objects with the standard library's HTTP client, signed by the SDK.

The SDK's own client takes four times as long per request, which dominates for small files.
"""

import http.client
import ssl
import threading
from dataclasses import dataclass
from typing import cast

from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow

from boxcar.storage.s3_settings import READ_SECONDS, S3Settings

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@dataclass(frozen=True)
class Answer:
    """The headers and the body of a successful response."""

    headers: http.client.HTTPMessage
    body: bytes


class SignedRequests:
    """Sends requests for objects of one bucket. Each thread has a connection of its own.

    Args:
        settings: whose client knows the address, the region and the key.
        bucket: the bucket.
    """

    def __init__(self, settings: S3Settings, bucket: str) -> None:
        self._client = settings.client
        self._bucket = bucket
        self._tls = ssl.create_default_context(cafile=settings.certificates) if settings.tls else None
        self._own = threading.local()

    def __call__(
        self, method: str, key: str, headers: dict[str, str], body: bytes | None = None, sha256: str = EMPTY_SHA256
    ) -> Answer | None:
        """The response; None if the server refused the request. Repeating it with the SDK then gives the reason.

        Args:
            method, key, headers, body: the request.
            sha256: of the body. It is signed, and the server refuses a different body.

        Raises:
            OSError, HTTPException: if there was no complete response.
        """
        region = self._client._get_region(self._bucket)
        url = self._client._base_url.build(method=method, region=region, bucket_name=self._bucket, object_name=key)
        provider = self._client._provider
        assert provider is not None
        credentials, now = provider.retrieve(), utcnow()
        signed = {**headers, "Host": url.netloc, "x-amz-content-sha256": sha256, "x-amz-date": to_amz_date(now)}
        if credentials.session_token:
            signed["X-Amz-Security-Token"] = credentials.session_token
        signed = cast(
            dict[str, str],
            sign_v4_s3(
                method=method,
                url=url,
                region=region,
                headers=cast(dict[str, str | list[str] | tuple[str]], signed),
                credentials=credentials,
                content_sha256=sha256,
                date=now,
            ),
        )
        connection = self._connection(url.netloc)
        try:
            connection.request(method, url.path, body, signed)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        return Answer(response.headers, content) if response.status in (200, 206) else None

    def _connection(self, server: str) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            if self._tls is None:
                connection = http.client.HTTPConnection(server, timeout=READ_SECONDS)
            else:
                connection = http.client.HTTPSConnection(server, timeout=READ_SECONDS, context=self._tls)
            self._own.connection = connection
        return connection
