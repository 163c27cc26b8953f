"""Components as pods run them: their compiled command, an executor input, and what is left in the run's folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from compiled import run_component
from exported import ARCHITECTURE, ExportedRun
from finished_run import write_run
from storage_servers import MinioServer, Server

from boxcar.kfp.installation import LAUNCHER
from boxcar.storage import open_store

DIGEST = "sha256:" + "1f" * 32
CONFIGURATION = "formats: [tflite_float32]\nlimits: {ap50_loss: 1, raw_difference: 10}\n"


def form(pictures: object, output: object, **changed: Any) -> dict[str, Any]:
    """What the records component is given."""
    return {
        "data": str(pictures),
        "output": str(output),
        "job": "job-1",
        "resume_from": "",
        "architecture": ARCHITECTURE,
        "image_size": 128,
        "steps": 20,
        "initial_checkpoint": "none",
        "gpus": "0",
        "gpu_type": "",
        "node_pool": "",
        "config": "",
        "bucket_secret": "boxcar-bucket",
        "images": {"image_repository": "docker.io/boxcar", "image_tag": "1.0", "image_digests": {"train": DIGEST}},
        **changed,
    }


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from boxcar.shapes import make_shapes

    return make_shapes(str(tmp_path_factory.mktemp("drawn") / "pictures"), pictures=24, image_size=64)


def records(folder: Path, given: dict[str, Any], **variables: str) -> Any:
    return run_component("train_detector", "records", folder, given, **{LAUNCHER: "local", **variables})


def test_records_begin_a_run_and_describe_the_data(tmp_path: Path, drawn: Path) -> None:
    made = records(tmp_path / "pod", form(drawn, tmp_path / "runs", node_pool="pool=fast"))
    assert made.code == 0, made.stderr
    run = tmp_path / "runs" / "job-1"
    assert made.outputs["run"] == str(run)
    cluster = json.loads(made.outputs["cluster"])
    assert cluster["cpu_node_selector"] == {"pool": "fast"}
    assert (cluster["image_tag"], cluster["image_digests"]) == ("1.0", {"train": DIGEST})
    assert cluster["credentials_secret"] is None, "no Secret is mounted here"
    dataset = json.loads((run / "records" / "dataset.json").read_text())
    metadata = made.artifact("dataset")["metadata"]
    assert metadata["version"] == dataset["version"]
    assert metadata["folder"] == f"{run}/records"
    assert metadata["train pictures"] == dataset["splits"]["train"]["pictures"]
    assert metadata["classes"] == "circle, square, triangle"
    assert "\ndata: " in (run / "config.yaml").read_text()


@pytest.mark.slow
def test_another_picture_under_the_same_uri_makes_other_records(tmp_path: Path, drawn: Path) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(drawn, pictures)
    first = records(tmp_path / "first", form(pictures, tmp_path / "runs"))
    for ending in (".jpg", ".xml"):
        source = sorted(pictures.glob(f"*{ending}"))[0]
        text = source.read_bytes() + (b"\0" if ending == ".jpg" else b"")
        (pictures / f"added{ending}").write_bytes(text.replace(source.stem.encode(), b"added"))
    second = records(tmp_path / "second", form(pictures, tmp_path / "runs", job="job-2"))
    assert first.code == second.code == 0, second.stderr
    versions = [one.artifact("dataset")["metadata"]["version"] for one in (first, second)]
    assert versions[0] != versions[1]
    counts = [sum(v for k, v in one.artifact("dataset")["metadata"].items() if "pictures" in k) for one in (first, second)]
    assert counts == [24, 25]


def test_a_pod_that_is_started_again_goes_on(tmp_path: Path, drawn: Path) -> None:
    for attempt in ("first", "second"):
        made = records(tmp_path / attempt, form(drawn, tmp_path / "runs"))
        assert made.code == 0, made.stderr


def test_what_cannot_work_is_refused_by_name(tmp_path: Path, drawn: Path) -> None:
    for changed, words in (
        ({"data": f"{tmp_path}/nowhere"}, f"data: There is nothing at {tmp_path}/nowhere."),
        ({"initial_checkpoint": f"{tmp_path}/ckpt-0"}, f"initial_checkpoint: There is no checkpoint {tmp_path}/ckpt-0."),
        ({"image_size": 100}, "image_size: "),
        ({"steps": -1}, "steps cannot be -1"),
    ):
        job = next(iter(changed))
        ended = records(tmp_path / job, form(drawn, tmp_path / "runs", job=job) | changed)
        assert ended.code == 64, ended.stderr
        assert "Traceback" not in ended.stderr
        assert words in ended.last_line
        failure = json.loads((tmp_path / "runs" / job / "failure.json").read_text())
        assert (failure["step"], failure["code"]) == ("records", 64)
        assert ended.last_line == f"{failure['what']} {failure['do']}"


@pytest.mark.slow
def test_an_older_run_is_gone_on_with_at_its_own_settings_only(tmp_path: Path, drawn: Path) -> None:
    begun = records(tmp_path / "pod", form(drawn, tmp_path / "runs"))
    older = {"resume_from": begun.outputs["run"], "job": "job-2"}
    again = records(tmp_path / "again", form(drawn, tmp_path / "runs", **older))
    assert again.outputs["run"] == begun.outputs["run"]
    other = records(tmp_path / "other", form(drawn, tmp_path / "runs", **older, steps=30))
    assert other.code == 64
    assert "resume_from: " in other.last_line
    assert "steps was 20 and is now 30" in other.last_line
    nothing = records(tmp_path / "nothing", form(drawn, tmp_path / "runs", resume_from=str(tmp_path / "runs" / "none")))
    assert nothing.code == 64
    assert nothing.last_line.startswith("resume_from: There is no run at ")


def test_on_a_cluster_everything_lies_in_buckets(tmp_path: Path, minio: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = minio.environment(minio.address) | {"BOXCAR_CACHE": str(tmp_path / "cache"), LAUNCHER: ""}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    bucket = f"s3://{minio.make_bucket()}"
    for name, value in (("data", "/pictures"), ("initial_checkpoint", "/zoo/ckpt-0"), ("config", "/config.yaml")):
        given = form("s3://pictures/birds", bucket, job=name) | {name: value}
        ended = records(tmp_path / name, given, **variables)
        assert ended.code == 64, ended.stderr
        assert ended.last_line.startswith(f"{name}: {value} is not in a bucket")
        assert json.loads(open_store(bucket).read(f"{name}/failure.json"))["code"] == 64


def test_a_bucket_that_may_not_be_written_to(tmp_path: Path, drawn: Path, minio: Server) -> None:
    variables = minio.environment(minio.address) | {"BOXCAR_CACHE": str(tmp_path / "cache")}
    ended = records(tmp_path / "pod", form(drawn, "s3://no-such-bucket-here/runs"), **variables)
    assert ended.code == 69, ended.stderr
    sentences = ended.stderr.splitlines()
    assert ended.last_line.startswith("output: "), sentences
    assert "no-such-bucket-here" in ended.last_line


@pytest.mark.slow
def test_the_whole_way_behind_training_in_a_bucket(
    tmp_path: Path, exported_run: ExportedRun, minio: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(minio, MinioServer)
    variables = minio.environment(minio.address) | {"BOXCAR_CACHE": str(tmp_path / "cache"), LAUNCHER: ""}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    bucket = f"s3://{minio.make_bucket()}"
    store = open_store(bucket)
    for folder in ("train", "records"):
        for path in (exported_run.folder / folder).rglob("*"):
            if path.is_file():
                store.upload(path, f"older/{folder}/{path.name}")
    store.write("config.yaml", CONFIGURATION.encode())
    run = f"{bucket}/files"
    given = {"architecture": ARCHITECTURE, "checkpoint": f"{bucket}/older/train/ckpt-7", "run": run}
    frozen = run_component("convert_only", "freeze", tmp_path / "freeze", given, **variables)
    assert frozen.code == 0, frozen.stderr
    assert "stochastic_depth" not in frozen.stderr, "libraries do not say all that they do"
    metadata = frozen.artifact("model")["metadata"]
    assert metadata["run"] == f"{bucket}/older"
    assert metadata["pipeline_version"].startswith("convert-only ")
    given = {"run": run, "records": f"{bucket}/older/records", "config": f"{bucket}/config.yaml"}
    made = run_component("convert_only", "convert", tmp_path / "convert", given, **variables)
    assert made.code == 0, made.stderr
    assert made.artifact("files")["metadata"]["files"] == "saved_model, tflite/detector_float32.tflite"
    scores = made.artifact("scores")["metadata"]
    assert scores["megabytes tflite/detector_float32.tflite"] > 1
    assert {"files/export/manifest.json", "files/export/step.json"} <= {entry.name for entry in store.entries()}

    missing = given | {"records": f"{bucket}/nowhere"}
    refused = run_component("convert_only", "convert", tmp_path / "missing", missing, **variables)
    assert refused.code == 64
    assert refused.last_line.startswith(f"records: There is nothing at {bucket}/nowhere.")
    assert json.loads(store.read("files/failure.json"))["step"] == "convert"


def test_a_conversion_that_cannot_work_is_refused_by_name_before_anything_is_frozen(tmp_path: Path, drawn: Path) -> None:
    (tmp_path / "config.yaml").write_text("formats: [tflight]\n")
    given = {"architecture": ARCHITECTURE, "checkpoint": f"{tmp_path}/ckpt-7", "run": f"{tmp_path}/run"}
    given |= {"records": str(drawn), "config": ""}
    for changed, words in (
        ({"architecture": "yolo"}, "architecture: There is no architecture 'yolo'."),
        ({"records": f"{tmp_path}/nowhere"}, f"records: There is nothing at {tmp_path}/nowhere."),
        ({"config": f"{tmp_path}/config.yaml"}, "config: formats"),
        ({}, f"checkpoint: There is no checkpoint {tmp_path}/ckpt-7."),
    ):
        ended = run_component("convert_only", "freeze", tmp_path / f"pod {words[:6]}", given | changed, **{LAUNCHER: "local"})
        assert (ended.code, words in ended.last_line) == (64, True), ended.stderr


@pytest.mark.parametrize(
    "component", ["train", *(pytest.param(one, marks=pytest.mark.slow) for one in ("freeze", "convert", "report"))]
)
def test_a_pod_that_has_seen_nothing_of_the_run_leaves_word_why_it_failed(
    tmp_path: Path, minio: Server, monkeypatch: pytest.MonkeyPatch, component: str
) -> None:
    variables = minio.environment(minio.address) | {"BOXCAR_CACHE": str(tmp_path / "cache"), LAUNCHER: ""}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run = f"s3://{minio.make_bucket()}/runs/1"
    open_store(run).write("config.yaml", b"image_size: 1\n")
    given = {"run": run, "cluster": "{}", "architecture": ARCHITECTURE, "checkpoint": f"{run}/train/ckpt-7"}
    given |= {"records": "", "config": ""}
    ended = run_component("train_detector", component, tmp_path / "pod", given, **variables)
    assert ended.code == 64, ended.stderr
    failure = json.loads(open_store(run).read("failure.json"))
    assert (failure["step"], ended.last_line) == (component, f"{failure['what']} {failure['do']}")


def test_the_report_is_shown_whole_and_in_short(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    shown = run_component("train_detector", "report", tmp_path / "pod", {"run": str(run)})
    assert shown.code == 0, shown.stderr
    assert (tmp_path / "pod" / "page").read_bytes() == (run / "report" / "index.html").read_bytes()
    summary = (tmp_path / "pod" / "summary").read_text()
    assert "| class | AP50 | AP |" in summary
    assert "| tflite/detector_int8.tflite | 3.5 MB |" in summary


@pytest.fixture
def finished(tmp_path: Path, minio: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, str]]:
    """URI of a finished run in a bucket, and what opens it."""
    variables = minio.environment(minio.address) | {"BOXCAR_CACHE": str(tmp_path / "cache"), LAUNCHER: ""}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run = write_run(tmp_path / "run")
    uri = f"s3://{minio.make_bucket()}/runs/1"
    store = open_store(uri)
    for path in run.rglob("*"):
        if path.is_file():
            store.upload(path, path.relative_to(run).as_posix())
    matrix = {"labels": ["circle", "background"], "counts": [[7, 1], [2, 0]]}
    store.write("eval/confusion.json", json.dumps(matrix).encode())
    return uri, variables


def test_a_training_that_is_done_is_believed_and_shown(tmp_path: Path, finished: tuple[str, dict[str, str]]) -> None:
    run, variables = finished
    done = run_component("train_detector", "train", tmp_path / "pod", {"run": run, "cluster": "{}"}, **variables)
    assert done.code == 0, done.stderr
    assert done.outputs["Output"] == f"{run}/train/ckpt-900"
    assert done.artifact("checkpoint")["metadata"]["checkpoint"] == f"{run}/train/ckpt-900"
    scores = done.artifact("scores")["metadata"]
    assert (scores["AP"], scores["AP50"], scores["test pictures"]) == (0.803, 0.964, 12.0)
    assert {name for name in scores if name.startswith("AP50 ")} == {"AP50 circle", "AP50 square", "AP50 triangle"}
    matrix = done.artifact("confusion")["metadata"]["confusionMatrix"]
    assert [one["displayName"] for one in matrix["annotationSpecs"]] == ["circle", "background"]
    assert [row["row"] for row in matrix["rows"]] == [[7, 1], [2, 0]]


def test_a_training_needs_a_cluster(tmp_path: Path, finished: tuple[str, dict[str, str]]) -> None:
    run, variables = finished
    open_store(run).delete(["train/step.json"])
    variables |= {"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    ended = run_component("train_detector", "train", tmp_path / "pod", {"run": run, "cluster": "{}"}, **variables)
    assert ended.code == 69, ended.stderr
    assert ended.last_line.startswith("No Kubernetes cluster was found: KUBECONFIG")
    failure = json.loads(open_store(run).read("failure.json"))
    assert (failure["step"], failure["code"]) == ("train", 69)


@pytest.mark.parametrize("failed", [True, False])
def test_the_end_is_told(tmp_path: Path, failed: bool) -> None:
    run = tmp_path / "runs" / "job-1"
    run.mkdir(parents=True)
    if failed:
        failure = {"step": "train", "code": 65, "what": "The loss is not finite.", "do": "Lower it.", "at": "now"}
        (run / "failure.json").write_text(json.dumps(failure))
    status = {
        "state": "FAILED" if failed else "SUCCEEDED",
        "pipelineJobResourceName": "train-detector-1",
        "pipelineTaskName": "steps",
        "error": {"code": 9, "message": "The DAG failed."} if failed else {},
    }
    given = {"status": status, "output": str(run.parent), "job": "job-1", "resume_from": ""}
    told = run_component("train_detector", "notify", tmp_path / "pod", given)
    assert told.code == 0, told.stderr
    words = "The step train ended with 65: The loss is not finite. Lower it." if failed else f"Done: the run is in {run}."
    assert (tmp_path / "pod" / "summary").read_text() == words + "\n"
    assert (run / "failure.json").exists() == failed, "it is no failure of its own, and clears none away"


@pytest.mark.parametrize(
    ("image", "missing", "used"),
    [
        ("records", ("kubernetes",), ("boxcar.records", "boxcar.kfp.running")),
        (
            "ops",
            (),
            (
                *("boxcar.cluster.job_chain", "boxcar.kfp.running", "boxcar.kfp.ending"),
                *("boxcar.kfp.retraining", "boxcar.retraining.on_cluster", "boxcar.kfp.submit"),
                "boxcar.report.terminal",
            ),
        ),
    ],
)
def test_small_images_hold_all_that_their_components_load(image: str, missing: tuple[str, ...], used: tuple[str, ...]) -> None:
    # With kfp come no packages that it needs, so its submodules beyond the executor do not load there.
    absent = ("tensorflow", "hotcoco", "flatbuffers", "ai_edge_litert", "tensorflowjs", "kfp", "kfp_server_api", *missing)
    program = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))
import boxcar.kfp.artifacts, boxcar.kfp.running, boxcar.doctor.buckets, {", ".join(used)}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{image}: {done.stderr}"
