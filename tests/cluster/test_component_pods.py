"""The pipeline's tasks as pods: compiled command, real image, Kubeflow's calling convention and its security context."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from cluster_under_test import ADDRESS, TAG, Place, wait_for
from pipeline_pods import PipelineRun, install
from watched import checkpoints, read_object, scored_steps, train_job
from webhook import Webhook

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4800)]
CLASSES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def webhook(place: Place) -> Iterator[Webhook]:
    with Webhook(ADDRESS) as made:
        install(place, url=made.url)
        yield made


def filled(place: Place, pictures: str, **changes: Any) -> PipelineRun:
    """A run of the toy's size, with these fields filled in otherwise."""
    own = {name: value for name, value in place.settings().items() if name not in ("cluster", "image_size", "steps", "init")}
    del own["gpus"]
    place.store(place.bucket).write("pipeline.yaml", yaml.safe_dump(own).encode())
    form = {
        "data": pictures,
        "output": f"{place.bucket}/pipeline-runs",
        "image_size": 128,
        "steps": 120,
        "initial_checkpoint": "none",
        "gpus": "0",
        "config": f"{place.bucket}/pipeline.yaml",
    }
    return PipelineRun(place, **form | changes)


@pytest.fixture(scope="module")
def finished(place: Place, pictures: str, webhook: Webhook) -> PipelineRun:
    """A run whose tasks have all ended well, one after the other."""
    made = filled(place, pictures)
    for task in ("records", "train", "freeze", "convert", "report"):
        made.start(task).must_succeed(1200)
    made.start("notify", "COMPLETE").must_succeed()
    return made


def test_records_say_what_they_hold(place: Place, finished: PipelineRun) -> None:
    step = finished.steps["records"]
    assert step.parameters["run"] == finished.run
    cluster = json.loads(step.parameters["cluster"])
    assert (cluster["image_tag"], cluster["credentials_secret"]) == (TAG, "boxcar-bucket")
    dataset = read_object(place.store(finished.run), "records/dataset.json")
    metadata = step.metadata("dataset")
    assert (metadata["version"], metadata["folder"]) == (dataset["version"], f"{finished.run}/records")
    assert sum(value for name, value in metadata.items() if name.endswith(" pictures")) == 60
    assert json.loads(step.read("dataset")) == dataset


def test_the_train_task_has_a_job_train_and_tells_its_result(place: Place, finished: PipelineRun) -> None:
    step, store = finished.steps["train"], place.store(finished.run)
    job = place.get("job", train_job(finished.run))
    assert [(owner["kind"], owner["name"]) for owner in job["metadata"]["ownerReferences"]] == [("Workflow", finished.name)]
    assert re.search(r"\[trainer\] Training: \d+ of 120 steps", step.log), step.log
    assert scored_steps(place, finished.run) == [20, 40, 60, 80, 100, 120]
    test = read_object(store, "eval/test.json")
    best = f"{finished.run}/train/ckpt-{test['step']}"
    assert step.parameters == {"Output": best}
    assert step.metadata("checkpoint") == {"checkpoint": best, "step": test["step"]}
    scores = step.metadata("scores")
    assert (scores["AP"], scores["AP50"], scores["test pictures"]) == (test["AP"], test["AP50"], test["pictures"])
    assert {f"AP50 {name}" for name in CLASSES} <= scores.keys()
    matrix = step.metadata("confusion")["confusionMatrix"]
    confusion = read_object(store, "eval/confusion.json")
    assert [one["displayName"] for one in matrix["annotationSpecs"]] == confusion["labels"]
    assert [row["row"] for row in matrix["rows"]] == confusion["counts"]


def test_exported_files_say_where_they_come_from(place: Place, finished: PipelineRun) -> None:
    store = place.store(finished.run)
    model = finished.steps["freeze"].metadata("model")
    assert (model["folder"], model["run"]) == (f"{finished.run}/export/saved_model", finished.run)
    assert model["pipeline_version"].startswith("train-detector ")
    assert model["image"] == f"docker.io/boxcar/train:{TAG}"
    manifest = read_object(store, "export/manifest.json")
    step = finished.steps["convert"]
    assert step.metadata("files")["files"] == ", ".join(entry["path"] for entry in manifest["files"])
    assert json.loads(step.read("files")) == manifest
    assert step.metadata("scores")["megabytes tflite/detector_float32.tflite"] > 1


