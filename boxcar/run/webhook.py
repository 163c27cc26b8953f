"""A message to whoever is to hear of how something ended, as JSON, to the address that an operator has set."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.retry import Busy, Retry, http_hindrance

WEBHOOK = "BOXCAR_WEBHOOK"  # the variable that holds the address
_SECONDS = 10.0


def post(body: Mapping[str, Any]) -> None:
    """Sends a message where an address is set. The address may hold a key, and is never repeated.

    Raises:
        BoxcarError: 69 where the server cannot be reached, or does not take it.
    """
    url = os.environ.get(WEBHOOK)
    if not url:
        return
    import urllib3

    host = urlsplit(url).hostname
    what, do = "The webhook", f"Correct the address in the Secret that {WEBHOOK} comes from."
    if urlsplit(url).scheme not in ("http", "https") or not host:
        raise BoxcarError(ExitCode.SURROUNDINGS, f"{what}'s address is none.", do)
    with urllib3.PoolManager(retries=False, timeout=_SECONDS) as pool:

        def send() -> int:
            answer = pool.request("POST", url, json=body, redirect=False)
            if answer.status in (429, 500, 502, 503, 504):
                raise Busy(answer.status)
            return answer.status

        try:
            status = Retry(http_hindrance)(send)
        except Busy as error:
            status = error.status
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = type(error).__name__
            raise BoxcarError(ExitCode.SURROUNDINGS, f"{what} at {host} cannot be reached ({reason}).", do) from None
    if status >= 300:
        raise BoxcarError(ExitCode.SURROUNDINGS, f"{what} at {host} answers with status {status}.", do)
