"""A cluster, a bucket beside it and a toy run on them, shared by all tests of this folder."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chart_release import Release, load_minio_image, new_release
from cluster_under_test import ADDRESS, KEY, SECRET, TOOLS, WORKFLOWS, Cluster, Place, find_cluster, install, load_images
from watched import Watcher


class Minio:
    """A MinIO server that pods can reach; it may be stopped and started again at its address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as listener:
            listener.bind((ADDRESS, 0))
            self.port = listener.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{ADDRESS}:{self.port}"

    def start(self) -> None:
        program = os.environ.get("BOXCAR_MINIO", str(TOOLS / "minio"))
        variables = os.environ | {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off"}
        with (self.folder.parent / "minio.log").open("ab") as log:
            command = [program, "server", str(self.folder), "--address", f"{ADDRESS}:{self.port}", "--quiet"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        for _ in range(300):
            with socket.socket() as attempt:
                if attempt.connect_ex((ADDRESS, self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError(f"MinIO did not start, see {self.folder.parent / 'minio.log'}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    found = find_cluster()
    load_images(found)
    if not found.kubectl("get", "crd", WORKFLOWS["metadata"]["name"], "--ignore-not-found"):
        found.apply(WORKFLOWS)  # a cluster with Kubeflow has the real one
    return found


@pytest.fixture(scope="session")
def minio(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    server = Minio(tmp_path_factory.mktemp("minio") / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def place(cluster: Cluster, minio: Minio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    from minio import Minio as Client

    bucket = f"boxcar-{secrets.token_hex(4)}"
    Client(f"{ADDRESS}:{minio.port}", KEY, SECRET, secure=False, region="us-east-1").make_bucket(bucket)
    folder = tmp_path_factory.mktemp("cluster")
    namespace = f"boxcar-test-{secrets.token_hex(3)}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(install(cluster, namespace, minio.endpoint))
    made = Place(cluster, namespace, kubeconfig, f"s3://{bucket}", minio.endpoint, folder)
    kept = dict(os.environ)
    os.environ.update({name: value for name, value in made.variables().items() if name != "KUBECONFIG"})
    try:
        yield made
    finally:
        os.environ.clear()
        os.environ.update(kept)
        for watcher in made.watchers:
            watcher.kill()
        cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


@pytest.fixture(scope="session")
def pictures(place: Place, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of 60 drawn pictures."""
    from boxcar.shapes import make_shapes
    from boxcar.storage import open_store
    from boxcar.sync.transfer import send_folder

    folder = make_shapes(str(tmp_path_factory.mktemp("pictures") / "shapes"), pictures=60, image_size=128)
    uri = f"{place.bucket}/pictures"
    send_folder(folder, open_store(uri))
    return uri


@pytest.fixture(scope="session")
def records(place: Place, pictures: str) -> str:
    """URI of their records, as the toy's first step makes them."""
    from boxcar.records import build_records

    uri = f"{place.bucket}/records"
    build_records(pictures, uri)
    return uri


@pytest.fixture(scope="session")
def toy(place: Place, pictures: str) -> tuple[str, str]:
    """URI of a run that went all the way, undisturbed, and what its watcher said."""
    run = place.new_run()
    watcher = Watcher(place, run, place.settings(), data=pictures)
    watcher.must_succeed(1200)
    return run, watcher.text


@pytest.fixture(scope="session")
def minio_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """MinIO's image for the chart, on the nodes."""
    load_minio_image(cluster, tmp_path_factory.mktemp("minio-image"))


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    """A namespace for the chart."""
    with new_release(cluster) as made:
        yield made
