"""Stores behind a proxy that counts requests, cuts connections, responds with 503, and flips bits."""

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from _pytest.mark.structures import ParameterSet
from storage_servers import FaultProxy, Server, first
from stored_folders import LARGE, contents, entry_of, stored, write, write_step

from boxcar.errors import BoxcarError
from boxcar.storage import ABSENT, Changed, open_store
from boxcar.storage.parallel import for_each
from boxcar.sync.transfer import fetch_folder, send_folder


@pytest.fixture(params=["minio", "gcs"])
def harmed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, FaultProxy]]:
    """A folder in a bucket, and the proxy that the client goes through."""
    server: Server = request.getfixturevalue(request.param)
    proxy = FaultProxy(server.port)
    for name, value in server.environment(proxy.address).items():
        monkeypatch.setenv(name, value)
    yield f"{server.scheme}://{server.make_bucket()}/runs/1", proxy
    proxy.close()


def rarer(*faults: str) -> list[ParameterSet]:
    """Those that only the slow tests try."""
    return [pytest.param(fault, marks=pytest.mark.slow) for fault in faults]


class TestRequests:
    """The number of requests of a listing, because servers charge for them."""

    def test_folders_cost_one_request_however_much_lies_in_them(self, harmed: tuple[str, FaultProxy]) -> None:
        uri, proxy = harmed
        store = open_store(uri)
        count = 12 if uri.startswith("gs:") else 1100
        for_each(lambda number: store.write(f"{number % 3}/{number:04}", b""), range(count))
        store.write("3/x", b"")
        del proxy.seen[:]
        assert store.folders() == ["0", "1", "2", "3"]
        assert len(proxy.seen) == 1
        assert [entry.name for entry in store.entries("3")] == ["3/x"]
        assert len(proxy.seen) == 2

    @pytest.mark.slow
    def test_folders_beyond_what_a_server_lists_at_once(self, harmed: tuple[str, FaultProxy]) -> None:
        uri, proxy = harmed
        if uri.startswith("gs:"):
            pytest.skip("The emulator of GCS writes its whole index with every object.")
        store = open_store(uri)
        for_each(lambda number: store.write(f"{number:04}/x", b""), range(1005))
        del proxy.seen[:]
        assert store.folders() == [f"{number:04}" for number in range(1005)]
        assert len(proxy.seen) == 2

    def test_what_consoles_make_for_a_folder_is_none(self, harmed: tuple[str, FaultProxy]) -> None:
        uri, _ = harmed
        if uri.startswith("gs:"):
            pytest.skip("The emulator of GCS cannot hold it.")
        outer = open_store(uri.rpartition("/")[0])
        outer.write(f"{uri.rpartition('/')[2]}/", b"")
        store = open_store(uri)
        store.write("a/x", b"")
        assert store.folders() == ["a"]


class TestHarm:
    """A proxy before a real server cuts connections, responds with 503, and flips bits."""

    files = MappingProxyType({f"{i}": bytes([i]) * 50_000 for i in range(8)})

    @pytest.mark.parametrize("fault", ["unavailable", "damage request", *rarer("cut request", "lose answer", "cut answer")])
    def test_an_upload_survives(self, harmed: tuple[str, FaultProxy], fault: str, tmp_path: Path) -> None:
        uri, proxy = harmed
        here = write_step(tmp_path / "here", dict(self.files))
        for method in ("POST", "PUT") if uri.startswith("gs:") else ("PUT",):
            proxy.fault = first(4, fault, method)  # type: ignore[arg-type]
            send_folder(here, open_store(uri))
        proxy.fault = lambda seen: None
        assert stored(open_store(uri)) == contents(here)

    @pytest.mark.parametrize("fault", ["unavailable", "damage answer", *rarer("cut answer", "lose answer")])
    def test_a_download_survives(self, harmed: tuple[str, FaultProxy], fault: str, tmp_path: Path) -> None:
        uri, proxy = harmed
        here = write_step(tmp_path / "here", dict(self.files))
        send_folder(here, open_store(uri))
        # Only objects: a listing has no checksum that a client could verify.
        proxy.fault = first(4, fault, "GET", "runs")  # type: ignore[arg-type]
        if fault == "damage answer":
            proxy.fault = first(4, fault, "GET", "runs/1/" if uri.startswith("s3:") else "alt=media")  # type: ignore[arg-type]
        fetch_folder(open_store(uri), tmp_path / "there")
        assert contents(tmp_path / "there") == contents(here)

    @pytest.mark.parametrize("fault", ["lose answer", *rarer("unavailable", "cut request")])
    def test_a_large_file_survives(self, harmed: tuple[str, FaultProxy], fault: str, tmp_path: Path) -> None:
        uri, proxy = harmed
        content = secrets.token_bytes(LARGE)
        store = open_store(uri)
        # The last request of an upload in parts puts them together; its answer may be lost as well.
        faults = [first(2, fault, "PUT"), first(1, fault, "POST")]  # type: ignore[arg-type]
        if uri.startswith("gs:"):
            faults.pop()
        proxy.fault = lambda seen: next((found for judge in faults if (found := judge(seen))), None)
        store.upload(write(tmp_path, {"file": content}) / "file", "big", hashlib.sha256(content).hexdigest())
        proxy.fault = first(2, "cut answer", "GET", "big")
        store.download(entry_of(store, "big"), tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == content

    def test_a_conditional_write_knows_its_own_object(self, harmed: tuple[str, FaultProxy]) -> None:
        uri, proxy = harmed
        store = open_store(uri)
        proxy.fault = first(1, "lose answer", "PUT")
        tag = store.write("claim", b"mine", expected=ABSENT)
        assert store.read("claim", tag=tag) == b"mine"
        proxy.fault = first(1, "lose answer", "PUT")
        with pytest.raises(Changed):
            store.write("claim", b"yours", expected=ABSENT)
        assert store.read("claim") == b"mine"

    def test_conditions_are_asked_of_gcs(self, harmed: tuple[str, FaultProxy]) -> None:
        """In GCS's own words: the emulator is taught them here, so that what is sent must be looked at too."""
        uri, proxy = harmed
        if not uri.startswith("gs:"):
            pytest.skip("MinIO keeps conditions, and other tests see that.")
        store = open_store(uri)
        tag = store.write("claim", b"mine", expected=ABSENT)
        newer = store.write("claim", b"mine", expected=tag)
        store.read("claim", tag=newer)
        asked = [(seen.method, seen.path.partition("ifGenerationMatch=")[2].partition("&")[0]) for seen in proxy.seen]
        assert [condition for condition in asked if condition[1]] == [("POST", "0"), ("POST", tag), ("GET", newer)]

    def test_what_stays_unwell_is_said_in_the_end(
        self, harmed: tuple[str, FaultProxy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uri, proxy = harmed
        monkeypatch.setattr("boxcar.retry.PATIENCE_SECONDS", 1.0)
        proxy.fault = lambda seen: "unavailable"
        with pytest.raises(BoxcarError) as error:
            open_store(uri).entries()
        assert error.value.code == 69 and "503" in error.value.what
        assert len(proxy.seen) > 2
