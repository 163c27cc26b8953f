"""Real servers for tests of buckets, on loopback, and a proxy that stands before one and does it harm."""

import contextlib
import http.client
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
from external import MINIO

# What every store must do is tested every day on all of them (test_stores.py, test_conditional_writes.py). What is built on
# stores is tested every day on a folder and on MinIO.
GCS = pytest.param("gcs", marks=pytest.mark.slow)

USER, PASSWORD = "tester", "tester-secret"
REGION = "us-east-1"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server(ABC):
    """A process that serves a bucket API from a folder; it may be killed and started again at the same address."""

    scheme: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def command(self) -> list[str]:
        """What starts the server."""

    @abstractmethod
    def environment(self, address: str) -> dict[str, str]:
        """What a client needs to find the server, or a proxy before it, at `address`."""

    @abstractmethod
    def make_bucket(self) -> str:
        """The name of a new bucket."""

    def start(self) -> None:
        variables = os.environ | {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_BROWSER": "off"}
        variables["MINIO_SITE_REGION"] = REGION
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=variables)
        for _ in range(600):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ready():
                    return
            time.sleep(0.1)
        raise AssertionError(f"{self.command()} did not start, see {log.name}")

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        connection.request("GET", self.health)
        return connection.getresponse().status == 200

    health = "/"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class MinioServer(Server):
    scheme = "s3"
    health = "/minio/health/ready"

    def start(self) -> None:
        super().start()
        time.sleep(1.5)  # a bucket that is created in the server's first second may wait 60 s for a lock (1 start in 4)

    def command(self) -> list[str]:
        return [str(MINIO.path), "server", str(self.folder), "--address", f"127.0.0.1:{self.port}", "--quiet"]

    def environment(self, address: str) -> dict[str, str]:
        return {"BOXCAR_S3_ENDPOINT": address, "AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD}

    def make_bucket(self) -> str:
        from minio import Minio

        bucket = f"bucket-{secrets.token_hex(6)}"
        Minio(f"127.0.0.1:{self.port}", USER, PASSWORD, secure=False, region=REGION).make_bucket(bucket)
        return bucket


class GcsEmulator(Server):
    """With the conditions on generations that the emulator itself passes over."""

    scheme = "gs"
    program: tuple[str, ...] = (str(Path(__file__).parent / "conditional_gcs.py"),)

    def command(self) -> list[str]:
        options = ["-d", str(self.folder), "start", "--quiet", "--host", "127.0.0.1", "--port", str(self.port)]
        return [sys.executable, *self.program, *options]

    def environment(self, address: str) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": address}

    def make_bucket(self) -> str:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        bucket = f"bucket-{secrets.token_hex(6)}"
        options = {"api_endpoint": self.address}
        storage.Client(project="tests", credentials=AnonymousCredentials(), client_options=options).create_bucket(bucket)
        return bucket


class UnconditionalGcs(GcsEmulator):
    """The emulator as it is: a server that passes conditions over in silence."""

    program = ("-m", "gcp_storage_emulator")


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    if isinstance(server, MinioServer):
        MINIO.need()
    server.folder.mkdir(parents=True)
    try:
        server.start()
        yield server
    finally:
        server.kill()


Fault = Literal["unavailable", "cut request", "cut answer", "lose answer", "damage request", "damage answer"]


@dataclass(frozen=True)
class Seen:
    """A request that the proxy passed on, or harmed."""

    method: str
    path: str  # with its query
    bytes: int  # of its body
    headers: dict[str, str]


class FaultProxy:
    """Passes requests to a server. `fault` is asked about each, and says what is to happen to it."""

    def __init__(self, upstream: int) -> None:
        self.seen: list[Seen] = []
        self.fault: Callable[[Seen], Fault | None] = lambda seen: None
        self.down = False  # as if there were no server
        self._under_way: set[int] = set()  # threads that pass a request on
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                seen = Seen(self.command, self.path, length, {k.lower(): v for k, v in self.headers.items()})
                proxy.seen.append(seen)
                fault = proxy.fault(seen)
                body = self.rfile.read(length // 2 if fault == "cut request" else length)
                if len(body) < length or proxy.down:
                    return self.cut()  # the fault, or a client that was killed while it sent
                if fault == "unavailable":
                    return self.answer(503, [("Content-Type", "text/plain"), ("Retry-After", "1")], b"busy")
                if fault == "damage request" and body:
                    body = damaged(body)
                proxy._under_way.add(threading.get_ident())
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
                    connection.request(self.command, self.path, body or None, dict(self.headers.items()))
                    response = connection.getresponse()
                    content = response.read()
                except (OSError, http.client.HTTPException):
                    return self.cut()
                finally:
                    proxy._under_way.remove(threading.get_ident())
                if fault == "lose answer":
                    return self.cut()
                if fault == "damage answer" and content:
                    content = damaged(content)
                headers = [(k, v) for k, v in response.getheaders() if k.lower() not in HOP]
                return self.answer(response.status, headers, content, cut=fault == "cut answer")

            def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool = False) -> None:
                self.send_response_only(status)
                for key, value in headers:
                    if self.command == "HEAD" or key.lower() != "content-length":
                        self.send_header(key, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                if cut:
                    self.cut()

            def cut(self) -> None:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_any

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                pass  # clients that were harmed hang up

        self._listener = Listener(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._listener.server_address[1]}"
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()

    def settle(self) -> None:
        """Waits until the server has answered all that was passed on to it."""
        time.sleep(0.2)
        while self._under_way:
            time.sleep(0.05)

    def close(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()


HOP = ("connection", "transfer-encoding", "keep-alive", "date", "server")


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def first(count: int, fault: Fault, method: str, marker: str = "") -> Callable[[Seen], Fault | None]:
    """A fault that befalls the first `count` requests of this method whose path holds `marker`."""
    left = [count]
    lock = threading.Lock()

    def judge(seen: Seen) -> Fault | None:
        with lock:
            if left[0] and seen.method == method and marker in seen.path:
                left[0] -= 1
                return fault
        return None

    return judge
