"""Error messages for refused S3 requests, with the name of the setting to change."""

import http.client
import socket
import ssl

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from boxcar.errors import BoxcarError, ExitCode
from boxcar.retry import TransientReason
from boxcar.storage.location import Location
from boxcar.storage.s3_settings import S3Settings

# What the SDK raises itself, and what it passes on from its HTTP client and its credentials.
FAULTS = (MinioException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError, SyntaxError)

_BUSY_STATUS = (408, 425, 429, 500, 502, 503, 504)
# The last three mean that the server received other bytes than those that were sent.
_BUSY_CODES = (
    *("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict"),
    *("XMinioServerNotInitialized", "XMinioReadQuorum", "XMinioWriteQuorum"),
    *("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"),
)
_TOKEN_CODES = ("ExpiredToken", "InvalidToken", "InvalidTokenId", "TokenRefreshRequired")
_REGION_CODES = ("AuthorizationHeaderMalformed", "PermanentRedirect", "Redirect", "IllegalLocationConstraintException")


def transient_reason(error: BaseException) -> TransientReason | None:
    """Why a failed request is worth repeating; None if it is not."""
    status = _status(error)
    if status is not None:
        code = error.code if isinstance(error, S3Error) else None
        return "busy" if status in _BUSY_STATUS or code in _BUSY_CODES else None
    if isinstance(error, urllib3.exceptions.SSLError | ssl.SSLError):
        return None
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError | socket.gaierror):
        return "unreachable"
    if isinstance(error, ConnectionRefusedError):
        return "unreachable"
    # The server was reached, and the connection broke before the response was complete.
    return "busy" if isinstance(error, urllib3.exceptions.HTTPError | http.client.HTTPException | OSError) else None


def explain(error: BaseException, settings: S3Settings, location: Location) -> BoxcarError:
    """The message for an error that no retry solved."""
    server, bucket = settings.endpoint, location.bucket
    code = error.code if isinstance(error, S3Error) else None
    if code == "NoSuchBucket":
        what = f"There is no bucket {bucket} at {server}."
        do = f"Create it, or correct the URI {location.uri} or {settings.endpoint_setting}."
    elif code == "InvalidAccessKeyId":
        what, do = f"{server} does not know the key in {settings.key_setting}.", f"Correct {settings.key_setting}."
    elif code == "SignatureDoesNotMatch":
        what = f"{server} reports that the secret of {settings.secret_setting} does not match the key."
        do = f"Correct {settings.secret_setting}."
    elif code in _TOKEN_CODES:
        what = f"{server} rejects the session token of the key in {settings.key_setting}."
        do = "Renew the credentials and AWS_SESSION_TOKEN."
    elif code == "RequestTimeTooSkewed":
        what = f"This machine's clock differs from that of {server} by more than 15 minutes."
        do = "Set this machine's clock, for example with NTP, or the server's."
    elif code in ("AccessDenied", "AllAccessDisabled", "AccountProblem"):
        what = f"The key in {settings.key_setting} has no permission for this in {location.uri} at {server}."
        do = f"Allow it to list the bucket and to read, write and delete there, or correct {settings.key_setting}."
    elif code in _REGION_CODES:
        what, do = f"The bucket {bucket} is not in the region that AWS_REGION names.", "Set AWS_REGION to the bucket's region."
    elif code in ("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded"):
        what, do = f"{server} has no space left for the bucket {bucket}.", "Free space there, or raise the bucket's quota."
    elif isinstance(error, urllib3.exceptions.SSLError | ssl.SSLError):
        what = f"The certificate of {server} is not trusted on this machine."
        do = f"Set SSL_CERT_FILE to its authority's file, or correct {settings.endpoint_setting} (http:// uses no TLS)."
    elif transient_reason(error) == "busy":
        what = f"{server} failed for too long: {_reason(error)}."
        do = "Wait until the server works again, then run this again."
    elif isinstance(error, S3Error):
        what = f"{server} refused a request for {location.uri}: {code}, {(error.message or 'without a message').rstrip('.')}."
        do = "Check the server's log."
    elif _status(error) is not None:
        what = f"{server} does not respond like an S3 server (HTTP status {_status(error)})."
        do = f"Correct {settings.endpoint_setting}: it must be the address of the S3 API, not of a console."
    elif transient_reason(error) == "unreachable":
        what, do = (
            f"{server} cannot be reached: {_reason(error)}.",
            f"Correct {settings.endpoint_setting}, or start the server.",
        )
    else:
        what = f"{server} cannot be used with the key of {settings.key_setting}: {_reason(error)}."
        do = f"Correct {settings.key_setting} or {settings.endpoint_setting}."
    return BoxcarError(ExitCode.ENVIRONMENT, what, do)


def _status(error: BaseException) -> int | None:
    """The HTTP status of the response; None if there was no response."""
    if isinstance(error, S3Error):
        return error.response.status
    if isinstance(error, ServerError):
        return error.status_code
    if isinstance(error, InvalidResponseError):
        return error._code  # the SDK has no public attribute for it
    return None


def _reason(error: BaseException) -> str:
    """A description without the memory addresses in exception texts."""
    if (status := _status(error)) is not None:
        return f"HTTP status {status}"
    cause = error.__cause__ or error.__context__
    if reason := next((e.strerror for e in (cause, error) if isinstance(e, OSError) and e.strerror), None):
        return reason
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return "the request timed out"
    return "the connection broke" if isinstance(error, urllib3.exceptions.HTTPError) else type(error).__name__
