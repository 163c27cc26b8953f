"""The copy of runs' event files for TensorBoard: its content, its requests, and the failures it survives."""

import inspect
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_servers import GCS, FaultProxy, Seen, Server

from boxcar.errors import BoxcarError
from boxcar.storage import StoredObject, list_files, open_store
from boxcar.storage.checksums import PART_BYTES
from boxcar.storage.folder_store import FolderStore
from boxcar.storage.parallel import for_each
from boxcar.tensorboard_sync import follow_runs
from boxcar.tensorboard_sync.follow import IDLE_PASSES, Copy

EVENTS = "events.out.tfevents"
PASSES_A_MINUTE = 60 / inspect.signature(follow_runs).parameters["seconds"].default


@pytest.fixture(params=["folder", "minio", GCS])
def runs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of runs that does not exist yet."""
    if request.param == "folder":
        return str(tmp_path / "store" / "all runs")
    server: Server = request.getfixturevalue(request.param)
    for name, value in server.environment(server.address).items():
        monkeypatch.setenv(name, value)
    return f"{server.scheme}://{server.make_bucket()}/all runs"


@pytest.fixture
def counted(minio: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, FaultProxy]]:
    """A folder of runs in MinIO, and the proxy that sees each request."""
    proxy = FaultProxy(minio.port)
    for name, value in minio.environment(proxy.address).items():
        monkeypatch.setenv(name, value)
    yield f"s3://{minio.make_bucket()}/runs", proxy
    proxy.close()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "logdir"


def write(runs: str, name: str, content: bytes | str = b"") -> None:
    open_store(runs).write(name, content.encode() if isinstance(content, str) else content)


def commit(runs: str, run: str) -> None:
    for step in ("train", "eval"):
        write(runs, f"{run}/{step}/step.json", "{}")


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in list_files(folder)}


def passes(copy: Copy, count: int) -> None:
    for _ in range(count):
        copy.update()


def requests_of_passes(proxy: FaultProxy, copy: Copy, count: int = 1) -> list[str]:
    """The methods and paths of the requests of some passes."""
    del proxy.seen[:]
    passes(copy, count)
    return [f"{seen.method} {seen.path}" for seen in proxy.seen]


class TestCopy:
    def test_event_files_and_nothing_else(self, runs: str, into: Path) -> None:
        for name in (
            f"one/train/{EVENTS}.1.host.7.0.v2",
            f"one/eval/{EVENTS}.2",
            f"two ü+/train/{EVENTS}.3",
        ):
            write(runs, name, name)
        for name in (
            f"one/{EVENTS}.4",
            f"one/records/{EVENTS}.5",
            f"one/train/deeper/{EVENTS}.6",
            f"one/train/deeper/train/{EVENTS}.7",
            f"{EVENTS}.8",
            f".hidden/train/{EVENTS}.9",
            "one/train/ckpt-1.index",
            "one/run.json",
            "beside",
        ):
            write(runs, name, "not for TensorBoard")
        Copy(runs, into).update()
        assert contents(into) == {
            name: name for name in (f"one/train/{EVENTS}.1.host.7.0.v2", f"one/eval/{EVENTS}.2", f"two ü+/train/{EVENTS}.3")
        }

    def test_what_grows_and_what_is_new_is_there_after_a_pass(self, runs: str, into: Path) -> None:
        copy = Copy(runs, into)
        copy.update()
        assert contents(into) == {}
        name = f"one/train/{EVENTS}.1"
        write(runs, name, "a")
        copy.update()
        file = (into / name).stat().st_ino
        for content in ("ab", "abc" * 1000, "abc" * 1000 + "d"):
            write(runs, name, content)
            copy.update()
            assert contents(into) == {name: content}
            assert (into / name).stat().st_ino == file, "it is the file that a reader has open"
        write(runs, f"one/train/{EVENTS}.2", "second")
        write(runs, f"late/eval/{EVENTS}.1", "late")
        copy.update()
        assert set(contents(into)) == {name, f"one/train/{EVENTS}.2", f"late/eval/{EVENTS}.1"}

    @pytest.mark.parametrize("new", ["", "sho", "Before", "not what it was before"])
    def test_what_was_written_anew_is_taken_anew(self, runs: str, into: Path, new: str) -> None:
        if "://" not in runs and new.startswith("not"):
            pytest.skip("A local folder keeps no checksums: of a file that became longer it is believed that it grew.")
        name = f"one/train/{EVENTS}.1"
        write(runs, name, "before")
        copy = Copy(runs, into)
        copy.update()
        write(runs, name, new)
        copy.update()
        assert contents(into) == {}, "TensorBoard must see that it is gone"
        copy.update()
        assert contents(into) == {name: new}

    def test_what_was_written_anew_twice_may_be_what_it_was(self, runs: str, into: Path) -> None:
        name = f"one/train/{EVENTS}.1"
        copy = Copy(runs, into)
        for content in ("before", "b"):
            write(runs, name, content)
            copy.update()
        write(runs, name, "before")
        copy.update()
        assert contents(into) == {name: "before"}

    def test_what_vanishes_there_vanishes_here(self, runs: str, into: Path) -> None:
        names = [f"one/train/{EVENTS}.1", f"one/eval/{EVENTS}.2", f"two/train/{EVENTS}.3", f"done/train/{EVENTS}.4"]
        for name in names:
            write(runs, name, "x")
        commit(runs, "done")
        copy = Copy(runs, into)
        passes(copy, 3)
        assert sorted(contents(into)) == sorted(names)
        open_store(runs).delete([names[0]])
        copy.update()
        assert sorted(contents(into)) == sorted(names[1:])
        open_store(runs).delete([*names[1:], "done/train/step.json", "done/eval/step.json"])
        copy.update()
        assert [path.name for path in into.iterdir()] == [".copy-of"]

    def test_another_process_goes_on_with_the_copy(self, runs: str, into: Path) -> None:
        name = f"one/train/{EVENTS}.1"
        for gone in (name, f"gone/train/{EVENTS}.1"):
            write(runs, gone, "abcdef")
        copy = Copy(runs, into)
        copy.update()
        copy.close()
        (into / name).write_text("abc")  # as a kill in the middle of a fetch leaves it
        write(runs, name, "abcdefgh")
        open_store(runs).delete([f"gone/train/{EVENTS}.1"])
        Copy(runs, into).update()
        assert (into / name).read_text() == "abcdefgh"
        assert not (into / "gone").exists()

    def test_a_single_run(self, runs: str, into: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """As TensorBoard does it: pointed at a run, it shows `train` and `eval`."""
        copy = Copy(f"{runs}/one", into)
        write(runs, "one/records/step.json", "{}")
        copy.update()
        write(runs, f"one/train/{EVENTS}.1", "a")
        copy.update()
        write(runs, f"one/train/{EVENTS}.1", "ab")
        write(runs, f"one/eval/{EVENTS}.2", "c")
        copy.update()
        assert contents(into) == {f"train/{EVENTS}.1": "ab", f"eval/{EVENTS}.2": "c"}
        assert f"{runs}/one is a run." in capsys.readouterr().err

    def test_names_that_can_be_no_files_are_left_out_with_a_word(
        self, runs: str, into: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hostile = [f"o\\ne/train/{EVENTS}.1", f"one/train/{EVENTS}.\x1b[2J"]
        for name in [*hostile, f"one/train/{EVENTS}.1"]:
            write(runs, name, "x")
        copy = Copy(runs, into)
        copy.update()
        words = capsys.readouterr().err
        assert contents(into) == {f"one/train/{EVENTS}.1": "x"}
        assert f"{runs} holds {hostile[0].split('/')[0]!r}, which has a backslash in its name. It is left out." in words
        assert f"{runs} holds {hostile[1]!r}, which has control characters in its name. It is left out." in words
        assert "\x1b" not in words
        passes(copy, 2)
        assert capsys.readouterr().err == "", "it is said once"

    def test_nothing_is_written_outside_the_copy(
        self, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Names that the servers of these tests refuse, and others may not."""
        monkeypatch.setattr("boxcar.tensorboard_sync.follow.open_store", lambda uri: Hostile(Path(uri)))
        write(str(tmp_path / "runs"), f"one/train/{EVENTS}.1", "x")
        (tmp_path / "runs" / "one" / "records").mkdir()
        before = sorted(tmp_path.rglob("*"))
        Copy(str(tmp_path / "runs"), into).update()
        assert contents(into) == {f"one/train/{EVENTS}.1": "x"}
        assert sorted(path for path in tmp_path.rglob("*") if into not in path.parents) == sorted([*before, into])
        words = capsys.readouterr().err
        assert words.count("It is left out.") == len(Hostile.RUNS) + len(Hostile.FILES)
        assert "has `.` or `..` in its path" in words and "is an absolute path" in words


