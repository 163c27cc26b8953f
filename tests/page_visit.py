"""A visit to the browser page in headless Chromium, from which nothing but the page's own server can be reached."""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from external import CHROMIUM

from boxcar.inference.detections import Detections

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

ARGUMENTS = (
    "--no-sandbox",  # the tests run as root in containers
    "--use-gl=angle",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--use-fake-device-for-media-stream",  # a camera that shows a moving pattern
    # Beside the guard in `visiting`, which sees what a page asks for: nothing that Chromium itself asks for leaves either.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
DONE = re.compile("Found in the image: |Nothing was found in the image")
SETTLED = re.compile(f"Ready: |{DONE.pattern}")


@contextlib.contextmanager
def launched() -> Iterator["Browser"]:
    """Chromium from Debian; the test is skipped where it is not installed."""
    CHROMIUM.need()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM.path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def another(browser: "Browser", *arguments: str) -> Iterator["Browser"]:
    """A second Chromium with more arguments, by the first one's Playwright: a thread can start that only once."""
    second = browser.browser_type.launch(executable_path=CHROMIUM.path, args=[*ARGUMENTS, *arguments])
    try:
        yield second
    finally:
        second.close()


@contextlib.contextmanager
def serving(*command: str) -> Iterator[str]:
    """The address that a server prints first, while it runs."""
    with tempfile.TemporaryFile() as words:
        server = subprocess.Popen([sys.executable, "-u", "-m", *command], stdout=subprocess.PIPE, stderr=words, text=True)
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/", line)
            words.seek(0)
            assert found, (line, words.read())
            yield found.group()
        finally:
            server.terminate()
            server.wait()
            server.stdout.close()


@dataclass
class Visit:
    """A page that was opened.

    Attributes:
        page: Playwright's.
        strangers: addresses of other servers that were asked for; none of them was reached.
        errors: what went wrong in the page's program, and what its security policy refused.
    """

    page: "Page"
    strangers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def status(self) -> str:
        return self.page.locator("#status").inner_text()

    def forget_status(self) -> None:
        """So that what is waited for next is said anew."""
        self.page.locator("#status").evaluate("element => { element.textContent = ''; }")

    def wait_until(self, words: str | re.Pattern[str], of: str = "#status") -> None:
        """Waits until an element says so; a failure shown meanwhile is the reason where it never does."""
        from playwright.sync_api import expect

        try:
            expect(self.page.locator(of)).to_contain_text(words, timeout=60_000)
        except AssertionError as error:
            raise AssertionError(f"{self.failure()} {self.errors}") from error

    def failure(self) -> str:
        shown = self.page.locator("#failure")
        return shown.inner_text() if shown.is_visible() else ""

    def compute_with(self, backend: str) -> None:
        self.page.locator(f"input[value={backend}]").check()
        self.wait_until({"wasm": "WebAssembly, ", "webgl": "WebGL 2"}[backend], of="#about")
        self.wait_until(SETTLED)  # a picture that is shown is looked at once more

    def look_at(self, picture: Path) -> Detections:
        """What is found in a picture, at every score."""
        self.forget_status()
        self.page.locator("#score").evaluate("range => { range.value = 0.01; range.dispatchEvent(new Event('input')); }")
        self.page.locator("#file").set_input_files(picture)
        self.wait_until(DONE)
        return self.found()

    def found(self) -> Detections:
        """The boxes that the page draws, in their order."""
        boxes = self.page.locator(".box").evaluate_all("all => all.map(one => ({...one.dataset}))")
        edges = np.array([[float(edge) for edge in one["box"].split()] for one in boxes], np.float32).reshape(-1, 4)
        scores, ids = [float(one["score"]) for one in boxes], [int(one["id"]) for one in boxes]
        return Detections(boxes=edges, scores=np.array(scores, np.float32), classes=np.array(ids, np.int64))


@contextlib.contextmanager
def visiting(browser: "Browser", address: str, *, camera: bool = False, processors: int | None = None) -> Iterator[Visit]:
    """Opens the page. At the end it fails where another server was asked for, or the page's program failed.

    Args:
        browser: where it is opened.
        address: of the page.
        camera: whether the page may use the camera.
        processors: how many the browser says there are; as many as there are if not given.
    """
    context = browser.new_context()
    if camera:
        context.grant_permissions(["camera"])
    if processors is not None:
        context.add_init_script(
            f"Object.defineProperty(Navigator.prototype, 'hardwareConcurrency', {{ get: () => {processors} }})"
        )
    visit = Visit(context.new_page())

    def guard(route: "Route") -> None:
        if route.request.url.startswith((address, "blob:", "data:")):
            route.continue_()
        else:
            visit.strangers.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    visit.page.on("console", lambda said: visit.errors.append(said.text) if said.type == "error" else None)
    try:
        visit.page.goto(address)
        yield visit
        assert not visit.strangers, visit.strangers
        assert not visit.errors, visit.errors
    finally:
        context.close()


def check_same(found: Detections, wanted: Detections, *, least: float, score: float, box: float) -> int:
    """Holds what a page found against what a runner did; returns how many detections were compared.

    Args:
        found: by the page.
        wanted: by the runner.
        least: detections that score below are left out, and those so near to it that the other side may have left them out.
        score: how far scores may be apart.
        box: how far edges may be apart, as a share of the picture's side.
    """
    for some, others in ((wanted, found), (found, wanted)):
        sure = some.above(least + score)
        for edges, confidence, label in zip(sure.boxes, sure.scores, sure.classes, strict=True):
            same = (others.classes == label) & (np.abs(others.scores - confidence) <= score)
            assert (np.abs(others.boxes[same] - edges).max(axis=1) <= box).any(), (edges, confidence, label)
    return len(wanted.above(least + score).scores)
