"""The browser page with other models than the run's: of a chosen folder, of an address, broken, or laid down by hand."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from exported import IMAGE_SIZE, ExportedRun
from page_visit import Visit, check_same, serving, visiting
from PIL import Image

from boxcar.inference.open_runner import open_runner

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser" / "README.md"
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_another_folder_and_another_address(visit: Visit, exported_run: ExportedRun, picture: Path, tmp_path: Path) -> None:
    wanted = visit.look_at(picture)
    shutil.copytree(exported_run.export / "tfjs" / "float32", tmp_path / "chosen" / "mine")
    visit.page.get_by_text("Another model").click()
    visit.forget_status()
    visit.page.locator("#folder").set_input_files(tmp_path / "chosen")
    visit.wait_until("in the image")
    assert visit.page.locator("#model").input_value() == "chosen/mine"
    np.testing.assert_array_equal(visit.found().boxes, wanted.boxes)
    for said, wrong in (("models/none", "There is no detector.json in http"), ("mailto:x", "mailto: addresses cannot be read")):
        visit.page.get_by_label("Address of a TensorFlow.js folder").fill(said)
        visit.page.get_by_role("button", name="Load", exact=True).click()
        visit.wait_until(wrong, of="#failure")
    visit.errors.clear()  # the browser's own word on an address where nothing is
    visit.page.get_by_label("Address of a TensorFlow.js folder").fill("models/float32/model.json")
    visit.page.get_by_role("button", name="Load", exact=True).click()
    visit.wait_until("in the image")
    assert visit.failure() == ""


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("not json", "model.json of chosen is not JSON. Export"),
        pytest.param("no weights", "There is no group1-shard", marks=pytest.mark.slow),
        pytest.param(
            "other outputs",
            "The model of chosen cannot be used: it has no output box_encodings. Export",
            marks=pytest.mark.slow,
        ),
        pytest.param("cut off shard", "The model of chosen cannot be used: ", marks=pytest.mark.slow),
        pytest.param("no description", "There is no detector.json in chosen/. Choose the folder", marks=pytest.mark.slow),
        pytest.param(
            "two classes",
            "The model of chosen cannot be used: its class_logits are 1 × 516 × 4, but its detector.json says 1 × 516 × 3",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "another format",
            "detector.json of chosen cannot be used: its format_version is not 1. Export",
            marks=pytest.mark.slow,
        ),
        pytest.param("nothing", "There is no model.json in that folder. Give a folder", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_is_broken(visit: Visit, exported_run: ExportedRun, tmp_path: Path, damage: str, words: str) -> None:
    folder = tmp_path / "chosen"
    shutil.copytree(exported_run.export / "tfjs" / "float32", folder)
    model, described = (json.loads((folder / name).read_text()) for name in ("model.json", "detector.json"))
    shard = folder / model["weightsManifest"][0]["paths"][-1]
    if damage == "not json":
        (folder / "model.json").write_text("{")
    elif damage == "no weights":
        shard.unlink()
    elif damage == "other outputs":
        model["signature"]["outputs"] = {"boxes": model["signature"]["outputs"]["box_encodings"]}
        (folder / "model.json").write_text(json.dumps(model))
    elif damage == "cut off shard":
        shard.write_bytes(shard.read_bytes()[:100])
    elif damage == "no description":
        (folder / "detector.json").unlink()
    elif damage == "two classes":
        (folder / "detector.json").write_text(json.dumps(described | {"labels": {"1": "one", "2": "two"}}))
    elif damage == "another format":
        (folder / "detector.json").write_text(json.dumps(described | {"format_version": 2}))
    else:
        (folder / "model.json").unlink()
    visit.page.locator("#folder").set_input_files(folder)
    visit.wait_until(words, of="#failure")
    # The one before is loaded again, or still there.
    visit.page.locator("#model").select_option(index=0)
    visit.page.locator("#model").dispatch_event("change")
    visit.wait_until("Ready")
    assert visit.failure() == ""


@pytest.fixture
def by_hand(exported_run: ExportedRun, tmp_path: Path) -> Path:
    """The page as somebody lays it down who follows the README's commands."""
    *_, block = re.findall(r"((?:^    .*\n)+)", EXAMPLE.read_text(), re.MULTILINE)
    *commands, served = [line.strip() for line in block.splitlines()]
    assert "http.server" in served
    script = "\n".join(["set -eu", *commands]).replace("runs/mine", str(exported_run.folder))
    assert "site=public" in script
    script = script.replace("site=public", f"site={tmp_path / 'public'}")
    subprocess.run(["bash", "-c", script], cwd=ROOT, check=True)
    return tmp_path / "public"


@pytest.mark.slow
def test_laid_down_by_hand(chromium: "Browser", exported_run: ExportedRun, by_hand: Path, picture: Path) -> None:
    with serving("http.server", "0", "--bind", "127.0.0.1", "--directory", str(by_hand)) as address:
        with visiting(chromium, address) as visit:
            visit.wait_until("Ready")
            # A server that sends no headers of isolation.
            assert visit.page.locator("#about").inner_text().endswith("WebAssembly, 1 thread")
            found = visit.look_at(picture)
        with open_runner(exported_run.export / "tfjs" / "float32") as runner:
            wanted = runner.detect(np.asarray(Image.open(picture)))
        assert check_same(found, wanted, least=0.01, score=1e-5, box=1e-3 / IMAGE_SIZE) > 20
        (by_hand / "models.json").unlink()
        (by_hand / "vendor" / "tf-converter.min.js").unlink()
        with visiting(chromium, address) as visit:
            visit.wait_until("server offers no model. Choose one under", of="#failure")
            visit.page.locator("#folder").set_input_files(exported_run.export / "tfjs" / "float32")
            visit.wait_until(
                "vendor/tf-converter.min.js, a part of TensorFlow.js, is missing next to this page.", of="#failure"
            )
            visit.errors.clear()
