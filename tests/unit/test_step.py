"""The commit protocol: what is finished is believed, what is not never is, and nobody else's files are touched."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from boxcar.errors import BoxcarError
from boxcar.run.layout import COMMIT, UNFINISHED
from boxcar.run.step import Step, read_commit, require_commit
from boxcar.storage import list_files

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def make(folder: Path, text: str = "new", **settings: Any) -> Step:
    """A step that writes two files; `text` is both its parameter and what it writes."""
    step = Step("records", folder, {"data": "d"}, {"text": text}, **settings)
    with step.writing() as out:
        (out / "tree").mkdir(exist_ok=True)
        (out / "tree" / "leaf.txt").write_text(text)
        (out / "plain.txt").write_text(text)
    return step


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.exists() else set()


def disturbed(work: Callable[[], object], at: int, act: Callable[[], None]) -> bool:
    """Does the work in a forked process and acts on it right before write number `at`; False if there are fewer writes."""
    child = os.fork()
    if child == 0:
        left = at

        def hook(event: str, arguments: Sequence[Any]) -> None:
            nonlocal left
            writes = event in WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3)
            if writes:
                left -= 1
                if left == -1:
                    act()

        sys.addaudithook(hook)
        try:
            work()
        except BaseException:  # noqa: BLE001 - that it failed is all the parent asks
            os._exit(1)
        os._exit(1 if left < 0 else 0)
    _, status = os.waitpid(child, 0)
    return status != 0


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError(28, "No space left on device")


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_finished_step_is_believed_and_done_once(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    step = make(folder)
    record = json.loads((folder / COMMIT).read_text())
    assert sorted(record["files"]) == ["plain.txt", "tree/leaf.txt"]
    assert record["files"]["plain.txt"]["bytes"] == 3
    assert (record["inputs"], record["parameters"]) == ({"data": "d"}, {"text": "new"})
    assert {"code_version", "seconds"} <= set(record)
    assert not (folder / UNFINISHED).exists()
    committed = Step("records", folder, {"data": "d"}, {"text": "new"}).done()
    assert committed is not None
    assert step.committed is not None
    assert committed.digest == step.committed.digest == require_commit(folder, "records").digest
    assert Step("records", folder, {"data": "e"}, {"text": "new"}).done() is None
    assert Step("records", folder, {"data": "d"}, {"text": "old"}).done() is None
    assert read_commit(folder, "convert") is None


def test_tuples_in_parameters_count_as_the_lists_that_json_makes_of_them(tmp_path: Path) -> None:
    step = Step("records", tmp_path / "x", {}, {"formats": ("a", "b")})
    with step.writing():
        pass
    assert Step("records", tmp_path / "x", {}, {"formats": ("a", "b")}).done() is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "plain.txt").write_text("NEW"),
        lambda folder: (folder / "plain.txt").write_text("longer"),
        lambda folder: (folder / "tree" / "leaf.txt").unlink(),
        lambda folder: (folder / COMMIT).write_text((folder / COMMIT).read_text()[:-20]),
        lambda folder: (folder / COMMIT).write_text("[]"),
        lambda folder: (folder / COMMIT).write_bytes(b"\xff\xfe"),
        lambda folder: (folder / COMMIT).write_text('{"step": "records", "files": 1, "inputs": 0}'),
    ],
    ids=[
        "same size",
        "other size",
        "missing",
        "marker cut",
        "marker a list",
        "marker binary",
        "marker of another shape",
    ],
)
def test_a_changed_file_is_not_believed(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = tmp_path / "records"
    make(folder)
    change(folder)
    assert read_commit(folder, "records") is None
    with pytest.raises(BoxcarError) as error:
        require_commit(folder, "records")
    assert error.value.code == 65


def test_what_was_never_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(BoxcarError) as error:
        require_commit(tmp_path / "nothing", "records")
    assert error.value.code == 64


def test_files_of_an_earlier_start_are_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    with Step("records", folder, {}, {"text": "old"}).writing() as out:
        (out / "left").write_text("by a version that wrote more")
    make(folder, "new")
    assert everything(folder) == {COMMIT, "plain.txt", "tree", "tree/leaf.txt"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception_nothing_remains(tmp_path: Path, error: type[BaseException]) -> None:
    folder = tmp_path / "records"
    with pytest.raises(error), Step("records", folder, {}, {}).writing() as out:
        (out / "half").write_text("written")
        raise error
    assert not folder.exists()


@pytest.mark.parametrize("name", ["holiday.jpg", "holidays/one.jpg", ".hidden", "notes.tmp"])
def test_a_strangers_folder_is_refused_and_untouched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(BoxcarError, match=name.split("/")[0]) as error:
        make(tmp_path)
    assert error.value.code == 64
    assert everything(tmp_path) == before
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("marker", [COMMIT, UNFINISHED])
@pytest.mark.parametrize("resumable", [False, True])
def test_another_steps_folder_is_refused_and_untouched(tmp_path: Path, marker: str, resumable: bool) -> None:
    """`boxcar freeze --output <run>/train` must not cost a training."""
    training = Step("train", tmp_path, {}, {}, resumable=True)
    training.begin()
    (tmp_path / "ckpt-1.index").write_text("hours of work")
    if marker == COMMIT:
        training.commit()
    before = everything(tmp_path)
    with pytest.raises(BoxcarError, match="train") as error:
        make(tmp_path, resumable=resumable)
    assert error.value.code == 64
    assert everything(tmp_path) == before


def test_somebody_elses_step_json_protects_their_files(tmp_path: Path) -> None:
    (tmp_path / COMMIT).write_text('{"dance": "tango"}')
    (tmp_path / "video.mp4").write_text("mine")
    with pytest.raises(BoxcarError) as error:
        make(tmp_path)
    assert error.value.code == 64
    assert (tmp_path / "video.mp4").read_text() == "mine"


def shared(tmp_path: Path) -> Path:
    """`export/` as freezing leaves it: another step's folder lies in it, and nothing else."""
    folder = tmp_path / "export"
    with Step("freeze", folder / "saved_model", {}, {}).writing() as out:
        (out / "saved_model.pb").write_text("weights")
    return folder


