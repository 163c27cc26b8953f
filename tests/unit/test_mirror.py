"""The local folder of a URI, and the open run that is uploaded while it is written."""

import json
import threading
from pathlib import Path

import pytest
from checkpoint_files import write_checkpoint

from boxcar.errors import BoxcarError
from boxcar.run.checkpoints import append_score, list_checkpoints, read_scores, remove_checkpoint, write_status
from boxcar.run.step import Step, read_commit, require_commit
from boxcar.storage import Missing, fetch_file, list_files, open_store
from boxcar.storage.cache import uri_of
from boxcar.sync.follower import Follower
from boxcar.sync.mirror import Mirror
from boxcar.sync.transfer import fetch_folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def elsewhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Continues with an empty cache, as on another machine."""
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / name))


def do_step(folder: Path, parameters: dict[str, int], content: str = "x") -> bool:
    """A step like ours: works unless it was done with these parameters. Returns whether it worked."""
    step = Step("records", folder, {}, parameters)
    if step.done():
        return False
    with step.writing() as place:
        (place / "out").write_text(content)
    return True


class TestMirror:
    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_a_local_folder_is_itself(self, scheme: str, tmp_path: Path) -> None:
        mirror = Mirror(f"{scheme}{tmp_path}/run")
        assert mirror.folder == mirror.resume() == mirror.fetch() == tmp_path / "run"
        mirror.send()
        assert mirror.follower() is None
        assert list(tmp_path.iterdir()) == []

    def test_a_step_goes_from_one_machine_to_another(
        self, bucket_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = Mirror(bucket_uri)
        assert do_step(output.resume(), {"seed": 1})
        output.send()
        elsewhere("other", tmp_path, monkeypatch)
        folder = Mirror(bucket_uri).fetch()
        assert folder != output.folder
        assert (require_commit(folder, "records").folder / "out").read_text() == "x"
        # There, the same inputs again: nothing is done. Other parameters: it is done, and replaces what was.
        output = Mirror(bucket_uri)
        assert not do_step(output.resume(), {"seed": 1})
        assert do_step(output.folder, {"seed": 2}, "y")
        output.send()
        elsewhere("cache", tmp_path, monkeypatch)
        assert (Mirror(bucket_uri).fetch() / "out").read_text() == "y"

    def test_an_input_that_is_not_there(self, bucket_uri: str) -> None:
        with pytest.raises(Missing) as error:
            Mirror(bucket_uri).fetch()
        assert bucket_uri in error.value.what

    def test_an_input_is_exactly_what_the_bucket_holds(self, bucket_uri: str) -> None:
        store = open_store(bucket_uri)
        store.write("a.jpg", b"1")
        folder = Mirror(bucket_uri).fetch()
        store.delete(["a.jpg"])
        store.write("b.jpg", b"2")
        assert Mirror(bucket_uri).fetch() == folder
        assert list_files(folder) == ["b.jpg"]

    def test_a_folder_of_a_bucket_lies_in_the_cache_as_it_does_there(self, bucket_uri: str, tmp_path: Path) -> None:
        mirror = Mirror(bucket_uri)
        below = mirror.below("train")
        assert below.folder == mirror.folder / "train" == Mirror(f"{bucket_uri}/train/").folder
        assert below.uri == f"{bucket_uri}/train"
        moved = Mirror(bucket_uri, tmp_path / "pod").below("train")
        assert moved.folder == tmp_path / "pod" / "train" and moved.uri == below.uri

    def test_a_person_is_shown_what_is_in_the_bucket_and_not_its_copy(self, bucket_uri: str, tmp_path: Path) -> None:
        mirror = Mirror(bucket_uri)
        assert uri_of(mirror.folder) == bucket_uri
        assert uri_of(mirror.below("train").folder / "ckpt-1.json") == f"{bucket_uri}/train/ckpt-1.json"
        assert uri_of(tmp_path / "ckpt-1.json") == str(tmp_path / "ckpt-1.json")

    def test_what_a_step_finishes_is_sent_and_what_fails_is_not(self, bucket_uri: str) -> None:
        with pytest.raises(ZeroDivisionError), Mirror(bucket_uri).working() as folder:
            do_step(folder, {"seed": 1})
            raise ZeroDivisionError
        assert open_store(bucket_uri).entries() == []
        with Mirror(bucket_uri).working() as folder:
            assert not do_step(folder, {"seed": 1})
        assert [entry.name for entry in open_store(bucket_uri).entries()] == ["out", "step.json"]

    def test_a_step_in_a_folder_that_is_fetched_was_sent_as_well(
        self, bucket_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Mirror(f"{bucket_uri}/export/saved_model").working() as folder:
            do_step(folder, {"seed": 1})
        elsewhere("other", tmp_path, monkeypatch)
        export = Mirror(f"{bucket_uri}/export")
        assert export.resume() == export.folder
        assert (export.below("saved_model").fetch() / "out").read_text() == "x"

    def test_some_files_are_fetched_and_the_others_left(self, bucket_uri: str) -> None:
        store = open_store(bucket_uri)
        for name in ("ckpt-1.index", "ckpt-1.data", "sub/ckpt-1.index", "other"):
            store.write(name, name.encode())

        def wanted(name: str) -> bool:
            return name.startswith("ckpt-1.")

        folder = Mirror(bucket_uri).fetch_some(wanted)
        (folder / "mine").touch()
        assert list_files(folder) == ["ckpt-1.data", "ckpt-1.index", "mine"]
        store.delete(["ckpt-1.data"])
        store.write("ckpt-1.index", b"new")
        Mirror(bucket_uri).fetch_some(wanted)
        assert list_files(folder) == ["ckpt-1.index", "mine"]
        assert (folder / "ckpt-1.index").read_bytes() == b"new"

    def test_a_single_file_from_and_to_a_bucket(self, bucket_uri: str, tmp_path: Path) -> None:
        (tmp_path / "here").write_text("here")
        assert fetch_file(str(tmp_path / "here")) == tmp_path / "here"
        with pytest.raises(Missing, match=r"config\.yaml"):
            fetch_file(f"{bucket_uri}/config.yaml")
        with pytest.raises(BoxcarError, match="whole bucket"):
            fetch_file("/".join(bucket_uri.split("/")[:3]))
        mirror = Mirror(bucket_uri)
        (mirror.folder).mkdir(parents=True)
        (mirror.folder / "config.yaml").write_text("steps: 3")
        mirror.send_file("config.yaml")
        assert mirror.names() == {"config.yaml"}
        other = Mirror(bucket_uri, tmp_path / "other")
        other.take_files(["config.yaml", "run.json"])
        assert (other.folder / "config.yaml").read_text() == "steps: 3"
        (other.folder / "run.json").write_text("{}")
        other.take_files(["run.json"])
        assert not (other.folder / "run.json").exists(), "there is none in the bucket"
        (mirror.folder / "config.yaml").unlink()
        mirror.send_file("config.yaml")
        assert mirror.names() == set()

    def test_finished_work_that_was_not_sent_is_not_lost(
        self, bucket_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere("other", tmp_path, monkeypatch)
        do_step(Mirror(bucket_uri).resume(), {"seed": 1}, "old")
        Mirror(bucket_uri).send()
        elsewhere("cache", tmp_path, monkeypatch)
        output = Mirror(bucket_uri)
        do_step(output.resume(), {"seed": 2}, "hours of work")
        # Before it is sent the process dies. The next start neither fetches over it nor does it again.
        with pytest.raises(BoxcarError, match="never uploaded") as error:
            Mirror(bucket_uri).fetch()
        assert error.value.code == 69
        assert not do_step(Mirror(bucket_uri).resume(), {"seed": 2})
        Mirror(bucket_uri).send()
        assert (Mirror(bucket_uri).fetch() / "out").read_text() == "hours of work"

    def test_the_side_with_the_later_checkpoint_is_resumed(
        self, bucket_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train = Step("train", Mirror(bucket_uri).resume(), {}, {}, resumable=True)
        train.begin()
        write_checkpoint(train.folder, 100)
        follower = Mirror(bucket_uri).follower()
        assert follower is not None
        follower.send()
        write_checkpoint(train.folder, 200)  # not sent
        assert [c.step for c in list_checkpoints(Mirror(bucket_uri).resume())] == [100, 200]
        # Another machine has what was sent, may resume it, and gets further.
        elsewhere("other", tmp_path, monkeypatch)
        other = Step("train", Mirror(bucket_uri).resume(), {}, {}, resumable=True)
        assert [c.step for c in list_checkpoints(other.folder)] == [100]
        other.check()
        write_checkpoint(other.folder, 300)
        Follower(other.folder, open_store(bucket_uri)).send()
        elsewhere("cache", tmp_path, monkeypatch)
        assert [c.step for c in list_checkpoints(Mirror(bucket_uri).resume())] == [100, 300]

    def test_two_processes_fetch_into_one_folder_after_each_other(self, bucket_uri: str) -> None:
        store = open_store(bucket_uri)
        for number in range(10):
            store.write(f"{number}", b"x" * 1000)
        found: list[list[str]] = []
        threads = [threading.Thread(target=lambda: found.append(list_files(Mirror(bucket_uri).fetch()))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [[f"{number}" for number in range(10)]] * 3

    def test_buckets_of_one_name_on_two_servers_have_two_folders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        folders = set()
        for server in ("http://one:9000", "http://two:9000"):
            monkeypatch.setenv("BOXCAR_S3_ENDPOINT", server)
            folders.add(Mirror("s3://bucket/run").folder)
            assert Mirror("s3://bucket/run/").folder in folders
        assert len(folders) == 2


class TestFollower:
    @pytest.fixture
    def train(self, tmp_path: Path) -> Path:
        Step("train", tmp_path / "train", {}, {}, resumable=True).begin()
        return tmp_path / "train"

    @staticmethod
    def names(uri: str) -> list[str]:
        return [entry.name for entry in open_store(uri).entries()]

    def test_nothing_is_sent_of_a_folder_in_which_nothing_has_begun(self, bucket_uri: str, tmp_path: Path) -> None:
        assert not Follower(tmp_path / "none", open_store(bucket_uri)).send()
        assert self.names(bucket_uri) == []

    def test_a_checkpoint_without_its_marker_does_not_travel(self, bucket_uri: str, train: Path) -> None:
        follower = Follower(train, open_store(bucket_uri))
        write_checkpoint(train, 100)
        (train / "ckpt-200.index").write_bytes(b"half")
        (train / ".tmp").mkdir()
        (train / ".tmp" / "ckpt-200.data-00000-of-00001").write_bytes(b"half")
        assert not follower.send()
        files = ["ckpt-100.data-00000-of-00001", "ckpt-100.index", "ckpt-100.json"]
        assert self.names(bucket_uri) == [".unfinished", *files]
        write_checkpoint(train, 200)
        follower.send()
        assert [n for n in self.names(bucket_uri) if "200" in n] == [name.replace("100", "200") for name in files]

    def test_a_checkpoint_that_is_not_as_its_marker_says_does_not_travel(self, bucket_uri: str, train: Path) -> None:
        follower = Follower(train, open_store(bucket_uri))
        write_checkpoint(train, 100)
        (train / "ckpt-100.index").write_bytes(b"other")
        follower.send()
        assert "ckpt-100.json" not in self.names(bucket_uri)
        write_checkpoint(train, 100)
        follower.send()
        assert "ckpt-100.json" in self.names(bucket_uri)

    def test_retention_is_followed_and_nothing_else_is_removed(self, bucket_uri: str, train: Path) -> None:
        store = open_store(bucket_uri)
        write_checkpoint(train, 100)
        write_checkpoint(train, 200)
        (train / "events.out.tfevents.1").write_bytes(b"e")
        follower = Follower(train, store)
        follower.send()
        remove_checkpoint(train, 100)
        (train / "events.out.tfevents.1").unlink()
        follower.send()
        assert not [name for name in self.names(bucket_uri) if "100" in name]
        assert "events.out.tfevents.1" in self.names(bucket_uri)
        # A new pod, whose folder is empty but for the beginning, has seen nothing go.
        for name in list_files(train):
            (train / name).unlink()
        Follower(train, store).send()
        assert "ckpt-200.json" in self.names(bucket_uri)

    def test_a_checkpoint_that_is_replaced_is_never_mixed(self, bucket_uri: str, train: Path) -> None:
        store = open_store(bucket_uri)
        follower = Follower(train, store)
        write_checkpoint(train, 100)
        follower.send()
        write_checkpoint(train, 100, size=2000)
        follower.send()
        marker = json.loads(store.read("ckpt-100.json"))
        sizes = {entry.name: entry.bytes for entry in store.entries()}
        assert {name: record["bytes"] for name, record in marker["files"].items()} == {
            name: sizes[name] for name in marker["files"]
        }

    def test_files_that_grow_travel_again_and_lines_only_whole(self, bucket_uri: str, train: Path, tmp_path: Path) -> None:
        store = open_store(bucket_uri)
        follower = Follower(train, store)
        events, scores = train / "events.out.tfevents.1", train / "scores.jsonl"
        events.write_bytes(b"one")
        append_score(train, {"step": 100, "AP": 0.5})
        with scores.open("ab") as file:
            file.write(b'{"step": 200, "A')
        follower.send()
        assert store.read("events.out.tfevents.1") == b"one"
        assert store.read("scores.jsonl") == b'{"step": 100, "AP": 0.5}\n'
        with events.open("ab") as file:
            file.write(b" two")
        append_score(train, {"step": 200, "AP": 0.6})
        follower.send()
        assert store.read("events.out.tfevents.1") == b"one two"
        fetch_folder(store, tmp_path / "copy")
        assert [score["step"] for score in read_scores(tmp_path / "copy")] == [100, 200]

    def test_a_status_comes_after_what_it_speaks_of(
        self, bucket_uri: str, train: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = open_store(bucket_uri)
        order: list[str] = []
        write = store.write
        monkeypatch.setattr(store, "write", lambda name, *rest: order.append(name) or write(name, *rest))  # type: ignore[func-returns-value]
        write_status(train, "DONE", 100, last_checkpoint=100)
        write_checkpoint(train, 100)
        Follower(train, store).send()
        assert order[0] == ".unfinished"
        assert order[-2:] == ["ckpt-100.json", "status.json"]

    def test_what_was_sent_is_not_sent_again(self, bucket_uri: str, train: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = open_store(bucket_uri)
        write_checkpoint(train, 100)
        (train / "events.out.tfevents.1").write_bytes(b"e" * 1000)
        append_score(train, {"step": 100, "AP": 0.5})
        follower = Follower(train, store)
        follower.send()
        tags = {entry.name: entry.tag for entry in store.entries()}
        follower.send()
        Follower(train, store).send()  # another process
        assert {entry.name: entry.tag for entry in store.entries()} == tags

    def test_a_finished_step_ends_it(self, bucket_uri: str, train: Path, tmp_path: Path) -> None:
        store = open_store(bucket_uri)
        follower = Follower(train, store)
        write_checkpoint(train, 100)
        write_checkpoint(train, 200)
        follower.send()
        remove_checkpoint(train, 100)
        step = Step("train", train, {}, {}, resumable=True)
        step.commit()
        assert follower.send()
        assert self.names(bucket_uri) == list_files(train)
        fetch_folder(store, tmp_path / "copy")
        assert read_commit(tmp_path / "copy", "train") is not None

    def test_a_step_that_is_begun_anew_is_not_believed_meanwhile(self, bucket_uri: str, train: Path) -> None:
        store = open_store(bucket_uri)
        Step("train", train, {}, {}, resumable=True).commit()
        Follower(train, store).send()
        Step("train", train, {}, {}, resumable=True).begin()
        Follower(train, store).send()
        assert self.names(bucket_uri) == [".unfinished"]

    def test_a_run_that_is_read_while_it_is_sent_has_only_whole_checkpoints(
        self, bucket_uri: str, train: Path, tmp_path: Path
    ) -> None:
        ended = threading.Event()

        def run() -> None:
            follower = Follower(train, open_store(bucket_uri))
            for step in range(1, 9):
                write_checkpoint(train, step, size=20_000)
                write_status(train, "RUNNING", step)
                follower.send()
                if step > 2:
                    remove_checkpoint(train, step - 2)
            ended.set()

        writer = threading.Thread(target=run)
        writer.start()
        store, copy = open_store(bucket_uri), tmp_path / "copy"
        while not ended.is_set():
            try:
                fetch_folder(store, copy)
            except BoxcarError as error:
                assert error.code in (64, 65, 69)
            marked = {path.stem for path in copy.glob("ckpt-*.json")}
            assert {f"ckpt-{checkpoint.step}" for checkpoint in list_checkpoints(copy)} == marked
        writer.join()
        fetch_folder(store, copy)
        assert {8, 7} <= {checkpoint.step for checkpoint in list_checkpoints(copy)}
