"""TensorBoard in the cluster, reached as a person reaches it, while a run trains."""

import contextlib
import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chart_release import SMALL, Release
from cluster_under_test import TAG, Place, wait_for
from watched import Watcher, begin, checkpoints, running_pod

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]
RUN = "night-42"


@contextlib.contextmanager
def forwarded(release: Release, service: str) -> Iterator[str]:
    """The address on this machine at which a Service answers for as long as the `with` lasts."""
    command = ["kubectl", "-n", release.namespace, "port-forward", f"service/{service}", ":80"]
    process = subprocess.Popen(command, env=release.cluster.environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None, "it is a pipe"
        line = process.stdout.readline()
        match = re.search(r"127\.0\.0\.1:\d+", line)
        assert match, line
        yield f"http://{match[0]}"
    finally:
        process.terminate()
        process.wait()


def asked(address: str, path: str, **query: str) -> Any:
    """TensorBoard's own answer; None where it does not know the run or tag yet."""
    try:
        with urllib.request.urlopen(f"{address}/data/{path}?{urllib.parse.urlencode(query)}") as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        assert error.code in (400, 404), error
        return None


def test_a_run_is_seen_while_it_trains(
    place: Place, records: str, release: Release, chromium: "Browser", tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    runs = f"{place.bucket}/shown"
    settings = place.settings(steps=400)
    begin(place, f"{runs}/{RUN}", records, settings)
    small = {name: value for name, value in SMALL.items() if not name.startswith("minio")}
    release.install({**small, "image.tag": TAG, "bucket.runs": runs, "bucket.endpoint": place.endpoint})
    watcher = Watcher(place, f"{runs}/{RUN}", settings)
    running_pod(place, f"{runs}/{RUN}")
    with forwarded(release, "boxcar-tensorboard") as address:
        both = [f"{RUN}/eval", f"{RUN}/train"]
        wait_for("train and eval", lambda: sorted(asked(address, "runs")) == both, 600)
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{address}/?forceSVG=true#timeseries")  # a screenshot does not show what WebGL drew
        for run in both:
            expect(page.get_by_text(run, exact=True).first).to_be_visible(timeout=60_000)
        expect(page.locator("scalar-card", has_text="AP50").first).to_be_visible(timeout=60_000)
        page.screenshot(path=tmp_path / "tensorboard.png")
        page.close()
        assert watcher.process.poll() is None and checkpoints(place, f"{runs}/{RUN}")[-1] < 400, "all that while it trained"
        watcher.must_succeed()
        query = {"tag": "AP50", "run": f"{RUN}/eval"}
        wait_for("the last score", lambda: (asked(address, "plugin/scalars/scalars", **query) or [[0, 0]])[-1][1] == 400, 120)
