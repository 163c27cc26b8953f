"""Notifications: JSON messages about results, sent to the address that an operator has set."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from boxcar.errors import BoxcarError, ExitCode
from boxcar.retry import Busy, Retry, transient_http_reason

WEBHOOK = "BOXCAR_WEBHOOK"  # the variable that holds the address
_SECONDS = 10.0
_CORRECT = f"Correct the address in the Secret that {WEBHOOK} comes from."


def check_address() -> str:
    """The address, or an empty text if none is set. Call this before long work that ends with a notification.

    Raises:
        BoxcarError: 69 if it is not an address. Nothing is sent.
    """
    url = os.environ.get(WEBHOOK, "")
    if url and not _is_address(url):
        what = "The webhook's address is not valid: it must be http:// or https:// with a host, without spaces or line breaks."
        raise BoxcarError(ExitCode.ENVIRONMENT, what, _CORRECT)
    return url


def post(body: Mapping[str, Any]) -> None:
    """Sends a message if an address is set. Errors do not repeat the address, because it may contain a key.

    Raises:
        BoxcarError: 69 if the address is not valid, or the server cannot be reached or refuses the message.
    """
    if not (url := check_address()):
        return
    import urllib3

    what = f"The webhook at {urlsplit(url).hostname}"
    with urllib3.PoolManager(retries=False, timeout=_SECONDS) as pool:

        def send() -> int:
            answer = pool.request("POST", url, json=body, redirect=False)
            if answer.status in (429, 500, 502, 503, 504):
                raise Busy(answer.status)
            return answer.status

        try:
            status = Retry(transient_http_reason)(send)
        except Busy as error:
            status = error.status
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = type(error).__name__
            raise BoxcarError(ExitCode.ENVIRONMENT, f"{what} cannot be reached ({reason}).", _CORRECT) from None
    if status >= 300:
        raise BoxcarError(ExitCode.ENVIRONMENT, f"{what} returned status {status}.", _CORRECT)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # as it is resolved
        return parts.scheme in ("http", "https") and host != "" and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:  # for example an unclosed bracket or a port that is not a number
        return False
