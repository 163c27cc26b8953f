"""How a run ends or waits, in words, from what the cluster really says."""

import re
import signal
from typing import Any

import pytest
from cluster_under_test import Place, wait_for
from watched import Watcher, begun, read_object, train_job

from boxcar.cluster.job import job_name
from boxcar.storage import open_store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4800)]


def failure(place: Place, run: str) -> dict[str, Any]:
    found = read_object(place.store(run), "failure.json")
    assert found is not None
    return dict(found)


def test_bad_data_ends_the_run_at_once(place: Place, pictures: str) -> None:
    bad = f"{place.bucket}/bad"
    source, target = open_store(pictures), open_store(bad)
    for entry in source.entries()[:40]:
        target.write(entry.name, source.read(entry.name))
    name = next(entry.name for entry in target.entries() if entry.name.endswith(".xml"))
    target.write(name, b"<annotation><object>")
    run = place.new_run()
    watcher = Watcher(place, run, place.settings(), data=bad)
    watcher.must_fail(65, r"have 1 fault\. Correct what is listed above")
    assert f"[records] {name.rpartition('/')[2]}: the XML is broken" in watcher.text
    job = job_name("records", run)
    assert len(place.pods(job)) == 1
    (condition,) = [one for one in place.get("job", job)["status"]["conditions"] if one["type"] == "Failed"]
    assert condition["reason"] == "PodFailurePolicy"
    assert failure(place, run)["step"] == "records" and failure(place, run)["code"] == 65
    # Nothing was begun: the pictures are mended, and the same command starts it.
    assert read_object(place.store(run), "records/step.json") is None


def test_bad_configuration_ends_the_run_at_once(place: Place, records: str) -> None:
    run, settings = begun(place, records)
    place.store(run).write("config.yaml", b"image_size: 128\nno_such_setting: 1\n")
    Watcher(place, run, settings).must_fail(64, "There is no setting no_such_setting")
    assert len(place.pods(train_job(run))) == 1
    assert failure(place, run)["code"] == 64


def test_no_node_has_so_many_gpus(place: Place, records: str) -> None:
    pool = {"gpu_node_selector": {"boxcar.dev/pool": "gpu"}}
    watcher = Watcher(place, *begun(place, records, gpus=8, cluster=pool))
    watcher.says(
        r"The pod boxcar-train-\S+ has been waiting for a node since [\d:]+ UTC: 0/2 nodes are available: .*nvidia.com/gpu", 120
    )
    end(watcher)


def test_a_deadline_that_passes_while_it_waits_says_for_what(place: Place, records: str) -> None:
    watcher = Watcher(place, *begun(place, records, gpus=8, cluster={"deadline_hours": 45 / 3600}))
    watcher.must_fail(76, r"was ended by its deadline of 0.0125 hours before it could work: .*nvidia.com/gpu")


def test_a_deadline_that_passes_while_it_trains(place: Place, records: str) -> None:
    watcher = Watcher(place, *begun(place, records, steps=100_000, cluster={"deadline_hours": 75 / 3600}))
    watcher.must_fail(76, r"was ended by its deadline of 0.0208 hours\. Raise cluster.deadline_hours")
    assert re.search(r"Stopped at step \d+ of 100000; its checkpoint is saved", watcher.text), watcher.text
    assert "Another pod resumes" not in watcher.text


def test_a_quota_that_is_used_up(place: Place, records: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": place.namespace}}
    place.cluster.apply({**quota, "spec": {"hard": {"limits.memory": "1Gi"}}})
    try:
        watcher = Watcher(place, *begun(place, records))
        watcher.says(
            r"has been unable to create its pod since [\d:]+ UTC: .*exceeded quota: small, requested: limits.memory=", 120
        )
    finally:
        place.kubectl("delete", "resourcequota", "small")
    watcher.must_succeed()  # and goes on by itself once there is room


def test_an_image_that_is_not_there(place: Place, records: str) -> None:
    run, settings = begun(place, records, cluster={"image_tag": "no-such-tag"})
    watcher = Watcher(place, run, settings)
    image = r"docker\.io/boxcar/train:no-such-tag"
    watcher.says(rf"The container image {image} of fetch could not be pulled \(waiting since [\d:]+ UTC\): .*{image}", 120)
    end(watcher)
    never = Watcher(place, run, place.settings(cluster={"image_tag": "no-such-tag", "image_pull_policy": "Never"}))
    never.must_fail(69, r"could not be pulled .*not present with pull policy of Never", "image_tag")
    gone(place, run)


def test_a_secret_that_is_not_there(place: Place, records: str) -> None:
    watcher = Watcher(place, *begun(place, records, cluster={"credentials_secret": "no-such-secret"}))
    watcher.says(
        r"The container fetch of the pod \S+ has been unable to start since .*secret \"no-such-secret\" not found", 120
    )
    end(watcher)


def test_a_trainer_that_runs_out_of_memory(place: Place, records: str) -> None:
    run, settings = begun(place, records, cluster={"trainer_memory": "400Mi"})
    watcher = Watcher(place, run, settings)
    use = "(it had not reported its memory use|its last reported memory use was [0-9.]+ GiB)"
    watcher.must_fail(69, rf"The trainer ran out of memory: its limit is 400Mi, and {use}", "trainer_memory", seconds=900)
    assert "was tried 4 times" in watcher.text
    assert failure(place, run)["step"] == "train"


def test_an_evaluator_that_runs_out_of_memory(place: Place, records: str) -> None:
    run, settings = begun(place, records, steps=100_000, cluster={"evaluator_memory": "300Mi"})
    watcher = Watcher(place, run, settings)
    watcher.must_fail(69, r"The evaluator ran out of memory: its limit is 300Mi", "cluster.evaluator_memory", seconds=900)
    gone(place, run)


def test_who_has_no_right_is_told_which(place: Place, records: str) -> None:
    run, settings = begun(place, records)
    config = place.kubeconfig.read_text()
    mine = re.search(r"token: (\S+)", config)
    assert mine is not None
    others = place.kubectl("create", "token", "boxcar-trainer").strip()
    try:
        place.kubeconfig.write_text(config.replace(mine[1], others))
        Watcher(place, run, settings).must_fail(69, r'jobs.* is forbidden: User ".*boxcar-trainer"', "boxcar-launcher")
        place.kubeconfig.write_text(config.replace(mine[1], "nobody"))
        Watcher(place, run, settings).must_fail(69, "Unauthorized", "Renew the credentials")
    finally:
        place.kubeconfig.write_text(config)


def gone(place: Place, run: str) -> None:
    """Waits until the run's Job is deleted."""
    wait_for("no Job", lambda: place.kubectl("get", "job", train_job(run), "--ignore-not-found") == "", 120)


def end(watcher: Watcher) -> None:
    """Ctrl-C, which takes the Job away."""
    watcher.send(signal.SIGINT)
    assert watcher.end() == 130
