"""What many tests share: a small set of real records, made once by the real steps."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from storage_servers import GcsEmulator, MinioServer, Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# As the command sets them, before anybody imports TensorFlow.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def shapes_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of 40 drawn pictures of 96 px. Read only: a test that changes them copies them first."""
    from boxcar.records import build_records
    from boxcar.shapes import make_shapes

    folder = tmp_path_factory.mktemp("shapes")
    pictures = make_shapes(str(folder / "pictures"), pictures=40, image_size=96)
    return build_records(str(pictures), str(folder / "records")).folder


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


@pytest.fixture(params=["minio", "gcs"])
def bucket_uri(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a bucket that does not exist yet; the environment names its server."""
    server: Server = request.getfixturevalue(request.param)
    for name, value in server.environment(server.address).items():
        monkeypatch.setenv(name, value)
    return f"{server.scheme}://{server.make_bucket()}/runs/1"
