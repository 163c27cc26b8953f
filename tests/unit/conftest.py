"""What several test files share: one small detector, exported once a session through the real steps."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from exported import ARCHITECTURE, FORMATS, ExportedRun, write_checkpoint
from fake_detector import FakeDetector
from fresh_networks import FreshNetworks
from made_once import made_once
from retrained_model import RetrainedModel
from tiny_detector import NAME, TINY
from webhook import Webhook

from boxcar import retry
from boxcar.data.label_map import read_label_map
from boxcar.detectors.catalog import ARCHITECTURES
from boxcar.inference.specification import SPECIFICATION, Specification, specification_json
from boxcar.run.step import Step

if TYPE_CHECKING:
    from page_visit import Visit
    from playwright.sync_api import Browser


@pytest.fixture
def fake_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """`boxcar.detect` opens the fake detector, whatever the model's name is."""
    monkeypatch.setattr("boxcar.detect.detecting.open_runner", lambda model, threads: FakeDetector())


@pytest.fixture(scope="session")
def exported_run(shapes_records: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """Three classes, because four class slots are as many as box encodings have numbers."""
    from boxcar.config.conversion_settings import Conversion
    from boxcar.export import convert, freeze

    def make(folder: Path) -> None:
        run = ExportedRun(folder / "run")
        shutil.copytree(shapes_records, run.records)
        labels = read_label_map(run.records / "label_map.pbtxt")
        # Not the architecture's anchors: nothing that is exported may assume those.
        write_checkpoint(run.folder / "train", labels, seed=2, anchor_scale=2.5)
        freeze(ARCHITECTURE, str(run.checkpoint), str(run.frozen))
        convert(str(run.frozen), str(run.records), str(run.export), Conversion(formats=FORMATS))

    return ExportedRun(made_once(tmp_path_factory, "exported", make) / "run")


@pytest.fixture(scope="session")
def fresh_network() -> FreshNetworks:
    """Makes a network with random weights."""
    return FreshNetworks()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a tiny architecture, which is in the catalog of this process."""
    monkeypatch.setitem(ARCHITECTURES, NAME, TINY)
    return NAME


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory, shapes_records: Path) -> Path:
    """A run with records and a training of the tiny architecture that was begun: a checkpoint's files, but no marker."""
    import tensorflow as tf

    run = tmp_path_factory.mktemp("begun") / "run"
    shutil.copytree(shapes_records, run / "records")
    step = Step("train", run / "train", {"records": "r"}, {"steps": 30}, resumable=True)
    step.begin()
    dataset = json.loads((shapes_records / "dataset.json").read_text())
    specification = Specification(
        architecture=NAME,
        image_size=64,
        labels=read_label_map(shapes_records / "label_map.pbtxt"),
        dataset_version=dataset["version"],
    )
    (step.folder / SPECIFICATION).write_text(specification_json(specification), encoding="utf-8")
    network = TINY.build(specification, 0.9, False)
    tf.train.Checkpoint(model=network.trackable()).write(str(run / "ckpt"))
    return run


@pytest.fixture(scope="module")
def address(exported_run: ExportedRun) -> Iterator[str]:
    """Where the demo page of the exported run is served."""
    from page_visit import serving

    with serving("boxcar", "demo-page", "--run", str(exported_run.folder), "--port", "0") as address:
        yield address


@pytest.fixture
def visit(chromium: "Browser", address: str) -> "Iterator[Visit]":
    """The demo page in a browser, ready for an image."""
    from page_visit import visiting

    with visiting(chromium, address) as visit:
        visit.wait_until("Ready")
        yield visit


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the page. Not square, and no multiple of anything; smooth, so that it has something of a photograph."""
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:177, 0:231]
    pixels = np.stack([rows * 1.4, columns, (rows * columns) / 170], axis=-1).astype(np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A server that BOXCAR_WEBHOOK names."""
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.5)
    with Webhook() as made:
        monkeypatch.setenv("BOXCAR_WEBHOOK", made.url)
        yield made


@pytest.fixture
def cats(tmp_path: Path, webhook: Webhook) -> RetrainedModel:
    """A model with one labeled image, before its first run."""
    return RetrainedModel(tmp_path, webhook)
