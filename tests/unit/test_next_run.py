"""A run that starts from a finished one: what it takes over, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import boxcar, done, last_words

from boxcar.cli.options import make_configuration
from boxcar.cluster.job_chain import _check_uris
from boxcar.config.run_settings import Configuration, write_configuration
from boxcar.config.run_settings import make_configuration as configured
from boxcar.errors import BoxcarError, ExitCode
from boxcar.local.next_run import settings_from, stored_settings
from boxcar.report.next_run import longer_run
from boxcar.run.step import require_commit
from boxcar.storage import open_store
from boxcar.sync.mirror import Mirror

RETINANET = "retinanet_resnet50_fpn_640x640"
# What the earlier run was told, and what its training made of that.
TOLD: dict[str, Any] = {
    "data": "/photographs",
    "frozen_test": "/frozen-test.txt",
    "optimizer": "adamw",
    "formats": ["tflite_float32"],
    "limits": {"matched": 0.5},
    "early_stopping_checkpoints": 4,
    "init": "packaged",
}
DERIVED: dict[str, Any] = {
    "architecture": "ssd_mobilenet_v2_fpnlite_320x320",
    "image_size": 320,
    "init": "packaged",
    "steps": 700,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 0.004,
    "warm_up_steps": 35,
    "checkpoint_interval_steps": 59,
    "batch_norm_momentum": 0.97,
    "ema_decay": None,
    "freeze_backbone": False,
    "precision": "float32",
    "xla": False,
    "augmentations": ["horizontal_flip", "crop"],
    "seed": 7,
}


def write_earlier(run: str) -> str:
    """As much of a finished run as the next one reads; its URI."""
    store = open_store(run)
    store.write("config.yaml", yaml.safe_dump(TOLD).encode())
    store.write("run.json", json.dumps({"checkpoint_step": 590}).encode())
    store.write("train/step.json", json.dumps({"step": "train", "parameters": DERIVED}).encode())
    for name in ("train/ckpt-590.index", "train/ckpt-700.index", "export/saved_model/checkpoint/ckpt-0.index"):
        store.write(name, b"index")
    return run


@pytest.fixture
def earlier(tmp_path: Path) -> str:
    return write_earlier(str(tmp_path / "first"))


def next_run(earlier: str, output: Path | str, config: str | None = None, **given: Any) -> Configuration:
    return make_configuration(config, given, lambda asked: settings_from(earlier, str(output), asked))


def test_it_takes_over_settings_records_and_weights(earlier: str, tmp_path: Path) -> None:
    found = next_run(earlier, tmp_path / "more")
    taken = {name: DERIVED[name] for name in DERIVED if name in Configuration.model_fields} | TOLD
    taken |= {"records": f"{earlier}/records", "init": f"{earlier}/train/ckpt-590", "learning_rate": 0.0004}
    taken |= {"data": None, "frozen_test": None, "checkpoint_interval_steps": None}
    assert found == configured(None, taken)
    assert (found.steps, found.batch_size, found.seed, found.augmentations) == (700, 8, 7, ("horizontal_flip", "crop"))


def test_options_and_the_settings_file_override_it(earlier: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("batch_size: 16\nsteps: 5\n")
    found = next_run(earlier, tmp_path / "more", str(tmp_path / "mine.yaml"), steps=300, learning_rate=0.01)
    assert (found.steps, found.batch_size, found.learning_rate) == (300, 16, 0.01)
    # Another optimizer has its own rate.
    assert next_run(earlier, tmp_path / "more", optimizer="sgd").learning_rate is None


def test_without_the_best_checkpoint_its_exported_weights_are_taken(earlier: str, tmp_path: Path) -> None:
    store = open_store(earlier)
    store.delete(["train/ckpt-590.index"])
    assert next_run(earlier, tmp_path / "more").init == f"{earlier}/export/saved_model/checkpoint/ckpt-0"
    store.delete(["export/saved_model/checkpoint/ckpt-0.index"])
    with pytest.raises(BoxcarError, match="that of step 590, is gone") as caught:
        next_run(earlier, tmp_path / "more")
    assert caught.value.code is ExitCode.DATA


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"data": "images"}, "--from takes images and weights from .*first, but data is set, too"),
        ({"records": "records"}, "but records is set"),
        ({"init": "zoo"}, "but init is set"),
        ({"architecture": RETINANET}, f"trained ssd_mobilenet_v2_fpnlite_320x320, whose weights do not fit {RETINANET}"),
    ],
)
@pytest.mark.parametrize("where", ["option", "file"])
def test_what_the_earlier_run_decides_is_refused(
    earlier: str, tmp_path: Path, given: dict[str, str], what: str, where: str
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump(given))
    with pytest.raises(BoxcarError, match=what) as caught:
        if where == "file":
            next_run(earlier, tmp_path / "more", str(config))
        else:
            next_run(earlier, tmp_path / "more", **given)
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("spoil", "code", "what"),
    [
        (lambda run: (run / "run.json").unlink(), 64, r"The run in .*first is not finished\."),
        (lambda run: (run / "config.yaml").unlink(), 64, r"There is no run in .*first\."),
        (lambda run: (run / "run.json").write_text("{"), 65, r"first is damaged: run\.json or train/step\.json"),
        (lambda run: (run / "train" / "step.json").unlink(), 65, "first is damaged"),
        (lambda run: (run / "train" / "step.json").write_text('{"parameters": {"learning_rate": "x"}}'), 65, "is damaged"),
        (lambda run: (run / "config.yaml").write_text("steps: many"), 64, "steps"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(earlier: str, tmp_path: Path, spoil: Any, code: int, what: str) -> None:
    spoil(Path(earlier))
    with pytest.raises(BoxcarError, match=what) as caught:
        next_run(earlier, tmp_path / "more")
    assert caught.value.code == code
    assert not (tmp_path / "more").exists()


def test_a_run_does_not_go_on_with_itself(earlier: str, tmp_path: Path) -> None:
    for output in (earlier, f"{earlier}/", f"file://{earlier}", str(tmp_path / "other" / ".." / "first")):
        with pytest.raises(BoxcarError, match="needs a folder of its own") as caught:
            next_run(earlier, output)
        assert caught.value.code is ExitCode.USAGE


def test_a_new_run_that_was_started_keeps_its_settings(earlier: str, tmp_path: Path) -> None:
    """So that --resume needs neither --from nor the earlier run's files."""
    output = tmp_path / "more"
    output.mkdir()
    started = next_run(earlier, output, steps=300)
    write_configuration(output, started)
    (Path(earlier) / "run.json").unlink()
    assert next_run(earlier, output) == next_run(earlier, output, steps=300) == started
    assert make_configuration(None, {}, lambda _: stored_settings(str(output))) == started
    other = write_earlier(str(tmp_path / "other"))
    with pytest.raises(BoxcarError, match=r"holds a run that does not start from .*other") as caught:
        next_run(other, output)
    assert caught.value.code is ExitCode.USAGE


