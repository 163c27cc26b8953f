"""Retries of requests: exponential back-off with jitter, as long as a retry may help. And waiting through a long outage."""

import time
from collections.abc import Callable
from typing import Literal, TypeVar

import tenacity

from boxcar.errors import BoxcarError

# A server that has never answered is most often a wrong address, and a person is waiting. One that has answered is being
# restarted or moved or is overloaded, and is worth waiting for.
FIRST_CONTACT_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 10.0
OUTAGE_SECONDS = 3600.0  # that the server of a Job or run may be unreachable

# Why a request failed for the moment: the server was not reached, or it was and is busy. None: a retry cannot help.
TransientReason = Literal["unreachable", "busy"]

Answer = TypeVar("Answer")


class Unreachable(BoxcarError):
    """A server does not answer."""


class Busy(Exception):
    """A server answers that it is busy.

    Args:
        status: of its answer.
        reason: the server's own message, if there is one.
    """

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason or f"status {status}"


def transient_http_reason(error: BaseException) -> TransientReason | None:
    """Why a request by urllib3 failed for the moment. An answer that a retry may change is raised as Busy."""
    import urllib3

    if isinstance(error, Busy):
        return "busy"
    if isinstance(error, urllib3.exceptions.SSLError):
        return None  # a retry meets the same certificate
    return "unreachable" if isinstance(error, urllib3.exceptions.HTTPError | OSError) else None


def network_reason(error: BaseException) -> str:
    """A network error's message, without the connection's address in memory."""
    return " ".join(str(error).rpartition(": ")[2].split()) or type(error).__name__


class Retry:
    """Calls functions that ask one server, and calls them again if that may help.

    Args:
        transient_reason: why a retry may help after an exception; None if it cannot.
    """

    def __init__(self, transient_reason: Callable[[BaseException], TransientReason | None]) -> None:
        self._transient_reason = transient_reason
        self._answered = False

    def __call__(self, ask: Callable[[], Answer]) -> Answer:
        """The answer, or the exception of the last attempt. `ask` may be called several times."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: self._transient_reason(error) is not None),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=LONGEST_PAUSE_SECONDS),
            stop=self._stop,
            reraise=True,
        )
        answer = attempts(ask)
        self._answered = True
        return answer

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        if state.outcome is not None and (error := state.outcome.exception()) is not None:
            self._answered |= self._transient_reason(error) == "busy"
        seconds = PATIENCE_SECONDS if self._answered else FIRST_CONTACT_SECONDS
        return (state.seconds_since_start or 0.0) >= seconds


def poll(look: Callable[[], Answer | None], pause: Callable[[], float], say: Callable[[str], None], followed: str) -> Answer:
    """Asks about something on a server until there is a result. An outage of up to an hour is waited through.

    Args:
        look: returns None as long as there is no result.
        pause: returns the seconds until the next look.
        say: receives a sentence when an outage starts, and one when it ends.
        followed: what continues during an outage, such as "The Job".

    Raises:
        Unreachable: if the server does not answer for an hour.
    """
    outage: float | None = None
    while True:
        try:
            result = look()
        except Unreachable as error:
            if outage is None:
                outage = time.monotonic()
                say(f"{error.what} {followed} continues.")
            if time.monotonic() - outage > OUTAGE_SECONDS:
                raise
        else:
            if outage is not None:
                outage = None
                say("The server is reachable again.")
            if result is not None:
                return result
        time.sleep(pause())