def test_in_a_shared_folder_a_step_has_only_what_it_owns(tmp_path: Path) -> None:
    folder = shared(tmp_path)
    owns = ("tree", "plain.txt")
    make(folder, "old", owns=owns)
    make(folder, "new", owns=owns)
    assert sorted(require_commit(folder, "records").files) == ["plain.txt", "tree/leaf.txt"]
    require_commit(folder / "saved_model", "freeze")
    with pytest.raises(RuntimeError), Step("records", folder, {}, {}, owns=owns).writing():
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["saved_model"]
    require_commit(folder / "saved_model", "freeze")


@pytest.mark.parametrize("act", [kill, fail, interrupt])
@pytest.mark.parametrize("place", ["fresh", "over an older commit", "shared"])
def test_stopped_at_any_write_nothing_is_half_believed(tmp_path: Path, place: str, act: Callable[[], None]) -> None:
    """Killed, refused by the disk, or interrupted right before each single write of a step, in turn."""
    owns = ("tree", "plain.txt") if place == "shared" else None
    undisturbed = make(tmp_path / "undisturbed").committed
    assert undisturbed is not None
    at = 0
    while True:
        root = tmp_path / str(at)
        root.mkdir()
        folder = shared(root) if place == "shared" else root / "records"
        if place == "over an older commit":
            make(folder, "old")
        reached = disturbed(lambda folder=folder: make(folder, owns=owns), at, act)  # type: ignore[misc]
        found = read_commit(folder, "records")
        # What is believed is whole: the old result, the new one, or none.
        assert found is None or {(folder / name).read_text() for name in found.files} == {found.parameters["text"]}
        if act is not kill and reached and found is None:
            assert not {"plain.txt", "tree"} & everything(folder) or place == "over an older commit"
        again = make(folder, owns=owns)
        assert again.committed is not None
        assert again.committed.digest == undisturbed.digest
        assert UNFINISHED not in everything(folder)
        if place == "shared":
            require_commit(folder / "saved_model", "freeze")
        else:
            assert everything(folder) == {COMMIT, "plain.txt", "tree", "tree/leaf.txt"}
        at += 1
        if not reached:
            break
    assert at > 8, "the writes were not seen"