def test_in_a_bucket_it_is_the_same(bucket_uri: str) -> None:
    earlier = write_earlier(bucket_uri)
    found = next_run(earlier, f"{bucket_uri}-more")
    assert (found.records, found.init) == (f"{earlier}/records", f"{earlier}/train/ckpt-590")
    assert (found.steps, found.learning_rate) == (700, 0.0004)
    _check_uris(found, f"{bucket_uri}-more")  # pods can read them
    with pytest.raises(BoxcarError, match="needs a folder of its own"):
        next_run(earlier, f"{earlier}/")
    # The report's command.
    run = Mirror(bucket_uri).folder
    assert longer_run(run, 5) == f"boxcar run --from {bucket_uri} --steps 5 --output {bucket_uri}-more"
    write_earlier(f"{bucket_uri}-more")
    assert longer_run(run, 5).endswith(f" --output {bucket_uri}-more-2")


def test_the_command_refuses_before_it_writes_anything(earlier: str, tmp_path: Path) -> None:
    more = tmp_path / "more"
    assert "data is set" in last_words(boxcar("run", "--from", earlier, "--data", earlier, "--output", str(more)), 64)
    said = last_words(boxcar("run", "--from", str(tmp_path / "none"), "--output", str(more)), 64)
    assert "There is no run in" in said and "--from" in said
    assert "No images were given" in last_words(boxcar("run", "--output", str(more), "--resume"), 64)
    assert not more.exists()


def test_the_command_takes_the_records_and_resumes_without_the_earlier_run(
    earlier: str, tmp_path: Path, shapes_records: Path
) -> None:
    shutil.copytree(shapes_records, Path(earlier) / "records")
    more = tmp_path / "more"
    until = ("--output", str(more), "--until", "records")
    assert f"{more}/records" in done("run", "--from", earlier, "--steps", "9", *until)
    assert require_commit(more / "records", "records").digest == require_commit(shapes_records, "records").digest
    stored = yaml.safe_load((more / "config.yaml").read_text())
    assert (stored["records"], stored["init"]) == (f"{earlier}/records", f"{earlier}/train/ckpt-590")
    assert (stored["steps"], stored["learning_rate"]) == (9, 0.0004) and "data" not in stored
    assert "--resume" in last_words(boxcar("run", "--from", earlier, *until), 64)
    assert "steps was 9 and is now 8" in last_words(boxcar("run", "--resume", "--steps", "8", *until), 64)
    done("run", "--resume", *until)
    assert yaml.safe_load((more / "config.yaml").read_text()) == stored
