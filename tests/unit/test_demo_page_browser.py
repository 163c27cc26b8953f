"""The browser page in a real browser: it finds what Boxcar's runners find, and says in a sentence what it cannot do."""

import base64
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from exported import IMAGE_SIZE, ExportedRun
from page_visit import Visit, another, check_same, visiting
from PIL import Image, ImageOps

from boxcar.inference.open_runner import open_runner

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SURE = 0.3  # detections that score less are not compared between TensorFlow and TensorFlow.js


@pytest.mark.parametrize("backend", ["wasm", pytest.param("webgl", marks=pytest.mark.slow)])
def test_the_page_finds_what_the_runners_find(visit: Visit, exported_run: ExportedRun, picture: Path, backend: str) -> None:
    visit.compute_with(backend)
    found = visit.look_at(picture)
    with open_runner(exported_run.export / "tfjs" / "float32") as runner:
        wanted = runner.detect(np.asarray(Image.open(picture)))
    # The same arithmetic but for its order. Measured: scores 1.3e-6 apart and edges 4e-5 pixels, from both runners.
    assert check_same(found, wanted, least=0.01, score=1e-5, box=1e-3 / IMAGE_SIZE) > 20
    with open_runner(exported_run.frozen) as runner:
        wanted = runner.detect(np.asarray(Image.open(picture)))
    assert check_same(found, wanted, least=SURE, score=1e-5, box=1e-3 / IMAGE_SIZE) > 5
    assert visit.page.locator("#count").inner_text() == str(len(found.scores))
    assert re.fullmatch(r"\d+ ms", visit.page.locator("#time").inner_text())
    assert re.fullmatch(r"pixels [\d.]+, network [\d.]+, boxes [\d.]+", visit.page.locator("#parts").inner_text())


@pytest.mark.slow
def test_it_computes_with_what_was_chosen_and_nothing_else(visit: Visit, picture: Path) -> None:
    for backend in ("wasm", "webgl", "wasm"):
        visit.compute_with(backend)
        visit.look_at(picture)
        assert visit.page.evaluate("tf.getBackend()") == backend
        assert visit.page.evaluate("tf.findBackend('cpu')") is None
    about = visit.page.locator("#about").inner_text()
    assert re.fullmatch(
        rf"ssd_mobilenet_v2_fpnlite_320x320, {IMAGE_SIZE} × {IMAGE_SIZE} pixels · WebAssembly, \d+ threads?", about
    )
    assert visit.page.evaluate("crossOriginIsolated"), "or WebAssembly has one thread only"
    assert visit.page.locator("h1").inner_text() == "Detector for circle, square, and triangle"


@pytest.mark.slow
def test_several_threads(chromium: "Browser", address: str, picture: Path) -> None:
    """TensorFlow.js starts a thread for two of the processors that the browser tells of, four for eight."""
    found = {}
    for processors, said in ((2, "1 thread"), (4, "2 threads"), (8, "4 threads")):
        with visiting(chromium, address, processors=processors) as visit:
            visit.wait_until(f"WebAssembly, {said}", of="#about")
            visit.wait_until("Ready")
            found[processors] = visit.look_at(picture)
            assert len(visit.page.workers) >= 1, "they are workers, which the page's security policy must let start"
    for processors in (4, 8):
        assert check_same(found[processors], found[2], least=0.01, score=1e-5, box=1e-3 / IMAGE_SIZE) > 20


@pytest.mark.slow
def test_captions_do_not_lie_on_each_other(visit: Visit, picture: Path) -> None:
    visit.look_at(picture)
    read = """all => all.filter(one => getComputedStyle(one).visibility === 'visible').map(one => {
        const { top, left, bottom, right } = one.getBoundingClientRect();
        return [top, left, bottom, right];
    })"""
    captions = visit.page.locator(".caption")
    shown = captions.evaluate_all(read)
    assert 1 < len(shown) < captions.count()
    for index, (top, left, bottom, right) in enumerate(shown):
        for other in shown[:index]:
            assert top >= other[2] or other[0] >= bottom or left >= other[3] or other[1] >= right, (index, other)
    hidden = visit.page.locator(".box").evaluate_all("all => all.findIndex(one => one.classList.contains('crowded'))")
    visit.page.locator("#list li").nth(hidden).hover()
    assert captions.nth(hidden).is_visible()


