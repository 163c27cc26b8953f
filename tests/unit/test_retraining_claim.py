"""One retraining of a model runs at a time, and a killed one blocks the others for a while only."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from storage_servers import GCS

from boxcar.errors import BoxcarError, ExitCode
from boxcar.retraining.claim import CLAIM, Claim
from boxcar.storage import open_store
from boxcar.storage.folder_store import FolderStore

# Renewed every 0.1 s; expires after 1.5 s.
HOLD = """
import sys, time
from boxcar.retraining.claim import Claim
from boxcar.storage import open_store
with Claim(open_store(sys.argv[1]), 0.1, 1.5):
    print("mine", flush=True)
    time.sleep(float(sys.argv[2]))
print("done", flush=True)
"""


def hold(uri: str, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, uri, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def claim(uri: str) -> Claim:
    return Claim(open_store(uri), 0.1, 1.5)


@pytest.fixture(params=["folder", "minio", GCS])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "model")
    server = request.getfixturevalue(request.param)
    for name, value in server.environment(server.address).items():
        monkeypatch.setenv(name, value)
    return f"{server.scheme}://{server.make_bucket()}/models/one"


def test_a_second_claim_is_refused(model: str) -> None:
    with claim(model), pytest.raises(BoxcarError, match=r"Another retraining of .* is running") as raised:
        claim(model).__enter__()
    assert raised.value.code == 69 and f"process {os.getpid()}" in raised.value.what
    with claim(model):  # the first one has released it
        pass


def test_the_claim_of_a_killed_process_expires(model: str) -> None:
    process = hold(model, 60)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    process.kill()
    process.wait()
    with claim(model):
        pass


def test_a_process_whose_claim_expired_is_terminated(model: str) -> None:
    process = hold(model, 60)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    process.send_signal(signal.SIGSTOP)  # as when a laptop is closed
    with claim(model):
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == -signal.SIGTERM
        content = open_store(model).read(CLAIM)
        assert f"process {os.getpid()}".encode() in content


def test_one_of_many_claims_at_once_succeeds(model: str) -> None:
    got: list[str] = []
    barrier, over = threading.Barrier(8), threading.Event()

    def attempt() -> None:
        mine: Any = claim(model)
        barrier.wait()
        try:
            with mine:
                got.append("mine")
                over.wait(60)
        except BoxcarError as error:
            got.append(error.what)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60
    while len(got) < 8 and time.monotonic() < until:
        time.sleep(0.05)
    over.set()
    for thread in threads:
        thread.join()
    assert got.count("mine") == 1 and len(got) == 8, got


def test_a_claim_survives_a_renewal_whose_response_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has lost its claim gets SIGTERM."""
    terminated: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: terminated.append(number))
    write, lost = FolderStore.write, threading.Event()
    beats: list[bytes] = []

    def write_without_response(self: FolderStore, name: str, content: bytes, expected: str | None = None) -> str:
        tag = write(self, name, content, expected)
        if name == CLAIM:
            beats.append(content)
            if len(beats) == 2:
                lost.set()
                raise BoxcarError(ExitCode.ENVIRONMENT, "No response.", "Wait.")
        return tag

    monkeypatch.setattr(FolderStore, "write", write_without_response)
    with claim(str(tmp_path)):
        assert lost.wait(60)
        until = time.monotonic() + 60
        while len(beats) < 5 and not terminated and time.monotonic() < until:
            time.sleep(0.05)
    assert not terminated and len(beats) >= 5
    with claim(str(tmp_path)):  # it was released
        pass


@pytest.mark.parametrize("error", [None, ValueError("the real one")])
def test_a_failure_to_release_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception | None
) -> None:
    write = FolderStore.write

    def refuse(self: FolderStore, name: str, content: bytes, expected: str | None = None) -> str:
        if b"null" in content:
            raise BoxcarError(ExitCode.ENVIRONMENT, "The bucket is away.", "Wait.")
        return write(self, name, content, expected)

    monkeypatch.setattr(FolderStore, "write", refuse)
    with nullcontext() if error is None else pytest.raises(ValueError, match="the real one"), claim(str(tmp_path)):
        if error is not None:
            raise error
    assert "The bucket is away." in capsys.readouterr().err


def test_a_claim_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / CLAIM).write_text("{")
    with pytest.raises(BoxcarError, match="is not valid") as raised:
        claim(str(tmp_path)).__enter__()
    assert raised.value.code == 65
