"""What every store must do, tested with a local folder, a real MinIO server, and an emulator of GCS."""

import hashlib
import secrets
import threading
from pathlib import Path

import pytest
from storage_servers import Server
from stored_folders import LARGE, contents, entry_of, step_json, stored, write, write_step

from boxcar.errors import BoxcarError
from boxcar.storage import ABSENT, Changed, Missing, open_store
from boxcar.storage.checksums import PART_BYTES
from boxcar.storage.s3_store import S3Store
from boxcar.sync.transfer import fetch_folder, send_folder


@pytest.fixture(params=["folder", "minio", "gcs"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder that does not exist yet."""
    if request.param == "folder":
        return str(tmp_path / "store" / "run 1")
    server: Server = request.getfixturevalue(request.param)
    for name, value in server.environment(server.address).items():
        monkeypatch.setenv(name, value)
    return f"{server.scheme}://{server.make_bucket()}/runs/run 1"


class TestStore:
    def test_nothing_is_an_empty_folder_and_a_missing_object(self, uri: str) -> None:
        store = open_store(uri)
        assert store.entries() == []
        with pytest.raises(Missing) as error:
            store.read("no such")
        assert error.value.code == 64
        assert uri in error.value.what and "no such" in error.value.what
        store.delete(["no such"])

    def test_what_is_written_is_listed_and_read_whole_and_in_ranges(self, uri: str) -> None:
        store = open_store(uri)
        names = ["a", "b c/ü#?%2B+&.txt", "b/.hidden", "z/y/x"]
        for name in reversed(names):
            store.write(name, f"content of {name}".encode())
        store.write("empty", b"")
        assert [(e.name, e.bytes) for e in store.entries()] == sorted(
            [(name, len(f"content of {name}".encode())) for name in names] + [("empty", 0)]
        )
        assert store.read("a") == b"content of a"
        assert store.read("a", 8) == b"of a"
        assert store.read("a", 3, 4) == b"tent"
        assert store.read("a", 3, 0) == b""
        assert store.read("a", 8, 100) == b"of a"
        assert store.read("b c/ü#?%2B+&.txt") == "content of b c/ü#?%2B+&.txt".encode()
        store.delete(["a", "no such", "z/y/x"])
        assert [entry.name for entry in store.entries()] == ["b c/ü#?%2B+&.txt", "b/.hidden", "empty"]

    def test_neighbours_with_the_same_beginning_are_not_of_the_folder(self, uri: str) -> None:
        open_store(uri).write("a", b"1")
        open_store(f"{uri}0").write("b", b"2")
        assert [entry.name for entry in open_store(uri).entries()] == ["a"]

    def test_folders_are_those_directly_below_that_hold_something(self, uri: str) -> None:
        store = open_store(uri)
        assert store.folders() == []
        for name in ("beside", "b/1", "b/x/2", "a+b c/ü#%2B&/3", "b0/4", ".hidden/5"):
            store.write(name, b"1")
        open_store(f"{uri}0").write("other/6", b"2")
        assert store.folders() == [".hidden", "a+b c", "b", "b0"]
        store.delete(["b/1", "b/x/2"])
        assert store.folders() == [".hidden", "a+b c", "b0"]

    def test_one_folder_is_listed_alone(self, uri: str) -> None:
        store = open_store(uri)
        for name in ("b", "a b+/1", "a b+/x/2", "a b+0/3"):
            store.write(name, name.encode())
        assert [(entry.name, entry.bytes) for entry in store.entries("a b+")] == [("a b+/1", 6), ("a b+/x/2", 8)]
        assert store.entries("a b+") == [entry for entry in store.entries() if entry.name.startswith("a b+/")]
        assert store.entries("a") == []

    def test_more_objects_than_a_server_lists_at_once(self, uri: str) -> None:
        store = open_store(uri)
        count = 30 if uri.startswith("gs:") else 1005  # the emulator writes its whole index with every object
        threads = [
            threading.Thread(target=lambda n=n: [store.write(f"{i:04}", b"") for i in range(n, count, 8)]) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [entry.name for entry in store.entries()] == [f"{i:04}" for i in range(count)]
        assert open_store(uri.rpartition("/")[0]).folders() == [uri.rpartition("/")[2]]
        store.delete([f"{i:04}" for i in range(count)])
        assert store.entries() == []

    def test_tags_tell_versions_apart(self, uri: str) -> None:
        store = open_store(uri)
        old = store.write("a", b"old")
        assert entry_of(store, "a").tag == old
        new = store.write("a", b"new!")
        assert entry_of(store, "a").tag == new != old
        assert store.read("a", tag=new) == b"new!"
        with pytest.raises(Changed):
            store.read("a", tag=old)

    def test_a_condition_that_does_not_hold_changes_nothing(self, uri: str) -> None:
        store = open_store(uri)
        with pytest.raises(Changed):
            store.write("a", b"x", expected=store.write("other", b"1"))
        tag = store.write("a", b"first", expected=ABSENT)
        with pytest.raises(Changed) as error:
            store.write("a", b"second", expected=ABSENT)
        assert error.value.code == 69
        newer = store.write("a", b"third", expected=tag)
        with pytest.raises(Changed):
            store.write("a", b"fourth", expected=tag)
        assert store.read("a", tag=newer) == b"third"

    def test_of_many_who_claim_an_object_one_gets_it(self, uri: str) -> None:
        got: list[int] = []

        def claim(number: int) -> None:
            try:
                open_store(uri).write("claim", str(number).encode(), expected=ABSENT)
                got.append(number)
            except Changed:
                pass

        threads = [threading.Thread(target=claim, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        assert open_store(uri).read("claim") == str(got[0]).encode()

    @pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, LARGE])
    def test_a_file_goes_up_and_comes_down_with_its_hash(self, uri: str, size: int, tmp_path: Path) -> None:
        content = secrets.token_bytes(size)
        sha256 = hashlib.sha256(content).hexdigest()
        path = write(tmp_path, {"file": content}) / "file"
        store = open_store(uri)
        assert store.upload(path, "a/b", sha256) == size
        entry = entry_of(store, "a/b")
        assert entry.bytes == size
        assert store.same(entry, path)
        for name, expected in {"with": sha256, "without": None}.items():
            store.download(entry, tmp_path / "new" / name, expected)
            assert (tmp_path / "new" / name).read_bytes() == content
        with pytest.raises(Changed):
            store.download(entry, tmp_path / "new" / "other", "0" * 64)
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["with", "without"]
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if content else b"?")
        assert not store.same(entry, path)

    @pytest.mark.parametrize("size", [10, LARGE])
    def test_a_file_with_another_hash_never_becomes_an_object(self, uri: str, size: int, tmp_path: Path) -> None:
        path = write(tmp_path, {"file": secrets.token_bytes(size)}) / "file"
        store = open_store(uri)
        with pytest.raises(Changed):
            store.upload(path, "a", "0" * 64)
        assert store.entries() == []
        if isinstance(store, S3Store):
            assert store._client._list_multipart_uploads(uri.split("/")[2]).uploads == []

    def test_only_the_beginning_of_a_file_that_grows(self, uri: str, tmp_path: Path) -> None:
        path = write(tmp_path, {"file": b"0123456789"}) / "file"
        store = open_store(uri)
        store.upload(path, "a", size=4)
        assert store.read("a") == b"0123"
        with pytest.raises(Changed):
            store.upload(path, "a", size=11)
        assert store.read("a") == b"0123"


class TestFolder:
    def test_a_step_goes_up_and_comes_down(self, uri: str, tmp_path: Path) -> None:
        files = {f"{i:02}.tfrecord": secrets.token_bytes(1000 + i) for i in range(20)} | {"deep/er/x": b"", "big": b"b" * LARGE}
        here = write_step(tmp_path / "here", files)
        store = open_store(uri)
        sent = send_folder(here, store)
        assert sent == sum(map(len, contents(here).values()))
        assert stored(store) == contents(here)
        there = tmp_path / "there"
        assert fetch_folder(store, there) == sent
        assert contents(there) == contents(here)
        # The same again: nothing travels.
        assert send_folder(here, store) == 0
        assert fetch_folder(store, there) == 0

    def test_only_what_differs_travels(self, uri: str, tmp_path: Path) -> None:
        old = {"a": b"a" * 100, "b": b"b" * 100, "c/d": b"c"}
        here, there, store = tmp_path / "here", tmp_path / "there", open_store(uri)
        send_folder(write_step(here, old), store)
        fetch_folder(store, there)
        file = "e" if uri.startswith("gs:") else "c"  # the emulator keeps its folders, and GCS has none
        new = {"a": b"a" * 100, "b": b"B" * 100, file: b"a file where a folder was"}
        marker = step_json(new)
        (here / "c" / "d").unlink()
        (here / "c").rmdir()
        assert send_folder(write_step(here, new), store) == 100 + len(new[file]) + len(marker)
        assert stored(store) == {**new, "step.json": marker}
        (there / "a").write_bytes(b"damaged")
        write(there, {".hidden": b"mine", ".x.1.tmp": b"left by a kill"})
        assert fetch_folder(store, there) == 100 + 100 + len(new[file]) + len(marker)
        assert contents(there) == {**new, "step.json": marker}
        assert sorted(p.name for p in there.iterdir()) == [".hidden", "a", "b", file, "step.json"]

    def test_a_folder_without_a_step_goes_up_and_removes_nothing(self, uri: str, tmp_path: Path) -> None:
        store = open_store(uri)
        store.write("other", b"1")
        send_folder(write(tmp_path / "data", {"x.jpg": b"1", "x.xml": b"2"}), store)
        assert stored(store) == {"other": b"1", "x.jpg": b"1", "x.xml": b"2"}
        fetch_folder(store, tmp_path / "copy")
        assert contents(tmp_path / "copy") == stored(store)

    def test_files_of_no_step_are_not_cleared_away(self, uri: str, tmp_path: Path) -> None:
        store = open_store(uri)
        store.write("thesis.tex", b"!")
        with pytest.raises(BoxcarError) as error:
            send_folder(write_step(tmp_path / "here", {"a": b"1"}), store)
        assert error.value.code == 64 and "thesis.tex" in error.value.what
        assert stored(store) == {"thesis.tex": b"!"}

    def test_a_step_that_shares_its_folder_touches_only_its_own(self, uri: str, tmp_path: Path) -> None:
        store = open_store(uri)
        for name in ("saved_model/step.json", "saved_model/x", "tflite/old"):
            store.write(name, b"{}")
        store.write("step.json", b"{}")
        files = {"tflite/new": b"1", "manifest.json": b"2"}
        send_folder(
            write(write_step(tmp_path / "here", files), {"tmp/y": b"3"}), store, owns=("tflite", "tfjs", "manifest.json")
        )
        assert sorted(stored(store)) == ["manifest.json", "saved_model/step.json", "saved_model/x", "step.json", "tflite/new"]

    def test_nothing_there_is_said_with_bucket_and_folder(self, uri: str, tmp_path: Path) -> None:
        with pytest.raises(Missing) as error:
            fetch_folder(open_store(uri), tmp_path / "new")
        assert error.value.code == 64 and uri in error.value.what

    @pytest.mark.parametrize("name", ["b", "deep/b"])
    def test_a_step_that_lacks_a_file_is_not_believed(self, uri: str, name: str, tmp_path: Path) -> None:
        store, there = open_store(uri), tmp_path / "there"
        send_folder(write_step(tmp_path / "here", {"a": b"1", name: b"2"}), store)
        store.delete([name])
        for damage in ([], [b"longer"], [b"3"]):
            for content in damage:
                store.write(name, content)
            with pytest.raises(BoxcarError) as error:
                fetch_folder(store, there)
            assert error.value.code == 65 and name in error.value.what
            assert not (there / "step.json").exists()

    def test_a_step_with_files_that_are_not_as_listed_is_not_sent(self, uri: str, tmp_path: Path) -> None:
        store, here = open_store(uri), write_step(tmp_path / "here", {"a": b"1", "b": b"2"})
        (here / "b").write_bytes(b"3")
        with pytest.raises(BoxcarError) as error:
            send_folder(here, store)
        assert error.value.code == 65 and "b in" in error.value.what
        assert "step.json" not in stored(store)
        (here / "b").unlink()
        with pytest.raises(BoxcarError, match="b in"):
            send_folder(here, store)

    def test_whoever_reads_while_a_step_is_replaced_never_believes_half(self, uri: str, tmp_path: Path) -> None:
        versions = [{f"{i}": f"{v} {i}".encode() * 50 for i in range(6 + v)} for v in range(2)]
        folders = [write_step(tmp_path / f"v{v}", files, version=str(v)) for v, files in enumerate(versions)]
        store = open_store(uri)
        send_folder(folders[0], store)
        ended = threading.Event()

        def replace() -> None:
            try:
                for turn in range(1, 7):
                    send_folder(folders[turn % 2], open_store(uri))
            finally:
                ended.set()

        writer = threading.Thread(target=replace)
        writer.start()
        whole = 0
        while not ended.is_set():
            try:
                fetch_folder(store, tmp_path / "reader")
            except BoxcarError:
                continue
            found = contents(tmp_path / "reader")
            if "step.json" in found:
                del found["step.json"]
                assert found in versions
                whole += 1
        writer.join()
        fetch_folder(store, tmp_path / "reader")
        assert contents(tmp_path / "reader") == contents(folders[0])

    def test_names_that_cannot_be_files_are_refused(self, uri: str, tmp_path: Path) -> None:
        if "://" not in uri:
            pytest.skip("A folder cannot hold them.")
        for names in (["A", "a"], ["x\ny"], ["b\\c"]):
            store = open_store(f"{uri}/{secrets.token_hex(4)}")
            for name in names:
                store.write(name, b"1")
            with pytest.raises(BoxcarError) as error:
                fetch_folder(store, tmp_path / "new")
            assert error.value.code == 65 and repr(names[0]) in error.value.what
            assert not (tmp_path / "new").exists()
