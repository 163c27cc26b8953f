"""The chart's CronJob retrains a model in Jobs, one per step and one for the gate, and does nothing if nothing has changed."""

import json
from typing import Any

import pytest
import yaml
from chart_release import Release, ended_job
from cluster_under_test import TAG, Place, wait_for

from boxcar.registry import Model, read_aliases

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4800)]


def night(release: Release, name: str) -> str:
    """Starts the CronJob's Job, waits until it succeeds, and returns the last line of its log."""
    release.cluster.kubectl("-n", release.namespace, "create", "job", "--from=cronjob/nights", name)
    job = wait_for(f"the end of {name}", lambda: ended_job(release, name), 1800)
    log = release.cluster.kubectl("-n", release.namespace, "logs", f"job/{name}")
    assert any(one["type"] == "Complete" for one in job["status"]["conditions"]), log
    return log.strip().splitlines()[-1]


def jobs(release: Release) -> set[str]:
    return {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in release.get("jobs")} - {"schedule"}


def test_the_schedule_retrains_a_model_if_its_images_have_changed(release: Release, place: Place, pictures: str) -> None:
    settings: dict[str, Any] = place.settings(formats=["tflite_int8"])
    cluster = settings.pop("cluster")
    settings["limits"] |= {"ap50_loss": 1, "score_difference": 1}
    runs, models = f"{place.bucket}/retrained", f"{place.bucket}/models"
    # The same file that `boxcar schedule apply` reads if there is a Kubeflow.
    parameters = {"data": pictures, "models": models, "model": "shapes", "runs": runs, "gpus": "0", "gpu_hours": "40"}
    file = {"name": "nights", "pipeline": "retrain-if-changed", "cron": "0 0 1 1 *", "parameters": parameters}
    values = {
        "image.tag": TAG,
        "tensorboard.enabled": "false",
        "bucket.runs": f"{place.bucket}/others",
        "bucket.endpoint": place.endpoint,
    }
    tables = {"schedule.file": yaml.safe_dump(file), "schedule.settings": settings, "cluster": of_chart(cluster)}
    release.install(values, **tables)
    assert night(release, "first").startswith("promoted: ")
    model = Model(models, "shapes")
    assert read_aliases(model).champion == "1"
    assert jobs(release) == {"records", "trainer", "freeze", "convert", "report", "gate"}
    (run,) = place.store(runs).folders()
    decision = json.loads(place.store(runs).read(f"{run}/decision.json"))
    assert (decision["decision"], decision["champion"], decision["model"]) == ("promoted", None, "shapes")

    before = release.get("jobs")
    assert night(release, "second") == "unchanged: Nothing has changed."
    assert len(release.get("jobs")) == len(before) + 1 and place.store(runs).folders() == [run]


def of_chart(cluster: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run's `cluster` that the chart does not set itself."""
    return {name: value for name, value in cluster.items() if name not in ("namespace", "image_tag", "environment")}