class Hostile(FolderStore):
    RUNS = ("..", ".", "/etc", "a\nb", "x" * 300)
    FILES = (f"one/train/../../../{EVENTS}.1", f"/tmp/{EVENTS}.1", f"one/train//{EVENTS}.1", f"one/train/{EVENTS}.{'x' * 300}")

    def folders(self) -> list[str]:
        return [*super().folders(), *self.RUNS]

    def entries(self, below: str = "") -> list[StoredObject]:
        assert below not in self.RUNS
        return [*super().entries(below), *(StoredObject(name, 1, "tag", None) for name in self.FILES)]

    def read(self, name: str, start: int = 0, length: int | None = None, tag: str | None = None) -> bytes:
        return b"!" if name in self.FILES else super().read(name, start, length, tag)


class TestRequests:
    def test_closed_runs_cost_nothing_and_all_stays_below_ten_a_minute(
        self, counted: tuple[str, FaultProxy], into: Path
    ) -> None:
        """100 closed runs and an idle one."""
        runs, proxy = counted
        names = [f"run-{number:03}" for number in range(101)]
        idle = "run-050"

        store = open_store(runs)

        def make(run: str) -> None:
            for name in (f"train/{EVENTS}.1", f"eval/{EVENTS}.2", "train/ckpt-1.index", "records/a.tfrecord", "run.json"):
                store.write(f"{run}/{name}", f"{run} {name}".encode())
            for step in ("train", "eval") if run != idle else ():
                store.write(f"{run}/{step}/step.json", b"{}")

        for_each(make, names)
        copy = Copy(runs, into)
        passes(copy, 2)
        assert len(contents(into)) == 202
        for _ in range(2):  # before it counts as idle, and when it does
            asked = requests_of_passes(proxy, copy, int(PASSES_A_MINUTE))
            assert len(asked) <= 10
            assert len([path for path in asked if "run-" in path]) == int(PASSES_A_MINUTE), asked
            assert all(idle in path for path in asked if "run-" in path), "closed ones are not asked for"
            passes(copy, IDLE_PASSES)
        # It was not forgotten: what comes is there after one pass, which is 15 seconds.
        write(runs, f"{idle}/train/{EVENTS}.1", f"{idle} train/{EVENTS}.1 and more")
        copy.update()
        assert (into / idle / "train" / f"{EVENTS}.1").read_text().endswith("and more")

    def test_idle_runs_take_turns_and_one_that_goes_on_is_followed_again(
        self, counted: tuple[str, FaultProxy], into: Path
    ) -> None:
        runs, proxy = counted
        names = [f"failed-{number}" for number in range(5)]
        for run in names:
            write(runs, f"{run}/train/{EVENTS}.1", "a")
        copy = Copy(runs, into)
        passes(copy, 1)
        assert len(requests_of_passes(proxy, copy)) == 1 + len(names), "they may live"
        passes(copy, IDLE_PASSES)
        for _ in range(2):
            turns = [requests_of_passes(proxy, copy) for _ in names]
            assert [len(asked) for asked in turns] == [2] * len(names)
            assert sorted(name for name in names if any(name in path for asked in turns for path in asked)) == names
        # The trainer's heartbeat is a sign of life, before there is an event.
        write(runs, "failed-3/train/status.json", "1")
        passes(copy, len(names))
        for content in ("ab", "abc", "abcd"):
            write(runs, f"failed-3/train/{EVENTS}.1", content)
            asked = requests_of_passes(proxy, copy)
            assert len(asked) == 4, "names, the living run, its file, one of the others"
            assert (into / "failed-3" / "train" / f"{EVENTS}.1").read_text() == content

    def test_a_run_with_a_heartbeat_is_asked_for_in_every_pass(self, counted: tuple[str, FaultProxy], into: Path) -> None:
        runs, proxy = counted
        for run in ("idle-1", "idle-2", "alive"):
            write(runs, f"{run}/train/{EVENTS}.1", "a")
        copy = Copy(runs, into)
        for beat in range(IDLE_PASSES + 2):
            write(runs, "alive/train/status.json", f"{beat}")
            copy.update()
        for beat in range(3):
            write(runs, "alive/train/status.json", f"again {beat}")
            asked = requests_of_passes(proxy, copy)
            assert len(asked) == 3 and any("alive" in path for path in asked)

    def test_a_run_is_closed_only_after_a_look_at_what_came_with_its_commit(
        self, counted: tuple[str, FaultProxy], into: Path
    ) -> None:
        runs, proxy = counted
        write(runs, f"one/train/{EVENTS}.1", "a")
        write(runs, "one/eval/step.json", "{}")
        copy = Copy(runs, into)
        passes(copy, 3)
        assert len(requests_of_passes(proxy, copy)) == 2, "evaluation alone is finished"
        write(runs, "one/train/step.json", "{}")
        copy.update()
        write(runs, f"one/train/{EVENTS}.1", "ab")  # a listing may tell of the commit and not yet of this
        passes(copy, 2)
        assert contents(into) == {f"one/train/{EVENTS}.1": "ab"}
        assert len(requests_of_passes(proxy, copy)) == 1
        # Removed, and put there anew under its name.
        open_store(runs).delete(["one/train/step.json", "one/eval/step.json", f"one/train/{EVENTS}.1"])
        copy.update()
        write(runs, f"one/train/{EVENTS}.1", "other")
        copy.update()
        assert contents(into) == {f"one/train/{EVENTS}.1": "other"}

    def test_only_what_is_new_travels_in_parts_that_memory_can_bear(self, counted: tuple[str, FaultProxy], into: Path) -> None:
        runs, proxy = counted
        name = f"one/eval/{EVENTS}.1"
        content = secrets.token_bytes(2 * PART_BYTES + 1000)
        write(runs, name, content)
        copy = Copy(runs, into)
        assert fetched(proxy, copy) == [(0, PART_BYTES), (PART_BYTES, PART_BYTES), (2 * PART_BYTES, 1000)]
        write(runs, name, content + b"12345")
        assert fetched(proxy, copy) == [(len(content), 5)]
        assert (into / name).read_bytes() == content + b"12345"
        assert fetched(proxy, copy) == []
        copy.close()
        assert fetched(proxy, Copy(runs, into)) == [], "another process believes what has the right checksum"


