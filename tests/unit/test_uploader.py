"""The upload of a run's open steps: in a thread, as a sidecar, and the errors that end a training."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint_files import write_checkpoint
from storage_servers import FaultProxy, Server

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.checkpoints import append_score, list_checkpoints, read_scores, read_status, read_stop, write_status, write_stop
from boxcar.run.layout import FAILURE
from boxcar.run.step import Step
from boxcar.storage import Missing, open_store
from boxcar.sync import upload
from boxcar.sync.failure import clear_failure, record_failure
from boxcar.sync.mirror import Mirror
from boxcar.sync.transfer import send_folder
from boxcar.sync.upload import Uploader, Uploading, fetch_run


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(upload, "PASS_SECONDS", 0.1)


@pytest.fixture
def run(bucket_uri: str, tmp_path: Path) -> str:
    """A run in a bucket, with finished records."""
    folder = tmp_path / "records"
    with Step("records", folder, {}, {}).writing():
        (folder / "dataset.json").write_text("{}")
    send_folder(folder, open_store(f"{bucket_uri}/records"))
    open_store(bucket_uri).write("config.yaml", b"steps: 7\n")
    return bucket_uri


def begin(folder: Path) -> None:
    """Starts the steps of the trainer and the evaluator."""
    for name, inner in (("train", "train"), ("evaluate", "eval")):
        Step(name, folder / inner, {}, {}, resumable=True).begin()


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


def holds(run: str, name: str) -> bool:
    return any(entry.name == name for entry in open_store(run).entries())


def test_a_run_goes_on_elsewhere_from_what_was_sent(run: str, tmp_path: Path) -> None:
    here, there = fetch_run(run, tmp_path / "here"), tmp_path / "there"
    assert (here / "config.yaml").read_text() == "steps: 7\n"
    begin(here)
    write_checkpoint(here / "train", 10)
    append_score(here / "eval", {"step": 10, "AP": 0.5})
    write_status(here / "train", "RUNNING", 12)
    Uploader(run, here).send()
    fetch_run(run, there)
    assert [checkpoint.step for checkpoint in list_checkpoints(there / "train")] == [10]
    assert read_scores(there / "eval") == [{"step": 10, "AP": 0.5}]
    status = read_status(there / "train")
    assert status is not None and status.step == 12 and (status.memory_bytes or 0) > 1_000_000


def test_a_finished_step_is_sent_once_and_believed_there(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = fetch_run(run, tmp_path / "here")
    begin(here)
    uploader = Uploader(run, here)
    uploader.send()
    Step("train", here / "train", {}, {}, resumable=True).commit()
    uploader.send()
    assert holds(run, "train/step.json") and not holds(run, "train/.unfinished")
    # What is finished is not read again, pass by pass.
    monkeypatch.setattr("boxcar.sync.mirror.send_folder", lambda *_: pytest.fail("it was sent again"))
    uploader.send()
    assert fetch_run(run, tmp_path / "here") == here, "it holds nothing that was never sent"


def test_why_a_run_stopped_is_sent_and_taken_back(run: str, tmp_path: Path) -> None:
    here = fetch_run(run, tmp_path / "here")
    uploader = Uploader(run, here)
    record_failure(str(here), "train", BoxcarError(ExitCode.AGAIN, "Stopped.", "Go on."))
    uploader.send()
    assert json.loads(open_store(run).read(FAILURE))["what"] == "Stopped."
    clear_failure(str(here))
    uploader.send()
    assert not holds(run, FAILURE)


def test_a_command_on_the_bucket_itself_records_its_failure_there(run: str) -> None:
    fetch_run(run)
    record_failure(run, "report", BoxcarError(ExitCode.DATA, "Broken.", "Mend it."))
    assert json.loads(open_store(run).read(FAILURE))["code"] == 65
    clear_failure(run)
    assert not holds(run, FAILURE)


def test_nothing_is_written_where_no_run_is(bucket_uri: str) -> None:
    record_failure(bucket_uri, "report", BoxcarError(ExitCode.USAGE, "A slip of the pen.", "Correct it."))
    assert open_store(bucket_uri).entries() == []
    with pytest.raises(Missing):
        fetch_run(bucket_uri)


def test_a_bucket_that_is_away_for_a_while_costs_nothing(
    minio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy = FaultProxy(minio.port)
    for name, value in minio.environment(proxy.address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boxcar.retry.PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr("boxcar.retry.FIRST_CONTACT_SECONDS", 0.5)
    run = f"s3://{minio.make_bucket()}/run"
    begin(tmp_path)
    over = threading.Event()
    thread = threading.Thread(target=lambda: Uploader(run, tmp_path).follow(over))
    thread.start()
    try:
        wait_for(lambda: holds(run, "train/.unfinished"))
        proxy.down = True
        write_checkpoint(tmp_path / "train", 20)
        wait_for(lambda: "kept here and uploaded later" in capfd.readouterr().err)
        proxy.down = False
        wait_for(lambda: holds(run, "train/ckpt-20.json"))
    finally:
        over.set()
        thread.join()
        proxy.close()


def test_what_can_never_be_sent_ends_the_training(run: str, tmp_path: Path) -> None:
    """The checkpoints' folder in the bucket contains files of others: training for hours would be useless."""
    open_store(f"{run}/train").write("thesis.txt", b"mine")
    folder = Mirror(run).folder
    with pytest.raises(BoxcarError, match="no step wrote"), Uploading(run):
        begin(folder)
        wait_for(lambda: read_stop(folder) is not None)
    stop = read_stop(folder)
    assert stop is not None and stop.code == ExitCode.USAGE and "thesis.txt" in stop.what
    assert open_store(f"{run}/train").read("thesis.txt") == b"mine"