def test_a_real_sigkill_in_the_middle_leaves_nothing_believed(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom boxcar.run.step import Step\n"
        "with Step('records', Path(sys.argv[1]), {'data': 'd'}, {'text': 'new'}).writing() as out:\n"
        "    (out / 'plain.txt').write_text('half')\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    folder = tmp_path / "records"
    child = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"writing\n"
        child.kill()
        child.wait()
    assert (folder / "plain.txt").read_text() == "half"
    assert read_commit(folder, "records") is None
    make(folder)
    assert require_commit(folder, "records").parameters == {"text": "new"}


class TestResumable:
    """Training and evaluation go on with what an earlier start left."""

    def begun(self, folder: Path, **parameters: Any) -> Step:
        return Step("train", folder, {"records": "r"}, parameters or {"steps": 10}, resumable=True)

    def interrupted(self, folder: Path) -> None:
        with pytest.raises(RuntimeError), self.begun(folder).writing():
            (folder / "ckpt-5.index").write_text("half way")
            raise RuntimeError

    def test_keeps_its_files_after_an_error_and_goes_on(self, tmp_path: Path) -> None:
        self.interrupted(tmp_path)
        assert read_commit(tmp_path, "train") is None
        with self.begun(tmp_path).writing():
            assert (tmp_path / "ckpt-5.index").read_text() == "half way"
        assert list(require_commit(tmp_path, "train").files) == ["ckpt-5.index"]

    def test_refuses_other_settings_and_names_them(self, tmp_path: Path) -> None:
        self.interrupted(tmp_path)
        with pytest.raises(BoxcarError, match="steps was 10 and is now 20") as error:
            self.begun(tmp_path, steps=20).begin()
        assert error.value.code == 64
        self.begun(tmp_path).begin()

    def test_refuses_other_inputs(self, tmp_path: Path) -> None:
        self.interrupted(tmp_path)
        with pytest.raises(BoxcarError, match="inputs have changed") as error:
            Step("train", tmp_path, {"records": "other"}, {"steps": 10}, resumable=True).begin()
        assert error.value.code == 64

    def test_refuses_other_settings_when_finished_too(self, tmp_path: Path) -> None:
        with self.begun(tmp_path).writing():
            (tmp_path / "ckpt-5.index").write_text("whole")
        with pytest.raises(BoxcarError):
            self.begun(tmp_path, steps=20).begin()
        assert self.begun(tmp_path).done() is not None
        # One file gone: not finished any more, and what is there is gone on with.
        (tmp_path / "extra").write_text("x")
        (tmp_path / "ckpt-5.index").unlink()
        assert self.begun(tmp_path).done() is None
        with self.begun(tmp_path).writing():
            assert (tmp_path / "extra").exists()

    def test_killed_at_any_write_it_can_be_begun_again(self, tmp_path: Path) -> None:
        def work(folder: Path) -> None:
            with self.begun(folder).writing():
                (folder / "ckpt-5.index").write_text("x")

        for at in range(100):
            folder = tmp_path / str(at)
            reached = disturbed(lambda folder=folder: work(folder), at, kill)  # type: ignore[misc]
            if reached:
                found = read_commit(folder, "train")
                assert found is None or list(found.files) == ["ckpt-5.index"]
            work(folder)
            assert list_files(folder) == ["ckpt-5.index", COMMIT]
            if not reached:
                assert at > 5, "the writes were not seen"
                return
        raise AssertionError("the work never came to its end")
