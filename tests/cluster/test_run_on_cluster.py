"""A run from pictures in a bucket to a report there, one Job a step."""

import re

import pytest
from cluster_under_test import Place
from watched import Watcher, checkpoints, read_object, scored_steps, step_losses

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4800)]


@pytest.mark.cluster_core
def test_everything_is_in_the_bucket(place: Place, toy: tuple[str, str]) -> None:
    run, _ = toy
    names = {entry.name for entry in place.store(run).entries()}
    for folder in ("records", "train", "eval", "export/saved_model", "export", "report"):
        assert f"{folder}/step.json" in names, folder
    assert {"config.yaml", "run.json", "report/index.html", "export/manifest.json", "eval/test.json"} <= names
    assert "failure.json" not in names
    assert checkpoints(place, run)[-1] == 120 and scored_steps(place, run) == [20, 40, 60, 80, 100, 120]
    for step in ("train", "eval"):
        assert any(re.match(rf"{step}/events\.out\.tfevents", name) for name in names), step
    assert read_object(place.store(run), "train/status.json")["memory_bytes"] > 2**28


@pytest.mark.cluster_core
def test_the_watcher_shows_progress(toy: tuple[str, str]) -> None:
    _, text = toy
    assert re.search(r"\[records\] .*60 pictures|\[records\] .*60", text), text
    assert re.search(r"\[trainer\] Training: \d+ of 120 steps, .*loss \d", text), text
    assert re.search(r"\[evaluator\] Evaluating: \d of \d checkpoints.*AP50 ", text), text


@pytest.mark.cluster_core
def test_pods_had_no_more_rights_than_they_need(place: Place, toy: tuple[str, str]) -> None:
    assert place.kubectl("auth", "can-i", "get", "leases", "--as", f"system:serviceaccount:{place.namespace}:boxcar-trainer")
    warnings = [event["message"] for event in place.get("events", "--field-selector", "reason=FailedCreate")["items"]]
    # Other tests' Jobs may have met a quota, but `restricted` refused none.
    assert [warning for warning in warnings if "violates PodSecurity" in warning] == []


@pytest.mark.cluster_core
def test_a_finished_run_is_not_done_again(place: Place, toy: tuple[str, str], pictures: str) -> None:
    run, _ = toy
    before = {entry.name: entry.tag for entry in place.store(run).entries()}
    again = Watcher(place, run, place.settings(), data=pictures, resume=True)
    again.must_succeed()
    assert "nothing was done" in again.text and "Created the Job" not in again.text
    assert {entry.name: entry.tag for entry in place.store(run).entries()} == before


def test_a_run_starts_from_a_finished_one(place: Place, toy: tuple[str, str]) -> None:
    """From its best checkpoint and at a low rate."""
    earlier, _ = toy
    run = place.new_run()
    watcher = Watcher(place, run, place.settings(init=None, steps=20), earlier=earlier)
    watcher.must_succeed(1200)
    assert step_losses(place, run)[1] < 0.6 * step_losses(place, earlier)[1]
    assert read_object(place.store(run), "train/step.json")["parameters"]["learning_rate"] < 0.002
    assert read_object(place.store(run), "run.json") is not None
