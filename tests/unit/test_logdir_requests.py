"""The copy of runs' event files for TensorBoard from a server: its requests, the failures it survives, and its process."""

import inspect
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from copied_runs import EVENTS, contents, passes, write
from storage_servers import FaultProxy, Seen, Server

from boxcar.storage import open_store
from boxcar.storage.checksums import PART_BYTES
from boxcar.storage.parallel import for_each
from boxcar.tensorboard_sync import follow_runs
from boxcar.tensorboard_sync.follow import IDLE_PASSES, Copy

PASSES_A_MINUTE = 60 / inspect.signature(follow_runs).parameters["seconds"].default


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


def requests_of_passes(proxy: FaultProxy, copy: Copy, count: int = 1) -> list[str]:
    """The methods and paths of the requests of some passes."""
    del proxy.seen[:]
    passes(copy, count)
    return [f"{seen.method} {seen.path}" for seen in proxy.seen]


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
