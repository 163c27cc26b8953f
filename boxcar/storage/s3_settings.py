"""Address and credentials of S3 from the environment. Each setting keeps its name for error messages.

docs/reference/buckets.md lists the sources of each setting, in their order.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import AWSConfigProvider, EnvAWSProvider, EnvMinioProvider, IamAwsProvider, Provider

from boxcar.errors import BoxcarError, ExitCode

ENDPOINTS = ("BOXCAR_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
AMAZON = "https://s3.amazonaws.com"
READ_SECONDS = 60.0
TIMEOUT = urllib3.Timeout(connect=5.0, read=READ_SECONDS)
# Instance metadata responds at once or not at all.
_METADATA_TIMEOUT = urllib3.Timeout(connect=1.0, read=5.0)
_CONNECTIONS = 10


@dataclass(frozen=True)
class S3Settings:
    """One server and its client.

    Attributes:
        client: the SDK's; it does not retry by itself.
        endpoint: the server's address.
        tls: whether requests use https.
        certificates: the file of the authorities that are trusted.
        endpoint_setting, key_setting, secret_setting: the variables that the address, the key id, and the secret come from.
    """

    client: Minio
    endpoint: str
    tls: bool
    certificates: str
    endpoint_setting: str
    key_setting: str
    secret_setting: str


def read_s3_settings() -> S3Settings:
    """Reads the settings from the environment. Sends no request to the server.

    Raises:
        BoxcarError: 69 if a setting is not well-formed, or there are no credentials.
    """
    setting, endpoint = _first(*ENDPOINTS) or (ENDPOINTS[0], AMAZON)
    try:
        parts = urlsplit(endpoint)
        parts.port  # noqa: B018 - raises if it is not a number
    except ValueError as error:
        raise _malformed(setting) from error
    beyond = parts.path.strip("/") or parts.query or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or beyond:
        raise _malformed(setting)
    amazon = parts.hostname.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    region = _first("AWS_REGION", "AWS_DEFAULT_REGION") or ("", None if amazon else "us-east-1")
    tls, certificates = parts.scheme == "https", _certificates()
    http = urllib3.PoolManager(
        timeout=TIMEOUT, retries=False, maxsize=_CONNECTIONS, cert_reqs="CERT_REQUIRED", ca_certs=certificates
    )
    provider, key_setting, secret_setting = _credentials(None if amazon else endpoint)
    client = Minio(parts.netloc, secure=tls, region=region[1], http_client=http, credentials=provider)
    return S3Settings(client, endpoint, tls, certificates, setting, key_setting, secret_setting)


def _first(*names: str) -> tuple[str, str] | None:
    """The first of these variables that has a value, and the value."""
    return next(((name, value) for name in names if (value := os.environ.get(name, "").strip())), None)


def _malformed(setting: str) -> BoxcarError:
    # Without its value: an address may contain a password.
    what = f"{setting} is not the address of a server."
    return BoxcarError(ExitCode.ENVIRONMENT, what, f"Set {setting} to http:// or https:// and a host, with its port if needed.")


def _certificates() -> str:
    setting, path = _first("AWS_CA_BUNDLE", "SSL_CERT_FILE") or ("", certifi.where())
    if not Path(path).is_file():
        what = f"{setting} names {path}, which is not a file."
        raise BoxcarError(ExitCode.ENVIRONMENT, what, f"Set {setting} to a file of certificates in PEM format.")
    return path


def _credentials(sts: str | None) -> tuple[Provider, str, str]:
    """The provider of the key, and the settings with its id and its secret.

    The kind of credentials is decided once, here. A chain that tries one after the other would report a problem of the last
    kind, although the first one may contain the typo.
    """
    for key, secret, kind in (
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", EnvAWSProvider),
        ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", EnvMinioProvider),
    ):
        found = [name for name in (key, secret) if os.environ.get(name)]
        if len(found) == 2:
            return kind(), key, secret
        if found:
            missing = secret if found == [key] else key
            raise BoxcarError(ExitCode.ENVIRONMENT, f"{found[0]} is set, and {missing} is not.", f"Set {missing} as well.")
    file = _first("AWS_SHARED_CREDENTIALS_FILE")
    if file is not None or (Path.home() / ".aws" / "credentials").is_file():
        name = file[0] if file else "~/.aws/credentials"
        provider: Provider = AWSConfigProvider()
        problem = "has no key for the profile of AWS_PROFILE (default: `default`)"
        return _tried(provider, f"The file of {name} {problem}.", f"Correct {name} or AWS_PROFILE."), name, name
    http = urllib3.PoolManager(timeout=_METADATA_TIMEOUT, retries=False, ca_certs=_certificates())
    if token := _first("AWS_WEB_IDENTITY_TOKEN_FILE"):
        endpoint = _first("AWS_ENDPOINT_URL_STS") or ("", sts)
        provider = IamAwsProvider(custom_endpoint=endpoint[1], http_client=http)
        problem = f"The web identity of {token[0]} was not accepted for the role of AWS_ROLE_ARN"
        do = f"Correct {token[0]}, AWS_ROLE_ARN or AWS_ENDPOINT_URL_STS."
        return _tried(provider, f"{problem}.", do), token[0], token[0]
    name = "the machine's instance metadata"
    provider = IamAwsProvider(http_client=http)
    problem = "There is no key for S3 in the environment, a file, a web identity, or the instance metadata"
    do = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE."
    return _tried(provider, f"{problem}.", do), name, name


def _tried(provider: Provider, what: str, do: str) -> Provider:
    """The provider, after it has provided credentials once."""
    try:
        provider.retrieve()
    except (ValueError, KeyError, OSError, urllib3.exceptions.HTTPError, SyntaxError) as error:
        raise BoxcarError(ExitCode.ENVIRONMENT, what, do) from error
    return provider
