"""Promotions and additions that are killed at a write. The model stays valid, and the same command completes them."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from registered import write_run
from storage_servers import FaultProxy, GcsEmulator, MinioServer, Seen, Server, serving

from boxcar.registry import (
    Model,
    add_version,
    list_versions,
    promote_regardless,
    read_aliases,
    read_version,
)

PROMOTE = """
import sys
from boxcar.registry import *
promote_regardless(Model(sys.argv[1], "pets"), "2", "I say so.")
"""
ADD = """
import sys
from boxcar.registry import *
add_version(Model(sys.argv[1], "pets"), sys.argv[2])
"""
# On a local disk: kills the process right before or right after the n-th file is renamed to its final name.
DYING = """
import os, pathlib, signal, sys
number, late = int(sys.argv.pop()), int(sys.argv.pop())
replace, count = pathlib.Path.replace, 0

def dying(self, target):
    global count
    count += 1
    if count == number and not late:
        os.kill(os.getpid(), signal.SIGKILL)
    result = replace(self, target)
    if count == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

pathlib.Path.replace = dying
"""


@pytest.fixture(params=[MinioServer, GcsEmulator])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with serving(request.param(tmp_path / "server")) as server:
        yield server


@pytest.fixture
def proxy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    proxy = FaultProxy(server.port)
    for name, value in server.environment(proxy.address).items():
        monkeypatch.setenv(name, value)
    yield proxy
    proxy.close()


def killed_at_write(number: int, proxy: FaultProxy, code: str, *arguments: str) -> bool:
    """Runs code and kills it when its n-th write arrives at the server. Returns False if it ended before."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)
    writes = 0

    def judge(seen: Seen) -> None:
        nonlocal writes
        if seen.method in ("PUT", "POST", "DELETE"):
            writes += 1
            if writes == number:
                process.kill()

    proxy.fault = judge
    _, errors = process.communicate(timeout=300)
    proxy.settle()
    proxy.fault = lambda seen: None
    if process.returncode == 0:
        return False
    assert process.returncode == -signal.SIGKILL, errors.decode()
    return True


def check_state(model: Model, before: str) -> str:
    """The champion. Its version must be complete, and the history must end with it."""
    state = read_aliases(model)
    assert state.champion in (before, "2")
    assert state.aliases["champion"] == state.champion == state.history[-1].champion
    read_version(model, state.champion)
    return state.champion


@pytest.mark.slow
def test_a_promotion_in_a_bucket_killed_at_every_write(proxy: FaultProxy, server: Server, tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / f"run {seed}", seed=seed)) for seed in (1, 2)]
    model = Model(f"{server.scheme}://{server.make_bucket()}/models", "pets")
    for run in runs:
        add_version(model, run)
    promote_regardless(model, "1", "The first.")
    content = model.store.read("aliases.json")
    number, ends = 1, set()
    while killed_at_write(number, proxy, PROMOTE, model.models):
        ends.add(check_state(model, "1"))
        model.store.write("aliases.json", content)
        number += 1
    assert number == 2  # a promotion is one write
    assert ends and read_aliases(model).champion == "2"


@pytest.mark.slow
def test_an_addition_to_a_bucket_killed_at_many_writes(proxy: FaultProxy, server: Server, tmp_path: Path) -> None:
    run = str(write_run(tmp_path / "run"))
    for number in (1, 9, 14, 19, 24):  # the split, its marker, the state, the version's files, its marker
        model = Model(f"{server.scheme}://{server.make_bucket()}/models", "pets")
        assert killed_at_write(number, proxy, ADD, model.models, run)
        # Each version is complete or reported as incomplete, and the same command completes it.
        for listed in list_versions(model):
            assert listed.version is not None or listed.trouble
        assert add_version(model, run) == "1"
        (listed,) = list_versions(model)
        assert listed.version is not None


def test_a_promotion_on_a_local_disk_killed_at_every_write(tmp_path: Path) -> None:
    model = Model(str(tmp_path / "models"), "pets")
    for seed in (1, 2):
        add_version(model, str(write_run(tmp_path / f"run {seed}", seed=seed)))
    promote_regardless(model, "1", "The first.")
    content = (Path(model.uri) / "aliases.json").read_bytes()
    ends = []
    for late in (0, 1):
        number = 1
        while True:
            done = subprocess.run(
                [sys.executable, "-c", DYING + PROMOTE, model.models, str(late), str(number)],
                capture_output=True,
                timeout=60,
            )
            if done.returncode == 0:
                break
            assert done.returncode == -signal.SIGKILL, done.stderr.decode()
            ends.append(check_state(model, "1"))
            (Path(model.uri) / "aliases.json").write_bytes(content)
            number += 1
        assert read_aliases(model).champion == "2"
        (Path(model.uri) / "aliases.json").write_bytes(content)
    assert ends == ["1", "2"]  # before the one write, and after it
