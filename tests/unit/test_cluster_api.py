"""Finding a cluster, and what is said where there is none; what a real one answers is tested in tests/cluster."""

from pathlib import Path

import pytest
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