@pytest.mark.slow
def test_boxes_stand_where_they_are(visit: Visit, picture: Path) -> None:
    found = visit.look_at(picture)
    frame = visit.page.locator("#image").bounding_box()
    assert frame is not None
    assert frame["width"] / frame["height"] == pytest.approx(231 / 177, rel=0.01)
    for index in (0, len(found.scores) // 2):
        drawn = visit.page.locator(".box").nth(index).bounding_box()
        assert drawn is not None
        top, left, bottom, right = found.boxes[index].tolist()
        assert drawn["x"] == pytest.approx(frame["x"] + left * frame["width"], abs=1)
        assert drawn["y"] == pytest.approx(frame["y"] + top * frame["height"], abs=1)
        # A box narrower than its own two lines is drawn as wide as they are.
        assert drawn["width"] == pytest.approx(max((right - left) * frame["width"], 5), abs=1)
        assert drawn["height"] == pytest.approx(max((bottom - top) * frame["height"], 5), abs=1)


def test_the_score_decides_what_is_shown(visit: Visit, picture: Path) -> None:
    """By the keyboard, as everything on the page can be done."""
    found = visit.look_at(picture)
    scores = found.scores
    slider = visit.page.get_by_role("slider", name="Minimum score")
    slider.focus()
    for key, least in (("ArrowRight", 0.02), ("End", 0.99), ("Home", 0.01)):
        visit.page.keyboard.press(key)
        wanted = int((scores >= least).sum())
        assert visit.page.locator("#least").inner_text() == f"{least:.2f}"
        assert visit.page.locator(".box").count() == visit.page.locator("#list li").count() == wanted
        assert visit.page.locator("#count").inner_text() == str(wanted)
    names = ["background", "circle", "square", "triangle"]
    listed = [line.split() for line in visit.page.locator("#list li").all_inner_texts()]
    assert listed == [[names[label], f"{score:.2f}"] for label, score in zip(found.classes, scores, strict=True)]


@pytest.mark.slow
def test_what_a_screen_reader_is_told(visit: Visit, picture: Path) -> None:
    found = visit.look_at(picture)
    page = visit.page
    label = page.get_by_role("img", name="The image.").get_attribute("aria-label") or ""
    assert label.count(",") == len(found.scores) - 1
    assert f"{found.scores[0]:.2f}" in label
    said = re.fullmatch(r"Found in the image: (\w+ 0\.\d\d, ){4}\w+ 0\.\d\d and (\d+) more\.", visit.status())
    assert said is not None, visit.status()
    assert int(said[2]) == len(found.scores) - 5
    assert page.get_by_role("status").count() == 1, "the slider says its number itself"
    for role, name in (
        ("button", "Use the camera"),
        ("combobox", "Model"),
        ("slider", "Minimum score"),
        ("radio", "WebAssembly"),
        ("radio", "WebGL"),
        ("list", "Found"),
    ):
        assert page.get_by_role(role, name=name).count() == 1, name  # type: ignore[arg-type]
    assert page.get_by_label("Choose an image").count() == 1
    # Everything can be reached by Tab, in the order in which it stands.
    page.locator("body").click(position={"x": 1, "y": 1})
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.value || document.activeElement.tagName")
        )
    # The list is reached because it is longer than it is high, and has to be scrolled.
    assert reached == ["file", "camera", "score", "list", "model", "SUMMARY"]


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "apart"), [("jpg", 1), ("png", 0), ("webp", 0)])
def test_the_page_sees_the_pixels_that_pillow_sees(visit: Visit, tmp_path: Path, ending: str, apart: int) -> None:
    """From the same pixels the network's input is the same within 1e-6 (test_page_modules.py).

    A JPEG's were equal to the last bit too (17 of several qualities and subsamplings); 1 of 255 for another release's decoder.
    """
    rough = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    path = tmp_path / f"picture.{ending}"
    Image.fromarray(rough).resize((333, 217), Image.Resampling.BICUBIC).save(path, quality=90, lossless=True)
    visit.look_at(path)
    seen = pixels(visit)
    wanted = np.asarray(Image.open(path).convert("RGB"), int)
    assert seen.shape == wanted.shape
    assert np.abs(seen - wanted).max() <= apart


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_pillow_turns_them(visit: Visit, tmp_path: Path, orientation: int) -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(coarse.repeat(16, axis=0).repeat(16, axis=1)).save(path, quality=95, exif=exif)
    visit.look_at(path)
    seen = pixels(visit)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert upright is not None
    wanted = np.asarray(upright.convert("RGB"), int)
    assert seen.shape == wanted.shape
    assert np.abs(seen - wanted).max() <= 1  # 0 was measured, as above


