"""What a person is told to do next is a command that works."""

from pathlib import Path
from typing import Any

import pytest
import typer

from boxcar.cluster.job_status import explain_exit
from boxcar.config.run_settings import Configuration, make_configuration, write_configuration
from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.local.resume import naming, started_run
from boxcar.process import do_work
from boxcar.sync.mirror import Mirror


def last_line(step: str, work: Any, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit):
        do_work(step, work)
    return capsys.readouterr().err.splitlines()[-1]


def in_a_started_run(error: Exception) -> Any:
    def work() -> None:
        with naming("convert"):
            raise error

    return work


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left", "x"), BoxcarError(ExitCode.ENVIRONMENT, "Full.", "", again=True)]
)
@pytest.mark.parametrize(("step", "needed"), [("run", True), ("retrain", False), ("convert", False)])
def test_resume_is_named_where_the_command_has_and_needs_it(
    error: Exception, step: str, needed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    line = last_line(step, in_a_started_run(error), capsys)
    assert "the same command again" in line
    assert ("--resume" in line) == needed


def test_a_child_of_a_run_names_the_command_of_its_parent(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise OSError(28, "No space left", "x")

    lines = []
    do_work("run", lambda: lines.append(last_line("train", full, capsys)))
    lines.append(last_line("train", full, capsys))
    assert ["--resume" in line for line in lines] == [True, False]


def settings(**given: Any) -> Configuration:
    return make_configuration(None, {"data": "/images", "init": "none", **given})


@pytest.mark.parametrize("finished", [True, False])
def test_how_to_train_on_is_said_where_steps_differ(tmp_path: Path, finished: bool) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    write_configuration(run, settings(steps=60))
    (run / "train").mkdir()
    (run / "records").mkdir()
    (run / "records" / "step.json").write_text("{}")
    if finished:
        (run / "run.json").write_text("{}")
    with pytest.raises(Refused) as error:
        started_run(Mirror(str(run)), settings(steps=120), resume=False)
    assert error.value.code == 64
    assert (f"--from '{run}'" in error.value.do) == finished
    assert ("--resume" in error.value.do) != finished


@pytest.mark.parametrize("name", ["trainer", "evaluator"])
def test_a_container_that_was_lost_with_its_node_has_one_short_sentence(name: str) -> None:
    message = "The container could not be located when the pod was deleted.  The container used to be Running"
    ended = {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": message}
    pod = {"metadata": {"name": "pod"}, "status": {}}
    what = explain_exit(pod, {"name": name}, ended, lambda container: "").what
    assert what.count(".") == 1 and "SIGKILL" not in what and name in what


def test_what_a_container_said_last_ends_with_a_full_stop() -> None:
    ended = {"exitCode": 137, "reason": "Error", "message": "one\ntwo  words"}
    pod = {"metadata": {"name": "pod"}, "status": {}}
    assert explain_exit(pod, {"name": "trainer"}, ended, lambda container: "").what.endswith(": two words.")
