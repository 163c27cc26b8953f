"""Submitting to a Kubeflow endpoint: what is sent, what is said, and with which code it ends."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api as api
import pytest
from fake_kubeflow import Kubeflow, parse, run, serving, task

from boxcar import retry
from boxcar.cli.options import split_pairs
from boxcar.errors import BoxcarError, ExitCode, Terminated
from boxcar.kfp import endpoint as endpoint_module
from boxcar.kfp import following
from boxcar.kfp.endpoint import Endpoint
from boxcar.kfp.package import compiled_folder, read_package, read_values
from boxcar.kfp.submit import submit
from boxcar.storage.local_files import replace_json

GOLDEN = Path(__file__).parents[1] / "golden"
GIVEN = {"data": "s3://pictures/birds", "output": "s3://bucket/runs", "steps": "500"}


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kubeflow]:
    for name in (endpoint_module.ADDRESS, endpoint_module.TOKEN, endpoint_module.TOKEN_FILE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoint_module, "_PROJECTED", tmp_path / "no-token")
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.5)
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.5)
    with serving() as server:
        yield server


def start(kubeflow: Kubeflow, pipeline: str = "train-detector", given: dict[str, str] | None = None, **more: Any) -> list[str]:
    said: list[str] = []
    submit(pipeline, GIVEN if given is None else given, Endpoint(kubeflow.address), name="one", say=said.append, **more)
    return said


def refused(kubeflow: Kubeflow, code: int, **more: Any) -> str:
    with pytest.raises(BoxcarError) as caught:
        start(kubeflow, **more)
    assert caught.value.code == code, caught.value
    return str(caught.value)


def plain(kubeflow: Kubeflow) -> list[dict[str, Any]]:
    """What was sent, with names in place of what changes with every change of a pipeline."""
    text = json.dumps(kubeflow.sent)
    for path in compiled_folder().glob("*.yaml"):
        package = read_package(str(path))
        text = text.replace(json.dumps(package.text)[1:-1], f"<{path.name}>").replace(package.version, "<version>")
    return json.loads(text)


@pytest.mark.parametrize(
    ("name", "pipeline", "given", "more"),
    [
        ("submit_train_detector", "train-detector", GIVEN, {}),
        (
            "submit_convert_only",
            "convert-only",
            {"checkpoint": "gs://birds/r/train/ckpt-5", "records": "gs://birds/r/records", "output": "gs://birds/files"},
            {"namespace": "team-a", "experiment": "birds", "service_account": "default-editor"},
        ),
    ],
)
def test_what_is_sent(kubeflow: Kubeflow, name: str, pipeline: str, given: dict[str, str], more: dict[str, Any]) -> None:
    start(kubeflow, pipeline, given, **more)
    golden = GOLDEN / f"{name}.json"
    assert plain(kubeflow) == json.loads(golden.read_text()), "if it is meant to be so, write the golden file anew"


def test_the_same_pipeline_again_is_not_uploaded_again(kubeflow: Kubeflow) -> None:
    start(kubeflow)
    start(kubeflow)
    uploads = [one["path"] for one in kubeflow.sent if "upload" in one["path"]]
    assert uploads == ["/pipelines/upload", "/pipelines/upload_version"]
    assert [one["path"] for one in kubeflow.sent if one["method"] == "POST"].count("/experiments") == 1
    assert [one["path"] for one in kubeflow.sent if one["method"] == "POST"].count("/runs") == 2


@pytest.mark.filterwarnings("ignore:This client only works:FutureWarning")
def test_kfps_own_client_asks_in_the_same_way(kubeflow: Kubeflow) -> None:
    start(kubeflow, service_account="runner")
    ours = plain(kubeflow)
    kubeflow.sent.clear()
    kubeflow.pipelines.clear()
    kubeflow.versions.clear()
    kubeflow.experiments.clear()
    package = read_package("train-detector")
    file = str(compiled_folder() / "train_detector.yaml")
    client = kfp.Client(host=kubeflow.address)
    client.get_kfp_healthz()
    assert client.get_pipeline_id(package.name) is None
    made = client.upload_pipeline(file, package.name)
    version = client.upload_pipeline_version(file, package.version, pipeline_id=made.pipeline_id)
    experiment = client.create_experiment("Default")
    values = {**GIVEN, "steps": 500}
    client.run_pipeline(
        experiment.experiment_id,
        "one",
        params=values,
        pipeline_id=made.pipeline_id,
        version_id=version.pipeline_version_id,
        service_account="runner",
    )
    client.get_run("run-1")
    theirs = [one for number, one in enumerate(plain(kubeflow)) if number == 0 or one["path"] != "/healthz"]
    for one in theirs:
        if one["path"] == "/experiments" and one["method"] == "POST":
            assert one["body"].pop("namespace") == ""
    # It finds a version by its id alone, and so never looks for one by its name.
    assert [one for one in ours if not one["path"].endswith("/versions")] == theirs


def test_it_is_followed_to_its_end(kubeflow: Kubeflow) -> None:
    details = [
        # What Kubeflow 2.17 tells of one task, and of what it is in.
        [
            *(task(f"train-detector-xt6cj{node}", "RUNNING") for node in ("", "(0)")),
            *(task(f"{name}{node}", "RUNNING") for name in ("root", "exit-handler-1") for node in ("", "(0)")),
            *(task(f"{name}-driver{node}", "SUCCEEDED") for name in ("root", "records") for node in ("", "(0)")),
            *(task(f"{name}{node}", "RUNNING") for name in ("records", "executor") for node in ("", "(0)")),
        ],
        [task("records", "SUCCEEDED"), task("train", "RUNNING")],
        [task("records", "SUCCEEDED"), task("train", "RUNNING")],
    ]
    states = [run("RUNNING", run_details=api.V2beta1RunDetails(task_details=tasks)) for tasks in details]
    kubeflow.states = [run("PENDING"), *states, run("SUCCEEDED")]
    assert start(kubeflow) == [
        f"Started {kubeflow.address}/#/runs/details/run-1",
        "records: running",
        "records: succeeded",
        "train: running",
        "Done: the run is in s3://bucket/runs/run-1.",
    ]


def test_nobody_has_to_wait(kubeflow: Kubeflow) -> None:
    assert len(start(kubeflow, follow=False)) == 1
    assert kubeflow.sent[-1]["path"] == "/runs"


def test_a_failed_run_ends_with_the_code_and_the_words_of_its_step(
    kubeflow: Kubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.states = [run("FAILED", error=api.GoogleRpcStatus(code=13, message="task train failed"))]
    failure = {"step": "train", "code": 65, "what": "The loss is not finite.", "do": "Lower it.", "at": "now"}
    monkeypatch.setattr(following, "read_failure", {"s3://bucket/runs/run-1": failure}.__getitem__)
    assert refused(kubeflow, 65) == "The step train failed: The loss is not finite. Lower it."

    monkeypatch.setattr(following, "read_failure", lambda folder: None)
    sentence = refused(kubeflow, 69)
    assert sentence == f"The run failed: task train failed. See {kubeflow.address}/#/runs/details/run-1."

    def unreadable(folder: str) -> None:
        raise BoxcarError(ExitCode.ENVIRONMENT, "There is no key for S3.", "Set one.")

    monkeypatch.setattr(following, "read_failure", unreadable)
    assert "Its folder cannot be read from here: There is no key for S3." in refused(kubeflow, 69)


def test_a_run_that_somebody_ended(kubeflow: Kubeflow) -> None:
    # Kubeflow 2.17 says FAILED of it, and CANCELING only on the way there.
    history = [api.V2beta1RuntimeStatus(state=state) for state in ("RUNNING", "CANCELING", "FAILED")]
    kubeflow.states = [run("FAILED", state_history=history)]
    assert "The run was terminated." in refused(kubeflow, 76)


def test_who_stops_following_leaves_the_run_as_it_is(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    for told, code in ((KeyboardInterrupt, 130), (Terminated, 76)):

        def stop(seconds: float, told: type[BaseException] = told) -> None:
            raise told

        kubeflow.states = [run("RUNNING")]
        monkeypatch.setattr(retry.time, "sleep", stop)
        assert "which continues" in refused(kubeflow, code)


def test_a_server_that_is_away_for_a_while_is_waited_for(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Endpoint.get
    away = iter([True, True, False])

    def get(self: Endpoint, path: str, **query: str | None) -> Any:
        if path == "/runs/run-1" and next(away):
            raise retry.Unreachable(ExitCode.ENVIRONMENT, "Away.", "Wait.")
        return asked(self, path, **query)

    monkeypatch.setattr(Endpoint, "get", get)
    said = start(kubeflow)
    assert said[1:] == [
        "Away. The run continues.",
        "The server is reachable again.",
        "Done: the run is in s3://bucket/runs/run-1.",
    ]
    monkeypatch.setattr(retry, "OUTAGE_SECONDS", -1.0)
    away = iter([True])
    assert refused(kubeflow, 69) == "Away. Wait."


def test_tokens(kubeflow: Kubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubeflow.token = "secret-1"
    line = refused(kubeflow, 69)
    assert "denies access (Request not authenticated)" in line
    assert "--token-file" in line
    monkeypatch.setenv(endpoint_module.TOKEN, "secret-1")
    start(kubeflow)
    projected = tmp_path / "projected"
    projected.write_text("secret-2\n")
    monkeypatch.setenv(endpoint_module.TOKEN_FILE, str(projected))
    kubeflow.token = "secret-2"
    start(kubeflow)
    monkeypatch.delenv(endpoint_module.TOKEN_FILE)
    monkeypatch.delenv(endpoint_module.TOKEN)
    monkeypatch.setattr(endpoint_module, "_PROJECTED", projected)
    start(kubeflow)
    # It is read anew: the kubelet writes another one every hour.
    given = Endpoint(kubeflow.address, token_file=tmp_path / "given")
    for token in ("secret-3", "secret-4"):
        kubeflow.token = token
        (tmp_path / "given").write_text(token)
        given.check()
    (tmp_path / "given").unlink()
    with pytest.raises(BoxcarError, match=r"The token in .* cannot be read"):
        given.check()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((302, b""), "denies access (status 302)"),
        ((403, b"<html>"), "denies access (status 403)"),
        ((404, b"404 page not found"), "is not the API of Kubeflow Pipelines 2"),
        ((501, b"{}"), "is not the API of Kubeflow Pipelines 2"),
        ((200, b"<html>Kubeflow</html>"), "is not the API of Kubeflow Pipelines 2"),
        ((503, b"no healthy upstream"), "cannot be reached: status 503"),
        ((500, b'{"message": "database is away"}'), "refused the request: database is away."),
        ((500, b'{"error_message": "no room", "error_details": "at line 340"}'), "refused the request: no room."),
    ],
)
def test_a_server_that_is_none(kubeflow: Kubeflow, answer: tuple[int, bytes], words: str) -> None:
    kubeflow.refuses = answer
    assert words in refused(kubeflow, 69)


def test_nobody_there(kubeflow: Kubeflow) -> None:
    with pytest.raises(BoxcarError) as caught:
        Endpoint("http://127.0.0.1:9").check()
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "http://127.0.0.1:9 cannot be reached: " in caught.value.what
    assert "kubectl port-forward" in caught.value.do
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("address", [None, "kubeflow.example.com", "ftp://kubeflow", "http://user:secret@kubeflow"])
def test_an_endpoint_that_is_none(kubeflow: Kubeflow, address: str | None) -> None:
    with pytest.raises(BoxcarError) as caught:
        Endpoint(address)
    assert caught.value.code == ExitCode.USAGE
    assert "secret" not in str(caught.value)


def test_the_endpoint_of_the_environment(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint_module.ADDRESS, kubeflow.address + "/")
    assert Endpoint(None).check() is False


def test_many_users_need_a_namespace(kubeflow: Kubeflow) -> None:
    kubeflow.multi_user = True
    assert "Add --namespace" in refused(kubeflow, 64)
    start(kubeflow, namespace="team-a")
    # The uploaded pipeline is the namespace's own, and found there again.
    looked = [one["query"].get("namespace") for one in kubeflow.sent if one["path"] in ("/pipelines", "/pipelines/upload")]
    assert looked == ["team-a", "team-a"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data": "s3://b/d"}, "The parameter output is missing. Folder for runs."),
        (GIVEN | {"epochs": "3"}, "train-detector has no parameter epochs. These parameters exist: architecture, "),
        (GIVEN | {"steps": "many"}, "steps of train-detector cannot be 'many'. Write a whole number."),
        (GIVEN | {"steps": "1.5"}, "steps of train-detector cannot be 1.5. Write a whole number."),
        (GIVEN | {"steps": "true"}, "steps of train-detector cannot be True. Write a whole number."),
        (GIVEN | {"image_size": "100"}, "image_size: "),
        (GIVEN | {"architecture": "yolo"}, "architecture: There is no architecture 'yolo'."),
        (GIVEN | {"output": "/home/me"}, "output: /home/me is not in a bucket"),
        (GIVEN | {"node_pool": "gpu"}, "node_pool cannot be 'gpu'"),
        (GIVEN | {"gpus": "-1"}, "gpus cannot be '-1'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(kubeflow: Kubeflow, given: dict[str, str], words: str) -> None:
    assert words in refused(kubeflow, 64, given=given)
    assert kubeflow.sent == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"checkpoint": "ckpt-5"}, "checkpoint: ckpt-5 is not in a bucket"),
        ({"records": "/home/me/records"}, "records: /home/me/records is not in a bucket"),
        ({"output": " "}, "output is empty."),
        ({"config": "mine.yaml"}, "config: mine.yaml is not in a bucket"),
        ({"architecture": "yolo"}, "architecture: There is no architecture 'yolo'."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_conversion_that_cannot_be_is_refused_before_anything_is_sent(
    kubeflow: Kubeflow, changed: dict[str, str], words: str
) -> None:
    given = {name: f"gs://birds/{name}" for name in ("checkpoint", "records", "output")}
    with pytest.raises(BoxcarError) as caught:
        start(kubeflow, "convert-only", given | changed)
    assert words in str(caught.value)
    assert (caught.value.code, kubeflow.sent) == (ExitCode.USAGE, [])


@pytest.mark.parametrize("content", ["", "a: b", "- 1", "\t", "root: {}\npipelineInfo: 3\n"])
def test_a_file_that_is_no_pipeline(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(content)
    for name in (str(path), str(tmp_path / "none.yaml"), "bake-bread"):
        with pytest.raises(BoxcarError, match="Give one of convert-only, retrain-if-changed, ") as caught:
            read_package(name)
        assert caught.value.code == ExitCode.USAGE


def test_a_pipeline_of_somebody_else(tmp_path: Path) -> None:
    types = {"whole": "NUMBER_INTEGER", "share": "NUMBER_DOUBLE", "sure": "BOOLEAN"}
    types |= {"many": "LIST", "table": "STRUCT", "data": "STRING"}
    parameters = {name: {"parameterType": kind} for name, kind in types.items()}
    path = tmp_path / "pipeline.yaml"
    replace_json(path, {"pipelineInfo": {"name": "theirs"}, "root": {"inputDefinitions": {"parameters": parameters}}})
    given = {"whole": "3", "share": "0.5", "sure": "true", "many": "[1]", "table": '{"a": 1}', "data": "/anywhere"}
    values = {"whole": 3, "share": 0.5, "sure": True, "many": [1], "table": {"a": 1}, "data": "/anywhere"}
    package = read_package(str(path))
    assert read_values(package, given) == values
    assert re.fullmatch(r"\d+\.\d+\.\d+-[0-9a-f]{10}", package.version)


def test_parameters_as_they_are_written() -> None:
    assert split_pairs("-p", ["data=s3://b/a=b", "config="]) == {"data": "s3://b/a=b", "config": ""}
    for written in (["data"], ["data=1", "data=2"]):
        with pytest.raises(BoxcarError, match="data") as caught:
            split_pairs("-p", written)
        assert caught.value.code == ExitCode.USAGE


def test_the_fake_server_holds_to_the_models() -> None:
    with pytest.raises(AssertionError):
        parse({"run_id": "1", "no_such_key": 1}, "V2beta1Run")
