"""The copy of runs' event files for TensorBoard: its content, and to whom its folder belongs."""

from functools import partial
from pathlib import Path

import pytest
from copied_runs import EVENTS, commit, contents, passes, write
from storage_servers import GCS, Server

from boxcar.errors import BoxcarError
from boxcar.storage import StoredObject, lock, open_store
from boxcar.storage.folder_store import FolderStore
from boxcar.tensorboard_sync.follow import Copy


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
def into(tmp_path: Path) -> Path:
    return tmp_path / "logdir"


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
        monkeypatch.setattr("boxcar.tensorboard_sync.follow.lock", partial(lock, patience_seconds=0))
        kept = Copy(str(tmp_path / "runs"), into)
        with pytest.raises(BoxcarError) as error:
            Copy(str(tmp_path / "runs"), into)
        assert error.value.code == 69
        kept.close()
        Copy(str(tmp_path / "runs"), into).close()
