"""How the end of a pipeline is put into words, and sent to a webhook."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from webhook import Webhook

from boxcar import retry
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.ending import tell_end
from boxcar.run.webhook import WEBHOOK, check_address, post


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.5)
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.5)
    with Webhook() as made:
        monkeypatch.setenv(WEBHOOK, made.url)
        yield made


def test_what_is_sent(hook: Webhook, tmp_path: Path) -> None:
    hook.statuses = [503, 204]
    failure = {"step": "train", "code": 65, "what": "The loss is not finite.", "do": "Lower it.", "at": "now"}
    (tmp_path / "failure.json").write_text(json.dumps(failure))
    words = tell_end("FAILED", "steps", "The DAG failed.", str(tmp_path))
    assert words == "The step train ended with 65: The loss is not finite. Lower it."
    assert hook.messages == [{"text": words, "state": "FAILED", "run": str(tmp_path), "failure": failure}] * 2


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE"])
def test_a_run_that_is_done(hook: Webhook, tmp_path: Path, state: str) -> None:
    words = tell_end(state, "steps", "", str(tmp_path))
    assert words == f"Done: the run is in {tmp_path}."
    assert hook.messages == [{"text": words, "state": "SUCCEEDED", "run": str(tmp_path), "failure": None}]


def test_a_run_that_left_no_word(hook: Webhook, tmp_path: Path) -> None:
    killed = tell_end("RUNNING", "steps", "", str(tmp_path))
    assert killed == f"The run in {tmp_path} did not succeed, and none of its steps recorded a reason. See the log of steps."
    assert tell_end("FAILED", "steps", "OOMKilled.", str(tmp_path)).endswith("none of its steps recorded a reason. OOMKilled.")
    assert tell_end("FAILED", "steps", "", str(tmp_path)).endswith("See the log of steps.")
    assert hook.messages[0]["failure"] is None


def test_whom_it_concerns_hears_of_a_bucket_that_fails_too(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOXCAR_S3_ENDPOINT", "no address")
    with pytest.raises(BoxcarError, match="BOXCAR_S3_ENDPOINT"):
        tell_end("FAILED", "steps", "", "s3://bucket/runs/1")
    assert "the reason cannot be read: BOXCAR_S3_ENDPOINT is not the address of a server." in hook.messages[0]["text"]


def test_nothing_is_sent_where_no_webhook_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEBHOOK, raising=False)
    (tmp_path / "failure.json").write_text("an older one")
    assert tell_end("SUCCEEDED", "steps", "", str(tmp_path)) == f"Done: the run is in {tmp_path}."


@pytest.mark.parametrize("status", [302, 404, 503])
def test_a_webhook_that_does_not_take_it(hook: Webhook, tmp_path: Path, status: int) -> None:
    hook.statuses = [status]
    with pytest.raises(BoxcarError, match=f"The webhook at 127.0.0.1 returned status {status}") as caught:
        tell_end("SUCCEEDED", "steps", "", str(tmp_path))
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"), [("http://127.0.0.1:9/secret-key", "cannot be reached"), ("ftp://secret-key", "address is not valid")]
)
def test_a_webhook_that_is_not_there(
    hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.setenv(WEBHOOK, url)
    with pytest.raises(BoxcarError, match=words) as caught:
        tell_end("SUCCEEDED", "steps", "", str(tmp_path))
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://[::1/secret-key",
        "http://127.0.0.1:1x/secret-key",
        "http://127.0.0.1:99999/secret-key",
        "http://127.0.0.1:9/secret-key\n",
        "http://127.0.0.1:9/secret key",
        "http://us er:secret-key@127.0.0.1:9/x",
        "http://127.0.0.1:9/\x01secret-key",
        "http://a..b/secret-key",
        "http:///secret-key",
        "secret-key",
    ],
)
def test_an_address_that_can_be_none_is_found_out_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(WEBHOOK, url)
    for act in (check_address, lambda: post({"text": "x"})):
        with pytest.raises(BoxcarError, match="address is not valid") as caught:
            act()
        assert caught.value.code == ExitCode.ENVIRONMENT
        assert "key" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["", "https://[::1]:8443/key", "http://hooks/key?a=%20", "https://user:word@hooks.example.com/"]
)
def test_an_address_that_can_be_one(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(WEBHOOK, url)
    assert check_address() == url
