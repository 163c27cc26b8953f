"""TensorBoard itself on the copy of runs in a bucket, while a run trains; in a browser too. There is no TensorFlow in it."""

import contextlib
import io
import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from storage_servers import Server, free_port
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from boxcar.storage import open_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLLOW = "import sys; from pathlib import Path; from boxcar.tensorboard_sync import follow_runs; \
follow_runs(sys.argv[1], Path(sys.argv[2]), 3)"
# As in an image of its own; and where TensorFlow can be imported, it takes seconds to.
TENSORBOARD = "import sys; sys.modules['tensorflow'] = None; from tensorboard.main import run_main; run_main()"


@contextlib.contextmanager
def process(*command: str) -> Iterator[None]:
    started = subprocess.Popen([sys.executable, "-c", *command])
    try:
        yield
        assert started.poll() is None, "it ended by itself"
    finally:
        started.terminate()
        started.wait()


def event_file(path: Path, tag: str, steps: int, first: float) -> bytes:
    """What TensorFlow would have written by now: a value at each of so many steps, falling from the first."""
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=1e9, file_version="brain.Event:2").SerializeToString())
        for step in range(steps):
            value = Summary.Value(tag=tag, simple_value=first / (1 + step))
            writer.write(Event(wall_time=1e9 + step, step=step, summary=Summary(value=[value])).SerializeToString())
    return path.read_bytes()


class Board:
    """TensorBoard, and the runs in the bucket that it shows."""

    def __init__(self, runs: str, address: str, folder: Path) -> None:
        self.address = address
        self._store = open_store(runs)
        self._folder = folder

    def write(self, run: str, tag: str, steps: int, cut: int = 0, first: float = 1.0) -> None:
        content = event_file(self._folder / "events", tag, steps, first)
        self._store.write(f"{run}/events.out.tfevents.1.host.7.0.v2", content[: len(content) - cut])

    def commit(self, run: str) -> None:
        for step in ("train", "eval"):
            self._store.write(f"{run}/{step}/step.json", b"{}")

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}/data/{path}") as answer:
            return json.load(answer)

    def runs(self) -> list[str]:
        try:
            return sorted(self.ask("runs"))
        except urllib.error.URLError:
            return []  # it is not up yet

    def steps(self, run: str, tag: str) -> list[int]:
        try:
            points = self.ask(f"plugin/scalars/scalars?{urllib.parse.urlencode({'run': run, 'tag': tag})}")
        except urllib.error.URLError:
            return []  # nor does it know of such a run or tag at once
        return [step for _, step, _ in points]


@pytest.fixture(params=["auto", pytest.param("false", marks=pytest.mark.slow)])
def board(request: pytest.FixtureRequest, minio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """With the reader of event files that comes as a program of its own, and with the one in Python."""
    for name, value in minio.environment(minio.address).items():
        monkeypatch.setenv(name, value)
    runs, into, port = f"s3://{minio.make_bucket()}/runs", str(tmp_path / "logdir"), str(free_port())
    options = ["--logdir", into, "--host", "127.0.0.1", "--port", port, "--reload_interval", "1"]
    with process(FOLLOW, runs, into), process(TENSORBOARD, *options, "--load_fast", request.param):
        yield Board(runs, f"http://127.0.0.1:{port}", tmp_path)


def wait_for(look: Callable[[], Any], expected: Any) -> None:
    """For as long as a test may take: what is not seen by then is the failure."""
    while look() != expected:
        time.sleep(0.2)


@pytest.mark.timeout(180)
def test_a_run_is_shown_while_it_trains(board: Board) -> None:
    board.write("done/train", "loss", 5)
    board.write("done/eval", "AP", 2)
    board.commit("done")
    board.write("new/train", "loss", 3)
    wait_for(board.runs, ["done/eval", "done/train", "new/train"])
    wait_for(lambda: board.steps("new/train", "loss"), [0, 1, 2])
    # What is there ends in the middle of a record.
    board.write("new/train", "loss", 20, cut=7)
    wait_for(lambda: board.steps("new/train", "loss"), list(range(19)))
    board.write("new/train", "loss", 40)
    wait_for(lambda: board.steps("new/train", "loss"), list(range(40)))
    board.write("new/eval", "AP", 1)
    wait_for(board.runs, ["done/eval", "done/train", "new/eval", "new/train"])
    board.write("new/eval", "AP", 2)
    wait_for(lambda: board.steps("new/eval", "AP"), [0, 1])
    assert board.steps("done/train", "loss") == [0, 1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("board", ["auto"], indirect=True)
def test_a_file_that_was_written_anew_is_shown_anew(board: Board) -> None:
    """Nobody does this but by hand. The reader in Python would keep what it had read."""
    board.write("one/train", "loss", 12)
    wait_for(lambda: board.steps("one/train", "loss"), list(range(12)))
    board.write("one/train", "loss", 7, first=5.0)
    wait_for(lambda: board.steps("one/train", "loss"), list(range(7)))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("board", ["auto"], indirect=True)
def test_it_is_seen_in_a_browser(chromium: "Browser", board: Board, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    board.write("night-41/train", "loss", 30)
    board.write("night-41/eval", "loss", 30)
    board.commit("night-41")
    board.write("night-42/train", "loss", 12, first=2.0)
    wait_for(lambda: board.steps("night-42/train", "loss"), list(range(12)))
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{board.address}/?forceSVG=true#timeseries")  # a screenshot does not show what WebGL drew
    for run in ("night-41/train", "night-41/eval", "night-42/train"):
        expect(page.get_by_text(run, exact=True).first).to_be_visible(timeout=60_000)
    card = page.locator("scalar-card", has_text="loss").first
    wait_for(lambda: drawn(card.locator("line-chart").screenshot(), PINK), True)
    row = card.locator("tb-data-table-content-row", has_text="night-42/train")
    expect(row).to_contain_text("11 sec")
    board.write("night-42/train", "loss", 30, first=2.0)
    wait_for(lambda: board.steps("night-42/train", "loss"), list(range(30)))
    page.locator("app-header-reload button").click()
    expect(row).to_contain_text("29 sec", timeout=60_000)
    page.screenshot(path=tmp_path / "tensorboard.png")
    page.close()


PINK = (229, 37, 146)  # TensorBoard's colour of the third run


def drawn(picture: bytes, colour: tuple[int, int, int]) -> bool:
    """Whether a line of this colour is in a picture."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), int)
    return int((np.abs(pixels - colour).max(axis=-1) < 40).sum()) > 100
