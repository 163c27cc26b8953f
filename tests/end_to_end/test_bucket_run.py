"""A run whose pictures and results lie in a bucket, as a person without any folder of their own goes it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import boxcar_here
from storage_servers import Server

from boxcar.storage import Store, list_files, open_store

SETTINGS = ("--image-size", "128", "--steps", "30", "--batch-size", "4", "--init", "none", "--formats", "tflite_float32")
SETTINGS += ("--limit", "raw_difference=10")
CONFIGURATION = "checkpoint_interval_steps: 10\nlimits: {ap50_loss: 1}\n"


class Person:
    """Someone at a machine of their own: a cache of theirs, and the bucket that all share."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "config.yaml").write_text(CONFIGURATION)
        self.environment = os.environ | server.environment(server.address) | {"BOXCAR_CACHE": str(folder / "cache")}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "boxcar", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.environment, cwd=self.folder, text=True, **pipes)

    def boxcar(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments)
        out, err = process.communicate(timeout=900)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="module")
def person(minio: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Person]:
    folder = tmp_path_factory.mktemp("people")
    return lambda name: Person(folder / name, minio)


@pytest.fixture(scope="module")
def bucket(minio: Server) -> str:
    return f"s3://{minio.make_bucket()}"


@pytest.fixture
def store(minio: Server, bucket: str, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    for name, value in minio.environment(minio.address).items():
        monkeypatch.setenv(name, value)
    return open_store(bucket)


def finished(store: Store) -> dict[str, str]:
    return {entry.name: entry.tag for entry in store.entries() if entry.name.endswith("step.json")}


@pytest.mark.slow
def test_a_run_in_a_bucket_from_pictures_to_report(person, bucket: str, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = person("first")
    made = first.boxcar("shapes", "--output", f"{bucket}/pictures", "--pictures", "60", "--image-size", "128")
    assert made.returncode == 0, made.stderr
    assert f"The images are in {bucket}/pictures." in made.stdout

    arguments = ("run", "--data", f"{bucket}/pictures", "--output", f"{bucket}/runs/one", "--config", "config.yaml", *SETTINGS)
    process = first.start(*arguments)
    # While it trains, others see its checkpoints and how it stands.
    seen = set()
    while process.poll() is None:
        names = {entry.name.removeprefix("runs/one/") for entry in store.entries()}
        seen |= {name for name in names if "train/step.json" not in names}
        time.sleep(0.5)
    out, err = process.communicate()
    assert process.returncode == 0, err
    # Scores travel likewise, but of so short a training they may all come with its end.
    assert {"train/ckpt-10.json", "train/status.json"} <= seen
    assert any(name.startswith("train/events.") for name in seen)

    names = {entry.name.removeprefix("runs/one/") for entry in store.entries() if entry.name.startswith("runs/one/")}
    assert {
        "config.yaml",
        "run.json",
        "records/step.json",
        "train/step.json",
        "eval/step.json",
        "export/saved_model/step.json",
        "export/step.json",
        "export/manifest.json",
        "report/index.html",
        "report/step.json",
    } <= names
    assert not [name for name in names if "/." in name or name.startswith(".")], "nothing hidden is left"
    assert "failure.json" not in names
    provenance = json.loads(store.read("runs/one/export/manifest.json"))["provenance"]
    assert provenance["run"] == f"{bucket}/runs/one"
    assert f"{bucket}/runs/one/export" in out

    # The same again, on another machine: nothing is done, whatever that machine has to fetch to see it.
    second, before = person("second"), finished(store)
    again = second.boxcar(*arguments, "--resume")
    assert again.returncode == 0, again.stderr
    assert "nothing was done" in again.stdout
    assert finished(store) == before

    # One step alone, from the bucket into the bucket or to a folder, and whoever uses its result.
    third = person("third")
    frozen = third.boxcar(
        *("freeze", "--architecture", "ssd_mobilenet_v2_fpnlite_320x320"),
        *("--checkpoint", f"{bucket}/runs/one/train/ckpt-30", "--output", str(tmp_path / "frozen")),
    )
    assert frozen.returncode == 0, frozen.stderr
    assert "saved_model/saved_model.pb" in list_files(tmp_path / "frozen")
    reported = third.boxcar("report", "--run", f"{bucket}/runs/one")
    assert reported.returncode == 0, reported.stderr
    first_picture = first.folder / "cache" / "buckets"
    picture = next(first_picture.rglob("shapes-0001.jpg"))
    model = f"{bucket}/runs/one/export/tflite/detector_float32.tflite"
    found = third.boxcar("detect", model, str(picture), "--json", str(tmp_path / "found.json"))
    assert found.returncode == 0, found.stderr
    (line,) = (tmp_path / "found.json").read_text().splitlines()
    assert json.loads(line)["path"] == str(picture)


@pytest.mark.slow
def test_a_run_is_stopped_on_one_machine_and_gone_on_with_on_another(person, bucket: str, store) -> None:  # type: ignore[no-untyped-def]
    first, second = person("stopped"), person("resuming")
    made = first.boxcar("shapes", "--output", f"{bucket}/others", "--pictures", "40", "--image-size", "128")
    assert made.returncode == 0, made.stderr
    run = f"{bucket}/runs/moved"
    arguments = ("run", "--data", f"{bucket}/others", "--output", run, "--config", "config.yaml", *SETTINGS)
    arguments += ("--formats", "saved_model")
    process = first.start(*arguments)
    while not any(entry.name == "runs/moved/train/ckpt-10.json" for entry in store.entries()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert json.loads(store.read("runs/moved/failure.json"))["code"] == 75
    refused = second.boxcar(*arguments)
    assert refused.returncode == 64 and "is not finished" in refused.stderr, refused.stderr
    done = second.boxcar(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert "Resuming from the checkpoint of step" in done.stderr
    names = {entry.name for entry in store.entries()}
    assert "runs/moved/report/step.json" in names and "runs/moved/failure.json" not in names


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "--data", "{bucket}/nothing", "--output", "{bucket}/runs/none"), 64, "There is nothing at {bucket}/nothing."),
        (("train", "--run", "{bucket}/runs/none"), 64, "There is nothing at {bucket}/runs/none/records."),
        (("report", "--run", "{bucket}/runs/none"), 64, "{bucket}/runs/none/records holds no finished"),
        (("train", "--run", "{bucket}/runs/x", "--evaluator", "elsewhere"), 64, "shared local folder"),
        (("evaluate", "--run", "{bucket}/runs/x", "--sidecar"), 64, "shared local folder"),
        (("fetch", "--run", "runs/x", "--into", "here"), 64, "is not in a bucket"),
        (("run", "--data", "s3://u:p@host/x", "--output", "out"), 64, "names only a bucket"),
        (("records", "--data", "{bucket}-not-there/x", "--output", "out"), 69, "bucket"),
        (("run", "--data", "x", "--output", "y", "--config", "{bucket}/no.yaml"), 64, "There is nothing at {bucket}/no.yaml."),
        pytest.param(("doctor", "--output", "{bucket}-not-there/x"), 69, "-not-there", marks=pytest.mark.slow),
    ],
)
def test_what_is_not_there_is_said(  # type: ignore[no-untyped-def]
    bucket: str, store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    before = [entry for entry in store.entries() if not entry.name.endswith("failure.json")]
    done = boxcar_here(*(argument.format(bucket=bucket) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert words.format(bucket=bucket) in done.stderr
    assert "Traceback" not in done.stderr
    # Of a run that was to be, only why there is none.
    written = [entry for entry in store.entries() if not entry.name.endswith("failure.json")]
    assert written == before, "nothing is written where nothing was begun"


@pytest.mark.slow
def test_doctor_tells_of_buckets(person, bucket: str, store) -> None:  # type: ignore[no-untyped-def]
    done = person("doctor").boxcar("doctor", "--output", f"{bucket}/runs", "--data", f"{bucket}/pictures")
    said = " ".join(done.stdout.split())
    assert f"{bucket}/runs can be read, written, and deleted from." in said, done.stdout + done.stderr
    assert f"{bucket}/pictures can be read." in said, done.stdout
    assert not [entry for entry in store.entries() if "doctor" in entry.name]