def fetched(proxy: FaultProxy, copy: Copy) -> list[tuple[int, int]]:
    """Start and length of the ranges that one pass reads."""
    requests_of_passes(proxy, copy)
    spans = [seen.headers["range"].removeprefix("bytes=").split("-") for seen in proxy.seen if "range" in seen.headers]
    return [(int(start), int(end) - int(start) + 1) for start, end in spans]


class TestTrouble:
    @pytest.fixture(autouse=True)
    def little_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("PATIENCE_SECONDS", "FIRST_CONTACT_SECONDS"):
            monkeypatch.setattr(f"boxcar.retry.{name}", 0.3)

    def test_a_server_that_is_away_is_said_once(
        self, counted: tuple[str, FaultProxy], into: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        runs, proxy = counted
        write(runs, f"one/train/{EVENTS}.1", "a")
        copy = Copy(runs, into)
        for outage in range(2):
            copy.update()
            capsys.readouterr()
            proxy.down = True
            passes(copy, 3)
            words = capsys.readouterr().err
            assert words.count("\n") == 1 and words.startswith(f"{runs} cannot be followed at the moment: http://127.0.0.1"), (
                words
            )
            assert contents(into) == {f"one/train/{EVENTS}.1": "a" * (outage + 1)}, "what is here stays"
            proxy.down = False
            write(runs, f"one/train/{EVENTS}.1", "a" * (outage + 2))
            passes(copy, 2)
            assert capsys.readouterr().err == f"{runs} can be followed again.\n"
            assert contents(into) == {f"one/train/{EVENTS}.1": "a" * (outage + 2)}

    def test_one_run_that_cannot_be_read_keeps_no_other_waiting(
        self, counted: tuple[str, FaultProxy], into: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        runs, proxy = counted
        for run in ("archived", "fine"):
            write(runs, f"{run}/train/{EVENTS}.1", run)
        copy = Copy(runs, into)
        proxy.fault = lambda seen: "unavailable" if f"archived/train/{EVENTS}" in seen.path else None
        passes(copy, 3)
        words = capsys.readouterr().err
        assert words.count("archived cannot be followed at the moment: ") == 1 and "HTTP status 503" in words
        assert f"{runs} cannot" not in words
        assert contents(into) == {f"archived/train/{EVENTS}.1": "", f"fine/train/{EVENTS}.1": "fine"}
        proxy.fault = lambda seen: None
        copy.update()
        assert capsys.readouterr().err == f"{runs}/archived can be followed again.\n"
        assert contents(into)[f"archived/train/{EVENTS}.1"] == "archived"

    def test_bytes_that_were_damaged_on_the_way_are_not_kept(self, counted: tuple[str, FaultProxy], into: Path) -> None:
        runs, proxy = counted
        write(runs, f"one/train/{EVENTS}.1", "a" * 1000)
        copy = Copy(runs, into)
        once = iter([True])
        proxy.fault = lambda seen: "damage answer" if EVENTS in seen.path and next(once, False) else None
        copy.update()
        assert contents(into) == {}
        copy.update()
        assert contents(into) == {f"one/train/{EVENTS}.1": "a" * 1000}

    def test_a_file_that_is_replaced_while_it_is_read(self, counted: tuple[str, FaultProxy], into: Path) -> None:
        runs, proxy = counted
        name = f"one/train/{EVENTS}.1"
        write(runs, name, "a")
        copy = Copy(runs, into)
        bucket = runs.removeprefix("s3://").partition("/")[0]

        def replace(seen: Seen) -> None:
            if seen.method == "GET" and EVENTS in seen.path:
                proxy.fault = lambda seen: None
                write(runs, name, "ab")

        proxy.fault = replace
        copy.update()
        assert bucket and contents(into)[name] in ("", "ab")
        copy.update()
        assert contents(into) == {name: "ab"}

    def test_a_full_disk_is_said_once_and_survived(
        self, counted: tuple[str, FaultProxy], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        runs, _ = counted
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, text=True
        )
        if mounted.returncode:
            pytest.skip(f"A small disk cannot be mounted here: {mounted.stderr.strip()}")
        try:
            content = secrets.token_bytes(500_000)
            for run in ("one", "two"):
                write(runs, f"{run}/train/{EVENTS}.1", content)
            copy = Copy(runs, disk)
            passes(copy, 3)
            words = capsys.readouterr().err
            assert words.count("No space left on device") == 1 and str(disk) in words
            subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
            copy.update()
            assert capsys.readouterr().err == f"{runs} can be followed again.\n"
            for run in ("one", "two"):
                assert (disk / run / "train" / f"{EVENTS}.1").read_bytes() == content
            copy.close()
        finally:
            subprocess.run(["umount", str(disk)], check=True)


class TestClaim:
    def test_a_folder_with_other_files_is_not_cleared(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        (home / "thesis.tex").write_text("!")
        with pytest.raises(BoxcarError) as error:
            Copy(str(tmp_path / "runs"), home)
        assert error.value.code == 64 and str(home) in error.value.what
        assert contents(home) == {"thesis.tex": "!"}

    def test_a_copy_of_other_runs_is_not_cleared(self, tmp_path: Path, into: Path) -> None:
        Copy(str(tmp_path / "runs"), into).close()
        with pytest.raises(BoxcarError) as error:
            Copy(str(tmp_path / "other"), into)
        assert error.value.code == 64 and str(tmp_path / "runs") in error.value.what

    def test_a_copy_is_kept_by_one_process(self, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        kept = Copy(str(tmp_path / "runs"), into)
        with pytest.raises(BoxcarError) as error:
            Copy(str(tmp_path / "runs"), into)
        assert error.value.code == 69
        kept.close()
        Copy(str(tmp_path / "runs"), into).close()


class TestProcess:
    PROGRAM = "import sys; from pathlib import Path; from boxcar.tensorboard_sync import follow_runs; \
follow_runs(sys.argv[1], Path(sys.argv[2]), 0.1); print('returned'); assert 'tensorflow' not in sys.modules"

    @pytest.mark.parametrize("down", [False, True])
    def test_it_follows_until_it_is_told_to_stop(self, counted: tuple[str, FaultProxy], into: Path, down: bool) -> None:
        runs, proxy = counted
        name = f"one/train/{EVENTS}.1"
        write(runs, name, "a")
        process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, runs, str(into)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            for content in ("a", "ab", "abc"):
                write(runs, name, content)
                wait_until(into / name, content, process)
            proxy.down = down
            if down:
                seen = len(proxy.seen)
                while len(proxy.seen) < seen + 2:  # it is in the middle of asking again
                    time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            out, words = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, out) == (0, "returned\n"), words
        assert words == f"{runs} holds 1 runs. Its event files are copied to {into}.\n"


def wait_until(path: Path, content: str, process: "subprocess.Popen[str]") -> None:
    while not path.exists() or path.read_text() != content:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