SIDECAR = """
import sys
from pathlib import Path
from boxcar.errors import BoxcarError, ExitCode
from boxcar.sync import upload
upload.PASS_SECONDS = 0.1
reason = BoxcarError(ExitCode.STOPPED, "Nobody watches.", "Start it again.")
upload.upload_beside(sys.argv[1], Path(sys.argv[2]), (lambda: reason) if sys.argv[3:] else None)
"""


def sidecar(run: str, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SIDECAR, run, str(folder), *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)


def test_a_sidecar_sends_once_more_when_it_is_told_to_end(run: str, tmp_path: Path) -> None:
    begin(tmp_path)
    process = sidecar(run, tmp_path)
    wait_for(lambda: holds(run, "train/.unfinished"))
    process.send_signal(signal.SIGSTOP)
    write_checkpoint(tmp_path / "train", 30)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert process.wait(30) == 0, process.stderr
    assert holds(run, "train/ckpt-30.json")


def test_a_run_that_nobody_watches_is_asked_to_end_and_still_sent(run: str, tmp_path: Path) -> None:
    begin(tmp_path)
    process = sidecar(run, tmp_path, "orphaned")
    wait_for(lambda: read_stop(tmp_path) is not None)
    stop = read_stop(tmp_path)
    assert stop is not None and stop.code == ExitCode.STOPPED and stop.what == "Nobody watches."
    write_checkpoint(tmp_path / "train", 40)
    wait_for(lambda: holds(run, "train/ckpt-40.json"))
    process.terminate()
    assert process.wait(30) == 0
    assert not any(".stop" in entry.name for entry in open_store(run).entries()), "it is for this start only"


def test_what_stops_a_training_is_not_there_at_its_next_start(run: str, tmp_path: Path) -> None:
    here = fetch_run(run, tmp_path / "here")
    write_stop(here, BoxcarError(ExitCode.STOPPED, "Over.", "Again."))
    fetch_run(run, here)
    assert read_stop(here) is None


def test_a_local_run_is_left_alone(tmp_path: Path) -> None:
    assert fetch_run(str(tmp_path / "run")) == tmp_path / "run"
    assert list(tmp_path.iterdir()) == []
