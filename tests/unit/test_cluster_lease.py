"""Who is an orphan, by one clock alone."""

from typing import Any

import pytest

from boxcar.cluster.lease import Watchdog
from boxcar.errors import ExitCode
from boxcar.retry import Unreachable

Answer = dict[str, Any] | None | Unreachable
SILENCE = Unreachable(ExitCode.ENVIRONMENT, "The API does not answer: connection refused.", "Wait.")


def lease(version: int, renewed: str = "2026-01-01T00:00:00.000000Z") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "spec": {"renewTime": renewed}}


class Looks:
    """A watchdog with a limit of 10 minutes, whose clock and whose answers a test decides."""

    def __init__(self) -> None:
        self.now, self.answer, self.asked = 1000.0, lease(1), 0  # type: float, Answer, int
        self.dog = Watchdog("boxcar-train-1", 10, read=self._read, clock=lambda: self.now)

    def _read(self) -> dict[str, Any] | None:
        self.asked += 1
        if isinstance(self.answer, Unreachable):
            raise self.answer
        return self.answer

    def after(self, minutes: float, answer: Answer) -> bool:
        """Whether it is an orphan after so many minutes of the same answer, looked at every 10 seconds."""
        self.answer = answer
        for _ in range(round(minutes * 6)):
            self.now += 10
            self.dog.reason()
        return self.dog.reason() is not None


def test_a_lease_that_is_not_renewed_makes_an_orphan() -> None:
    looks = Looks()
    assert not looks.after(9.9, lease(1))
    assert looks.after(0.5, lease(1))
    reason = looks.dog.reason()
    assert reason is not None and reason.code == ExitCode.STOPPED
    assert "10 minutes" in reason.what and "boxcar-train-1" in reason.what and reason.again


def test_a_renewal_counts_whatever_its_clock_says() -> None:
    looks = Looks()
    for version in range(2, 8):
        assert not looks.after(9, lease(version, "1999-01-01T00:00:00.000000Z"))
    assert looks.after(10.5, lease(7, "1999-01-01T00:00:00.000000Z"))


def test_a_lease_that_never_was_or_is_gone_is_renewed_by_nobody() -> None:
    looks = Looks()
    assert not looks.after(9.8, None)
    assert looks.after(0.5, None)
    looks = Looks()
    assert not looks.after(5, lease(1))
    assert looks.after(5.5, None)


def test_while_the_api_does_not_answer_nothing_is_known() -> None:
    looks = Looks()
    assert not looks.after(6, lease(1))
    assert not looks.after(60, SILENCE)
    assert not looks.after(3.8, lease(1))  # what was silent before the outage counts, the outage does not
    assert looks.after(0.5, lease(1))


def test_an_outage_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    looks = Looks()
    looks.after(5, SILENCE)
    assert capsys.readouterr().err.count("connection refused") == 1


def test_the_api_is_not_asked_at_every_pass() -> None:
    looks = Looks()
    for _ in range(100):
        looks.now += 0.5
        looks.dog.reason()
    assert looks.asked == 5


def test_outside_of_a_pod_it_says_so_and_calls_nobody_an_orphan(capsys: pytest.CaptureFixture[str]) -> None:
    assert Watchdog("boxcar-train-1", 10).reason() is None
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in capsys.readouterr().err
