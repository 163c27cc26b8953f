"""Uploaders, downloaders and servers are killed at the worst moment, and disks are full: nothing is lost or half visible."""

import hashlib
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_servers import FaultProxy, GcsEmulator, MinioServer, Seen, Server, serving

from boxcar.errors import BoxcarError
from boxcar.storage import list_files, open_store
from boxcar.storage.checksums import PART_BYTES
from boxcar.sync.transfer import fetch_folder, send_folder

IMPORTS = "import sys, pathlib; from boxcar.storage import open_store; from boxcar.sync.transfer import *; "
SEND = IMPORTS + "print(send_folder(pathlib.Path(sys.argv[2]), open_store(sys.argv[1])))"
FETCH = IMPORTS + "print(fetch_folder(open_store(sys.argv[1]), pathlib.Path(sys.argv[2])))"


@pytest.fixture(scope="module", params=[MinioServer, pytest.param(GcsEmulator, marks=pytest.mark.slow)])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(request.param(tmp_path_factory.mktemp("server") / "data")) as server:
        yield server


@pytest.fixture
def server(started: Server) -> Server:
    """It runs, also after a test that failed while it was away."""
    if started.process is None:
        started.start()
    return started


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    proxy = FaultProxy(server.port)
    for name, value in server.environment(proxy.address).items():
        monkeypatch.setenv(name, value)
    yield proxy
    proxy.close()


@pytest.fixture
def uri(server: Server, proxy: FaultProxy) -> str:
    return f"{server.scheme}://{server.make_bucket()}/run/records"


def write_step(folder: Path, files: dict[str, bytes]) -> Path:
    listed = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    record = json.dumps({"step": "records", "files": listed, "inputs": {}, "parameters": {}}).encode()
    folder.mkdir(exist_ok=True)
    for name, content in {**files, "step.json": record}.items():
        (folder / name).write_bytes(content)
    return folder


def small_files() -> dict[str, bytes]:
    return {f"{number:02}": secrets.token_bytes(20_000) for number in range(40)}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in list_files(folder)}


def is_upload(seen: Seen) -> bool:
    return seen.method in ("PUT", "POST") and seen.bytes > 1000


def at(number: int, wanted: Callable[[Seen], bool], act: Callable[[], Any]) -> Callable[[Seen], None]:
    """Acts when so many wanted requests have come; from then on they are only passed on."""
    count = [0]
    lock = threading.Lock()

    def judge(seen: Seen) -> None:
        with lock:
            count[0] += wanted(seen)
            now = wanted(seen) and count[0] == number
        if now:
            act()

    return judge


