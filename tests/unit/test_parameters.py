"""The form that a person fills in, checked without asking anybody."""

from pathlib import Path
from typing import Any

import pytest

from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp import installation
from boxcar.kfp.form import TrainForm
from boxcar.kfp.installation import LAUNCHER
from boxcar.kfp.parameters import (
    MOST_DEADLINE_HOURS,
    naming_secret,
    read_configuration_of,
    read_form,
    read_pool,
    run_uri,
)

IMAGES = {"image_repository": "docker.io/boxcar", "image_tag": "1.0"}


def form(**changed: Any) -> TrainForm:
    return TrainForm(**{"data": "s3://pictures/birds", "output": "s3://bucket/runs", "architecture": "", **changed})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": ""}, "data is empty."),
        ({"output": " "}, "output is empty."),
        ({"output": "s3://x"}, "output: "),
        ({"data": "/pictures"}, "data: /pictures is not in a bucket"),
        ({"data": "s3://key:secret@host/pictures"}, "data: A s3:// URI names only a bucket"),
        ({"resume_from": "runs/1"}, "resume_from: runs/1 is not in a bucket"),
        ({"config": "config.yaml"}, "config: config.yaml is not in a bucket"),
        ({"initial_checkpoint": "ckpt-0"}, "initial_checkpoint: ckpt-0 is not in a bucket"),
        ({"architecture": "yolo"}, "architecture: There is no architecture 'yolo'."),
        ({"architecture": "ssd_mobilenet_v2_fpnlite_320x320", "image_size": 100}, "image_size: "),
        ({"steps": -1}, "steps cannot be -1:"),
        ({"gpus": ""}, "gpus cannot be '':"),
        ({"gpus": "1.5"}, "gpus cannot be '1.5':"),
        ({"gpus": "65"}, "gpus cannot be '65':"),
        ({"gpu_type": "a gpu"}, "gpu_type cannot be 'a gpu'."),
        ({"node_pool": "gpus"}, "node_pool cannot be 'gpus'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_by_name(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BoxcarError) as caught:
        read_form(form(**changed), local=False)
    assert caught.value.code == ExitCode.USAGE
    assert str(caught.value).startswith(words)
    assert "secret" not in str(caught.value)


def test_what_was_left_open_is_not_set() -> None:
    assert read_form(form(), local=False) == {"data": "s3://pictures/birds", "gpus": 1, "cluster": {}}
    for init in ("none", "zoo", "https://example.com/zoo.tar.gz", "gs://zoo/ckpt-0"):
        assert read_form(form(initial_checkpoint=init), local=False)["init"] == init


def test_a_pool_is_that_of_the_gpus_or_where_there_are_none_of_the_cpus() -> None:
    pool = {"node_pool": "cloud.google.com/gke-nodepool=fast"}
    chosen = {"cloud.google.com/gke-nodepool": "fast"}
    assert read_form(form(**pool, gpu_type="nvidia.com/mig-1g.5gb"), local=False)["cluster"] == {
        "gpu_node_selector": chosen,
        "gpu_resource": "nvidia.com/mig-1g.5gb",
    }
    assert read_form(form(**pool, gpus="0"), local=False)["cluster"] == {"cpu_node_selector": chosen}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("pool=gpu", {"pool": "gpu"}),
        (" boxcar.dev/pool = gpu , zone=a ", {"boxcar.dev/pool": "gpu", "zone": "a"}),
        ("pool", None),
        ("pool=", None),
        ("=gpu", None),
        ("pool=gpu,", None),
        ("pool=a b", None),
        ("Pool/x/y=1", None),
        ("pool=" + "a" * 64, None),
        ("pool=a,pool=b", None),
    ],
)
def test_labels_of_nodes(text: str, labels: dict[str, str] | None) -> None:
    if labels is None:
        with pytest.raises(BoxcarError, match="node_pool cannot be"):
            read_pool(text)
    else:
        assert read_pool(text) == labels


def test_the_folder_of_a_run() -> None:
    assert run_uri("s3://b/runs/", "1", "") == "s3://b/runs/1"
    assert run_uri("s3://b/runs", "1", "s3://b/runs/0/") == "s3://b/runs/0"
    assert run_uri("s3://b/files/", "", "") == "s3://b/files"


