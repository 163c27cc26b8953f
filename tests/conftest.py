"""What many tests share: a small set of real records, made once by the real steps; and what a test run says at its end."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from external import REQUIRED, SKIP_NOTHING
from made_once import made_once
from storage_servers import GCS, GcsEmulator, MinioServer, Server, serving
from whole_run import WholeRun

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# As the command sets them, before anybody imports TensorFlow.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A shell that starts a job in the background (`make test &`, some CI) makes it ignore SIGINT, and `nohup` SIGHUP. Whatever a
# test starts would inherit that. Signals that this process handles itself are at their default in the processes that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no process is left alone with one at the end: whole runs, then what trains.

    A slow test may take longer than others before it counts as hanging.
    """
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1200))
    trains = {item.path for item in items if "shapes_records" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path.parent.name == "unit", item.path not in trains))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Iterator[object]:
    """Restores signal handlers: a command that a test runs in this process installs some, and ignores signals at its end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return (yield)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report = yield
    if SKIP_NOTHING and report.skipped and not hasattr(report, "wasxfail"):
        reason = skip_reason(report)
        if reason in [external.reason for external in REQUIRED]:
            report.outcome, report.longrepr = "failed", f"It was to be skipped, and BOXCAR_SKIP_NOTHING is set. {reason}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """After all else, how many tests were skipped, for what reason, and what to do about it."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and (skipped := reporter.stats.get("skipped")):
        reporter.write_line(f"{len(skipped)} tests were skipped:")
        for reason, count in Counter(map(skip_reason, skipped)).most_common():
            reporter.write_line(f"{count:6}  {reason}")
    return result


def skip_reason(report: pytest.TestReport) -> str:
    assert isinstance(report.longrepr, tuple), report.longrepr
    return report.longrepr[2].removeprefix("Skipped: ")


@pytest.fixture(scope="session")
def shapes_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of 40 drawn pictures of 96 px. Read only: a test that changes them copies them first."""
    from boxcar.records import build_records
    from boxcar.shapes import make_shapes

    def make(folder: Path) -> None:
        pictures = make_shapes(str(folder / "pictures"), pictures=40, image_size=96)
        build_records(str(pictures), str(folder / "records"))

    return made_once(tmp_path_factory, "shapes", make) / "records"


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    return WholeRun(made_once(tmp_path_factory, "whole_run", lambda folder: WholeRun(folder).make()))


# For a file's tests and no longer: while it runs, nothing else in this thread can use asyncio.
@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    from page_visit import launched

    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(MinioServer(tmp_path_factory.mktemp("minio") / "data")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(GcsEmulator(tmp_path_factory.mktemp("gcs") / "data")) as server:
        yield server


@pytest.fixture(params=["minio", GCS])
def bucket_uri(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a bucket that does not exist yet; the environment names its server."""
    server: Server = request.getfixturevalue(request.param)
    for name, value in server.environment(server.address).items():
        monkeypatch.setenv(name, value)
    return f"{server.scheme}://{server.make_bucket()}/runs/1"