def test_the_report_is_the_page_that_the_ui_shows(place: Place, finished: PipelineRun) -> None:
    step, store = finished.steps["report"], place.store(finished.run)
    assert step.read("page") == store.read("report/index.html")
    assert f"Run `{finished.run}`" in step.read("summary").decode()
    assert all(f"| {name} |" in step.read("summary").decode() for name in CLASSES)


def test_the_end_is_told_to_the_webhook(finished: PipelineRun, webhook: Webhook) -> None:
    words = f"Done: the run is in {finished.run}."
    assert finished.steps["notify"].read("summary").decode() == f"{words}\n"
    assert {"text": words, "state": "SUCCEEDED", "run": finished.run, "failure": None} in webhook.messages


def test_the_run_holds_what_the_command_makes(place: Place, finished: PipelineRun, toy: tuple[str, str]) -> None:
    def names(run: str) -> set[str]:
        """Without what depends on luck: which checkpoints were kept, and what event files are called after."""
        found = {entry.name for entry in place.store(run).entries()}
        return {name for name in found if "events.out" not in name and "/ckpt-" not in name}

    assert names(finished.run) == names(toy[0])
    assert checkpoints(place, finished.run)[-1] == 120


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"data": "{bucket}/nowhere"}, 64, r"data: There is nothing at s3://\S+/nowhere\."),
        ({"data": "s3://no-such-bucket-here/pictures"}, 69, "data: .*no-such-bucket-here"),
        ({"architecture": "yolo"}, 64, "architecture: There is no architecture 'yolo'"),
        ({"image_size": 100}, 64, "image_size: .*100"),
        ({"config": "{bucket}/nowhere.yaml"}, 64, r"config: .*/nowhere\.yaml"),
    ],
    ids=("data", "bucket", "architecture", "image_size", "config"),
)
def test_what_cannot_work_is_refused_in_the_first_minute(
    place: Place, pictures: str, webhook: Webhook, changes: dict[str, Any], code: int, words: str
) -> None:
    texts = {name: value.format(bucket=place.bucket) for name, value in changes.items() if isinstance(value, str)}
    made = filled(place, pictures, **changes | texts)
    step = made.start("records")
    assert step.end(60) == code, step.log
    assert re.match(words, step.last_line), step.log
    assert "Traceback" not in step.log
    failure = read_object(place.store(made.run), "failure.json")
    assert (failure["step"], failure["code"]) == ("records", code)
    assert step.last_line == f"{failure['what']} {failure['do']}"
    told = made.start("notify", "FAILED").must_succeed()
    text = f"The step records ended with {code}: {step.last_line}"
    assert told.read("summary").decode() == f"{text}\n"
    assert webhook.messages[-1] == {"text": text, "state": "FAILED", "run": made.run, "failure": failure}


def test_a_bucket_that_cannot_be_written_to_is_told_all_the_same(place: Place, pictures: str, webhook: Webhook) -> None:
    made = filled(place, pictures, output="s3://no-such-bucket-here/runs")
    step = made.start("records")
    assert step.end(60) == 69, step.log
    assert re.match("output: .*no-such-bucket-here", step.last_line), step.log
    told = made.start("notify", "FAILED")
    assert told.end(60) == 69, told.log
    assert "the reason cannot be read: " in webhook.messages[-1]["text"]
    assert webhook.messages[-1]["run"] == made.run


def test_a_pool_that_no_node_is_in_is_said_within_two_minutes(place: Place, pictures: str, webhook: Webhook) -> None:
    made = filled(place, pictures, node_pool="boxcar.dev/pool=nowhere")
    made.start("records").must_succeed()
    step, job = made.start("train"), train_job(made.run)
    waits = (
        r"The pod boxcar-train-\S+ has been waiting for a node since [\d:]+ UTC: 0/2 nodes are available: .*selector.*node_pool"
    )
    wait_for("the reason", lambda: re.search(waits, step.log), 120)
    made.terminate()
    wait_for("the end of the Job", lambda: place.kubectl("get", "job", job, "--ignore-not-found") == "", 120)


@pytest.mark.parametrize("task", ["freeze", "convert", "report"])
def test_a_later_task_leaves_word_why_it_failed(place: Place, pictures: str, webhook: Webhook, task: str) -> None:
    made = filled(place, pictures)  # in which nothing was done yet
    step = made.start(task, run=made.run, checkpoint=f"{made.run}/train/ckpt-20")
    assert step.end(300) in (64, 65), step.log
    assert "Traceback" not in step.log
    failure = read_object(place.store(made.run), "failure.json")
    assert failure is not None, step.log
    assert (failure["step"], step.last_line) == (task, f"{failure['what']} {failure['do']}")
