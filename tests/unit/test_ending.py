"""How the end of a pipeline is put into words, and sent to a webhook."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from boxcar.components.ending import WEBHOOK, tell_end
from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import retry


class Hook:
    """Where messages are sent to. It answers with `statuses`, one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.statuses = [200]
        self.messages: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.statuses.pop(0) if len(hook.statuses) > 1 else hook.statuses[0])
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/secret-key"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    made = Hook()
    monkeypatch.setenv(WEBHOOK, made.url)
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.5)
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.5)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_what_is_sent(hook: Hook, tmp_path: Path) -> None:
    hook.statuses = [503, 204]
    failure = {"step": "train", "code": 65, "what": "The loss is not finite.", "do": "Lower it.", "at": "now"}
    (tmp_path / "failure.json").write_text(json.dumps(failure))
    words = tell_end("FAILED", "steps", "The DAG failed.", str(tmp_path))
    assert words == "The step train ended with 65: The loss is not finite. Lower it."
    assert hook.messages == [{"text": words, "state": "FAILED", "run": str(tmp_path), "failure": failure}] * 2


def test_a_run_that_left_no_word(hook: Hook, tmp_path: Path) -> None:
    assert tell_end("FAILED", "steps", "OOMKilled.", str(tmp_path)).endswith("none of its steps left word why. OOMKilled.")
    assert tell_end("FAILED", "steps", "", str(tmp_path)).endswith("See the log of steps.")
    assert hook.messages[0]["failure"] is None


def test_whom_it_concerns_hears_of_a_bucket_that_fails_too(hook: Hook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BOXCAR_S3_ENDPOINT", "no address")
    with pytest.raises(BoxcarError, match="BOXCAR_S3_ENDPOINT"):
        tell_end("FAILED", "steps", "", "s3://bucket/runs/1")
    assert "why cannot be read: BOXCAR_S3_ENDPOINT is not the address of a server." in hook.messages[0]["text"]


def test_nothing_is_sent_where_no_webhook_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEBHOOK, raising=False)
    (tmp_path / "failure.json").write_text("an older one")
    for word in ("SUCCEEDED", "COMPLETE"):
        assert tell_end(word, "steps", "", str(tmp_path)) == f"Done: the run is in {tmp_path}."


@pytest.mark.parametrize("status", [302, 404, 503])
def test_a_webhook_that_does_not_take_it(hook: Hook, tmp_path: Path, status: int) -> None:
    hook.statuses = [status]
    with pytest.raises(BoxcarError, match=f"The webhook at 127.0.0.1 answers with status {status}") as caught:
        tell_end("SUCCEEDED", "steps", "", str(tmp_path))
    assert caught.value.code == ExitCode.SURROUNDINGS
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"), [("http://127.0.0.1:9/secret-key", "cannot be reached"), ("ftp://secret-key", "address is none")]
)
def test_a_webhook_that_is_not_there(hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, words: str) -> None:
    monkeypatch.setenv(WEBHOOK, url)
    with pytest.raises(BoxcarError, match=words) as caught:
        tell_end("SUCCEEDED", "steps", "", str(tmp_path))
    assert "secret-key" not in str(caught.value)