def killed_at(number: int, wanted: Callable[[Seen], bool], proxy: FaultProxy, code: str, *arguments: str) -> None:
    """Runs Python code until the proxy has seen so many wanted requests, and kills it there."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    proxy.fault = at(number, wanted, process.kill)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -9, errors.decode()
    proxy.settle()
    proxy.fault = lambda seen: None
    proxy.seen.clear()


def lose(server: Server, proxy: FaultProxy) -> None:
    """Kills the server. The emulator of GCS would not start again from an index half written, so it is cut off instead."""
    if isinstance(server, MinioServer):
        server.kill()
    else:
        proxy.down = True


def bring_back(server: Server, proxy: FaultProxy) -> None:
    if isinstance(server, MinioServer):
        server.start()
    else:
        proxy.down = False


def finished(code: str, *arguments: str) -> int:
    """What the code prints, a number."""
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


def test_a_killed_upload_is_taken_up_and_sends_nothing_twice(uri: str, proxy: FaultProxy, tmp_path: Path) -> None:
    here = write_step(tmp_path / "here", small_files())
    killed_at(15, is_upload, proxy, SEND, uri, str(here))
    there = {entry.name: entry.bytes for entry in open_store(uri).entries()}
    assert "step.json" not in there and 5 < len(there) < 40
    # Whoever reads now gets files, and no marker that would let them be believed.
    fetch_folder(open_store(uri), tmp_path / "early")
    assert not (tmp_path / "early" / "step.json").exists()
    sizes = {name: len(content) for name, content in contents(here).items()}
    assert finished(SEND, uri, str(here)) == sum(size for name, size in sizes.items() if name not in there)
    fetch_folder(open_store(uri), tmp_path / "there")
    assert contents(tmp_path / "there") == contents(here)
    assert ".unfinished" not in [entry.name for entry in open_store(uri).entries()]


@pytest.mark.slow
def test_a_killed_upload_of_a_large_file_is_not_there_and_is_sent_again(uri: str, proxy: FaultProxy, tmp_path: Path) -> None:
    here = write_step(tmp_path / "here", {"big": secrets.token_bytes(3 * PART_BYTES + 1)})
    killed_at(2, is_upload, proxy, SEND, uri, str(here))
    assert "big" not in [entry.name for entry in open_store(uri).entries()]
    finished(SEND, uri, str(here))
    fetch_folder(open_store(uri), tmp_path / "there")
    assert contents(tmp_path / "there") == contents(here)


@pytest.mark.slow
def test_a_killed_replacement_leaves_no_step_and_is_taken_up(uri: str, proxy: FaultProxy, tmp_path: Path) -> None:
    old = write_step(tmp_path / "old", {**small_files(), "only old": b"o" * 2000})
    send_folder(old, open_store(uri))
    new = write_step(tmp_path / "new", small_files())
    killed_at(10, is_upload, proxy, SEND, uri, str(new))
    assert "step.json" not in [entry.name for entry in open_store(uri).entries()]
    finished(SEND, uri, str(new))
    assert {entry.name: entry.bytes for entry in open_store(uri).entries()} == {n: len(c) for n, c in contents(new).items()}


def test_a_killed_download_is_taken_up_and_fetches_nothing_twice(uri: str, proxy: FaultProxy, tmp_path: Path) -> None:
    here, there = write_step(tmp_path / "here", small_files()), tmp_path / "there"
    send_folder(here, open_store(uri))
    killed_at(
        15,
        lambda seen: seen.method == "GET" and ("/records/" in seen.path or "alt=media" in seen.path),
        proxy,
        FETCH,
        uri,
        str(there),
    )
    got = contents(there)
    assert "step.json" not in got and len(got) < 40
    assert all(content == contents(here)[name] for name, content in got.items())
    assert finished(FETCH, uri, str(there)) == sum(len(c) for name, c in contents(here).items() if name not in got)
    assert contents(there) == contents(here)
    assert sorted(path.name for path in there.iterdir()) == list_files(here)  # the kill's temporary files are gone


@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_server_that_is_killed_and_comes_back(
    uri: str, server: Server, proxy: FaultProxy, large: bool, tmp_path: Path
) -> None:
    here = write_step(tmp_path / "here", {"big": secrets.token_bytes(5 * PART_BYTES)} if large else small_files())

    def bounce() -> None:
        lose(server, proxy)
        threading.Timer(1.5, bring_back, (server, proxy)).start()

    proxy.fault = at(3 if large else 10, is_upload, bounce)
    assert send_folder(here, open_store(uri)) > 0
    proxy.fault = at(3 if large else 10, lambda seen: seen.method == "GET", bounce)
    fetch_folder(open_store(uri), tmp_path / "there")
    assert contents(tmp_path / "there") == contents(here)


def test_a_server_that_stays_away_leaves_no_half_step(
    uri: str, server: Server, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boxcar.retry.PATIENCE_SECONDS", 1.0)
    here = write_step(tmp_path / "here", small_files())
    proxy.fault = at(10, is_upload, lambda: lose(server, proxy))
    with pytest.raises(BoxcarError) as error:
        send_folder(here, open_store(uri))
    assert error.value.code == 69
    bring_back(server, proxy)
    assert "step.json" not in [entry.name for entry in open_store(uri).entries()]
    send_folder(here, open_store(uri))
    fetch_folder(open_store(uri), tmp_path / "there")
    assert contents(tmp_path / "there") == contents(here)


def test_a_full_disk(uri: str, tmp_path: Path) -> None:
    here, disk = write_step(tmp_path / "here", small_files()), tmp_path / "disk"
    send_folder(here, open_store(uri))
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"A small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        with pytest.raises(BoxcarError) as error:
            fetch_folder(open_store(uri), disk / "there")
        assert error.value.code == 69
        assert str(disk) in error.value.what and "No space left on device" in error.value.what
        names = sorted(path.name for path in (disk / "there").iterdir())
        assert "step.json" not in names and not [name for name in names if name.startswith(".")]
        assert all((disk / "there" / name).read_bytes() == (here / name).read_bytes() for name in names)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        fetch_folder(open_store(uri), disk / "there")
        assert contents(disk / "there") == contents(here)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
