"""What is refused before a cluster is asked, and when a run in a bucket counts as finished."""

from typing import Any

import pytest
from finished_run import write_run

from boxcar.cluster.job_chain import _is_finished, run_on_cluster
from boxcar.config.run_settings import make_configuration, write_configuration
from boxcar.errors import BoxcarError, Refused
from boxcar.report import write_report
from boxcar.storage import open_store
from boxcar.sync.transfer import send_folder


@pytest.mark.parametrize(
    ("settings", "output", "named"),
    [
        ({"data": "s3://bucket/data"}, "runs/1", "runs/1"),
        ({"data": "pictures"}, "s3://bucket/runs/1", "data is /"),
        ({"data": "s3://bucket/data", "init": "runs/0/train/ckpt-1"}, "gs://bucket/runs/1", "init is /"),
        ({"data": "s3://bucket/data", "label_map": "file:///map"}, "gs://bucket/runs/1", "label_map is"),
    ],
)
def test_what_pods_cannot_see_is_refused(settings: dict[str, Any], output: str, named: str) -> None:
    with pytest.raises(Refused) as caught:
        run_on_cluster(make_configuration(None, settings), output, resume=False)
    assert caught.value.code == 64 and named in caught.value.what


def test_a_run_in_a_bucket_is_finished_as_long_as_its_parts_belong_together(bucket_uri: str, tmp_path: Any) -> None:
    run = write_run(tmp_path / "run")
    store = open_store(bucket_uri)
    assert not _is_finished(store)
    send_folder(run, store)
    assert not _is_finished(store)  # it has no report
    write_report(str(run))
    send_folder(run, store)
    assert _is_finished(store)
    (changed,) = [entry for entry in store.entries() if entry.name == "eval/step.json"]
    content = store.read(changed.name)
    store.write(changed.name, content.replace(b'"sha256": "', b'"sha256": "0', 1))
    assert not _is_finished(store)
    store.write(changed.name, content)
    store.delete(["run.json"])
    assert not _is_finished(store)


def test_a_run_ends_after_the_step_that_was_asked_for(bucket_uri: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))  # what is finished asks no cluster
    configuration = make_configuration(None, {"records": "s3://bucket/records", "init": "none"})
    run = write_run(tmp_path / "run")
    write_configuration(run, configuration)
    send_folder(run, open_store(bucket_uri))
    for last_step in ("records", "train"):
        assert run_on_cluster(configuration, bucket_uri, resume=True, until=last_step)
    with pytest.raises(BoxcarError) as caught:  # the next one needs a Job
        run_on_cluster(configuration, bucket_uri, resume=True, until="freeze")
    assert (caught.value.code, caught.value.step) == (69, "freeze")