def test_what_the_operator_has_set_stands_below_the_file_and_that_below_the_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LAUNCHER, "local")
    monkeypatch.setattr(installation, "SETTINGS", tmp_path)
    (tmp_path / "cluster.yaml").write_text(
        "cluster:\n  trainer_memory: 8Gi\n  trainer_cpu: 2\n  gpu_resource: amd.com/gpu\n  image_tag: other\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text("batch_size: 4\nsteps: 7\ncluster: {trainer_memory: 32Gi, gpu_resource: nvidia.com/gpu}\n")
    made = read_configuration_of(form(config=str(config), steps=9, gpu_type="nvidia.com/mig", gpus="2"), IMAGES)
    assert (made.batch_size, made.steps, made.gpus) == (4, 9, 2)
    cluster = made.cluster
    assert (cluster.trainer_cpu, cluster.trainer_memory, cluster.gpu_resource) == ("2", "32Gi", "nvidia.com/mig")
    assert cluster.image_tag == "1.0", "Jobs run in the pipeline's own images"
    assert read_configuration_of(form(config=str(config)), IMAGES).steps == 7


def test_a_file_that_does_not_fit_is_called_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHER, "local")
    path = tmp_path / "config.yaml"
    for text, words in (
        ("epochs: 3", "config: There is no setting epochs."),
        ("steps: 0", "config: steps cannot be 0"),
        ("cluster: {gpus: 3}", "config: There is no setting cluster.gpus."),
        (f"cluster: {{deadline_hours: {MOST_DEADLINE_HOURS + 1}}}", "config: cluster.deadline_hours is 168, but"),
    ):
        path.write_text(text)
        with pytest.raises(BoxcarError) as caught:
            read_configuration_of(form(config=str(path)), IMAGES)
        assert caught.value.code == ExitCode.USAGE
        assert str(caught.value).startswith(words)


def test_the_secret_that_opens_the_bucket_is_the_jobs_too_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LAUNCHER, "local")
    monkeypatch.setattr(installation, "SECRET", tmp_path / "secret")
    monkeypatch.setattr(installation, "SETTINGS", tmp_path)

    def secrets() -> tuple[str | None, str | None]:
        cluster = read_configuration_of(form(bucket_secret="mine"), IMAGES).cluster
        return cluster.credentials_secret, cluster.gcs_key_secret

    assert secrets() == (None, None)
    (tmp_path / "cluster.yaml").write_text("cluster: {credentials_secret: theirs}\n")
    assert secrets() == ("theirs", None)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.json").write_text("{}")
    assert secrets() == (None, "mine")
    (tmp_path / "secret" / "AWS_ACCESS_KEY_ID").write_text("key")
    assert secrets() == ("mine", "mine")


def test_mounted_keys_become_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    ours, theirs = tmp_path / "secret", tmp_path / "environment"
    for folder, name, text in (
        (ours, "AWS_ACCESS_KEY_ID", "key\n"),
        (ours, "key.json", "{}"),
        (ours, "BOXCAR_SET", "no"),
        (theirs, "BOXCAR_S3_ENDPOINT", "http://minio:9000"),
        (theirs, "..data", "x"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(installation, "SECRET", ours)
    monkeypatch.setattr(installation, "ENVIRONMENT", theirs)
    monkeypatch.setattr(os, "environ", {"BOXCAR_SET": "yes"})
    monkeypatch.setattr(installation, "run_component", lambda step, work, run: work())
    assert installation.run_task("records", lambda: dict(os.environ)) == {
        "AWS_ACCESS_KEY_ID": "key",
        "BOXCAR_SET": "yes",
        "BOXCAR_S3_ENDPOINT": "http://minio:9000",
        "GOOGLE_APPLICATION_CREDENTIALS": str(ours / "key.json"),
    }


def test_a_bucket_that_refuses_says_whose_keys_it_was_asked_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "SECRET", tmp_path)
    refusal = BoxcarError(ExitCode.ENVIRONMENT, "data: The bucket refuses.", "Ask for the right.")

    def words(error: BoxcarError = refusal) -> str:
        with pytest.raises(BoxcarError) as caught, naming_secret("theirs"):
            raise error
        assert caught.value.code == error.code
        return str(caught.value)

    assert words().startswith("data: The bucket refuses. Ask for the right. ")
    assert "the Secret theirs is missing" in words() and "bucket_secret" in words()
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("key")
    assert "the keys of the Secret theirs" in words()
    assert "Secret" not in words(BoxcarError(ExitCode.USAGE, "There is nothing.", "Name the folder."))
    monkeypatch.setenv(LAUNCHER, "local")
    assert "Secret" not in words()
