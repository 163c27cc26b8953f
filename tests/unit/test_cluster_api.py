"""Finding a cluster, and what is said where there is none; what a real one answers is tested in tests/cluster."""

import ssl
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from api_server import api_server
from kubeconfigs import kubeconfig
from storage_servers import free_port

from boxcar import retry
from boxcar.cluster.api import open_api
from boxcar.errors import BoxcarError


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    "content", [None, "", "clusters: [", "- a\n- b\n", "apiVersion: v1\nkind: Config\n", "current-context: nowhere\n"]
)
def test_a_kubeconfig_that_is_absent_or_broken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "absent"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(BoxcarError) as caught:
        open_api(None)
    assert caught.value.code == 69 and str(path) in caught.value.what and "KUBECONFIG" in caught.value.do


def test_the_namespace_is_the_one_given_else_the_contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "https://127.0.0.1:1", "team")))
    assert open_api(None).namespace == "team" and open_api("mine").namespace == "mine"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "https://127.0.0.1:1")))
    assert open_api(None).namespace == "default"


def test_a_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.3)
    server = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, server)))
    with pytest.raises(retry.Unreachable) as caught:
        open_api(None).get("jobs", "x")
    assert caught.value.code == 69 and server in caught.value.what and "refused" in caught.value.what
    assert "object at" not in caught.value.what and "KUBECONFIG" in caught.value.do


def test_a_pod_asks_with_the_token_of_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "ca.crt", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=kubernetes"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "namespace").write_text("team\n")
    asked: list[tuple[str, str | None]] = []

    def answer(request: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        asked.append((request.path, request.headers["Authorization"]))
        return 200, {"metadata": {"name": "x"}}

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with api_server(answer, context) as port:
        monkeypatch.setattr("boxcar.cluster.api.OWN", tmp_path)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        api = open_api(None)
        for token in ("first", "second"):  # the kubelet writes a new one every hour
            (tmp_path / "token").write_text(f"{token}\n")
            assert api.get("leases", "x") == {"metadata": {"name": "x"}}
    path = "/apis/coordination.k8s.io/v1/namespaces/team/leases/x"
    assert asked == [(path, "Bearer first"), (path, "Bearer second")]
