"""An error on its way between processes: from a container's edge, through the pod's status, to whoever explains the Job."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from boxcar.cluster.job_status import explain_exit, reported_error
from boxcar.errors import TERMINATION_LOG, BoxcarError, ExitCode, read_error
from boxcar.local.resume import naming
from boxcar.storage.cache import COPY_OF, uri_of


def left_by(tmp_path: Path, *command: str, **environment: str) -> tuple[int, str]:
    """The exit code of a command in a container, and what the kubelet would find."""
    log = tmp_path / "termination-log"
    log.write_text("")
    environment = os.environ | {TERMINATION_LOG: str(log)} | environment
    done = subprocess.run([sys.executable, "-m", "boxcar", *command], env=environment, capture_output=True, timeout=120)
    return done.returncode, log.read_text()


def explained(code: int, message: str) -> BoxcarError:
    pod = {"metadata": {"name": "boxcar-records-1-x"}, "spec": {"containers": []}, "status": {}}
    return explain_exit(pod, {"name": "records"}, {"exitCode": code, "message": message}, str)


def test_what_ended_a_container_is_what_ends_the_watch(tmp_path: Path) -> None:
    code, message = left_by(tmp_path, "records", "--data", str(tmp_path / "e.g. A"), "--output", str(tmp_path / "records"))
    assert code == 64
    error = explained(code, message)
    assert error.code == ExitCode.USAGE
    assert str(tmp_path / "e.g. A") in error.what
    assert "--data" in error.do
    assert len(message.encode()) < 4096  # all that Kubernetes keeps of a container


def test_a_command_that_went_well_leaves_nothing(tmp_path: Path) -> None:
    assert left_by(tmp_path, "shapes", "--output", str(tmp_path / "shapes"), "--pictures", "2") == (0, "")


def test_what_is_too_long_for_a_pod_is_cut_and_still_read(tmp_path: Path) -> None:
    code, message = left_by(tmp_path, "records", "--data", str(tmp_path / "long") * 40, "--output", str(tmp_path / "records"))
    error = reported_error({"message": message})
    assert error is not None and error.code == code
    assert len(message.encode()) < 3072  # a quarter of what it keeps of a pod


@pytest.mark.parametrize("message", ["", " \n", "Training: 3 of 4\nSegmentation fault\n", "{}", "[1]", '{"what": 1, "do": 2}'])
def test_a_container_that_died_without_an_error_is_named_with_its_last_line(message: str) -> None:
    assert reported_error({"message": message}) is None
    error = explained(139, message)
    assert error.code == ExitCode.ENVIRONMENT and "SIGSEGV" in error.what
    assert ("Segmentation fault" in error.what) == ("Segmentation" in message)
    assert explained(3, message).code == ExitCode.DEFECT


def test_what_lies_in_the_pod_is_named_as_it_is_in_the_bucket(tmp_path: Path) -> None:
    pod = tmp_path / "run"
    pod.mkdir()
    run = "s3://bucket/runs/1"
    code, message = left_by(tmp_path, "evaluate", "--run", str(pod), **{COPY_OF: f"{pod}={run}"})
    assert code == 64
    error = explained(code, message)
    assert run in error.what and str(pod) not in error.what


def test_a_path_in_a_copy_is_shown_as_its_uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(COPY_OF, f"{tmp_path}/run=gs://team/runs/1")
    assert uri_of(tmp_path / "run") == "gs://team/runs/1"
    assert uri_of(f"{tmp_path}/run/train/ckpt-7") == "gs://team/runs/1/train/ckpt-7"
    assert uri_of(tmp_path / "running") == f"{tmp_path}/running"
    assert uri_of("s3://bucket/a") == "s3://bucket/a"


def test_only_a_run_that_was_started_needs_resume() -> None:
    for started in (False, True):
        with pytest.raises(BoxcarError) as caught, naming("convert", resumes=started):
            raise BoxcarError(ExitCode.ENVIRONMENT, "The disk is full.", "Free disk space.", again=True)
        assert caught.value.step == "convert"
        assert caught.value.do.startswith("Free disk space. ")
        assert ("--resume" in caught.value.do) == started
    with pytest.raises(BoxcarError) as caught, naming("convert"):
        raise BoxcarError(ExitCode.DATA, "The image is damaged.", "Replace it.")
    assert caught.value.do == "Replace it."


def test_an_error_is_the_same_in_another_process() -> None:
    error = BoxcarError(ExitCode.DATA, "One image is damaged.", "Replace it.", ("a.jpg: truncated",), again=True)
    error.step = "records"
    for other in (pickle.loads(pickle.dumps(error)), read_error(json.loads(json.dumps(error.record())))):
        assert (other.code, other.what, other.do, other.step) == (error.code, error.what, error.do, "records")
    assert pickle.loads(pickle.dumps(error)).details == error.details