def pixels(visit: Visit) -> np.ndarray:
    """What stands on the canvas; as PNG, because a camera's millions of numbers take seconds one by one."""
    said = visit.page.locator("#image").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(said.partition(",")[2]))).convert("RGB"), int)


@pytest.mark.slow
def test_a_picture_can_be_dropped(visit: Visit, picture: Path) -> None:
    wanted = visit.look_at(picture)
    visit.page.reload()
    visit.wait_until("Ready")
    drop = """bytes => {
        const files = new DataTransfer();
        if (bytes) files.items.add(new File([Uint8Array.from(bytes)], 'dropped.png', { type: 'image/png' }));
        const drop = new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true });
        document.getElementById('stage').dispatchEvent(drop);
    }"""
    visit.page.evaluate(drop, list(picture.read_bytes()))
    visit.wait_until("in the image")
    shown = visit.found()
    np.testing.assert_array_equal(shown.boxes, wanted.above(SURE).boxes)
    visit.page.evaluate(drop, None)
    visit.wait_until("The dropped item is not an image file. Save the image first", of="#failure")


@pytest.mark.slow
def test_the_camera(chromium: "Browser", address: str, picture: Path) -> None:
    with visiting(chromium, address, camera=True) as visit:
        visit.wait_until("Ready")
        visit.page.get_by_role("button", name="Use the camera").click()
        visit.wait_until("The camera is running.")
        visit.wait_until("images per second", of="#parts")
        first = pixels(visit)
        visit.page.wait_for_timeout(500)
        assert (pixels(visit) != first).any(), "the pattern moves"
        # A picture takes the camera's place.
        visit.look_at(picture)
        assert visit.page.get_by_role("button", name="Use the camera").count() == 1
        shown = pixels(visit)
        visit.page.wait_for_timeout(300)
        np.testing.assert_array_equal(pixels(visit), shown)
        assert visit.page.evaluate("document.getElementById('video').srcObject") is None


@pytest.mark.slow
def test_without_leave_or_without_a_camera(chromium: "Browser", address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.wait_until("Ready")
        visit.page.get_by_role("button", name="Use the camera").click()
        visit.wait_until("The browser blocked the camera. Allow it", of="#failure")
    none = "--use-fake-device-for-media-stream=device-count=0"
    with another(chromium, none) as browser, visiting(browser, address, camera=True) as visit:
        visit.wait_until("Ready")
        visit.page.get_by_role("button", name="Use the camera").click()
        visit.wait_until("There is no camera on this device. Connect one", of="#failure")


def test_a_file_that_is_no_picture(visit: Visit, picture: Path, tmp_path: Path) -> None:
    before = visit.look_at(picture)
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:200])
    for content in (b"no picture", picture.read_bytes()[:40]):
        broken.write_bytes(content)
        visit.page.locator("#file").set_input_files(broken)
        visit.wait_until(
            "broken.png cannot be decoded: it is damaged, or not an image that this browser can read.", of="#failure"
        )
    np.testing.assert_array_equal(visit.found().boxes, before.boxes)
    visit.look_at(picture)
    assert visit.failure() == ""


@pytest.mark.slow
def test_without_webgl(chromium: "Browser", address: str, picture: Path) -> None:
    with another(chromium, "--disable-3d-apis") as browser, visiting(browser, address) as visit:
        visit.wait_until("Ready")
        visit.page.locator("input[value=webgl]").check()
        visit.wait_until("This browser does not support WebGL 2. Choose WebAssembly.", of="#failure")
        visit.page.locator("#file").set_input_files(picture)
        visit.wait_until("No model is loaded. Choose one.", of="#failure")
        assert visit.page.locator("#count").inner_text() == "–", "nothing is computed with anything else"
        visit.compute_with("wasm")
        visit.wait_until("in the image")


@pytest.mark.slow
def test_the_guard_sees_what_it_is_there_for(chromium: "Browser", address: str) -> None:
    with pytest.raises(AssertionError, match=r"example\.org"), visiting(chromium, address) as visit:
        visit.wait_until("Ready")
        visit.page.evaluate("fetch('https://example.org/').catch(() => null)")
