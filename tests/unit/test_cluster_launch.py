"""A Job from its creation to its end, on an API server that holds objects and starts nothing."""

import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from api_server import api_server
from kubeconfigs import kubeconfig

from boxcar import process, retry
from boxcar.cluster import watch
from boxcar.cluster.job import step_job
from boxcar.cluster.launch import Work, run_job
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import Configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage.local_files import replace_json


class Cluster:
    """Objects by kind and name. `after` is called with the number of each look at the Job."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {kind: {} for kind in ("jobs", "pods", "events", "leases")}
        self.deleted: list[str] = []
        self.looks = 0
        self.after: Callable[[int], None] = lambda looks: None
        self.away = False

    def answer(self, method: str, kind: str, name: str, body: Any) -> tuple[int, Any]:
        if self.away:
            return 503, {"message": "away"}
        held = self.objects[kind]
        if method == "POST":
            name = body["metadata"]["name"]
            held[name] = body | {"status": {}}
            held[name]["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
            return 201, held[name]
        if method == "DELETE":
            self.deleted.append(name)
            return 200, held.pop(name, {})
        if not name:
            return 200, {"items": list(held.values())}
        if kind == "jobs":
            self.looks += 1
            self.after(self.looks)
        return (200, held[name]) if name in held else (404, {"message": "not found"})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster()

    def answer(request: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        kind, _, name = request.path.partition("?")[0].partition("/namespaces/team/")[2].partition("/")
        return cluster.answer(request.command, kind, name, body)

    with api_server(answer) as port:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, f"http://127.0.0.1:{port}", "team")))
        monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
        signal.signal(signal.SIGTERM, process._terminate)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield cluster


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "export").mkdir(parents=True)
    return tmp_path / "run"


def start(run: Path) -> str:
    """Does the step `convert` in a Job; the Job's name."""
    job = step_job(Configuration(), str(run), "convert", "convert", ["convert"])
    run_job(Work(job, "export/step.json", ("convert",)), ClusterSettings(), str(run))
    return str(job["metadata"]["name"])


def ended(cluster: Cluster, kind: str, **condition: str) -> None:
    (job,) = cluster.objects["jobs"].values()
    job["status"] = {"conditions": [{"type": kind, "status": "True", **condition}]}


def test_a_job_that_succeeds_is_done_once(cluster: Cluster, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.after = lambda looks: ended(cluster, "Complete") if looks == 3 else None
    replace_json(run / "export" / "step.json", {"step": "convert"})
    name = start(run)
    assert f"Created the Job {name}" in capsys.readouterr().err
    start(run)
    assert f"The Job {name} has already finished this step." in capsys.readouterr().err
    assert cluster.deleted == []


def test_a_job_that_leaves_no_result_is_no_success(cluster: Cluster, run: Path) -> None:
    cluster.after = lambda looks: ended(cluster, "Complete") if looks == 3 else None
    with pytest.raises(BoxcarError, match=r"succeeded, but .* has no export/step\.json") as caught:
        start(run)
    assert caught.value.code == ExitCode.ENVIRONMENT


def test_a_failed_job_is_replaced(cluster: Cluster, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.after = lambda looks: ended(cluster, "Failed", message="no luck") if looks == 3 else None
    with pytest.raises(BoxcarError, match="no luck"):
        start(run)
    cluster.looks, cluster.after = 0, lambda looks: ended(cluster, "Complete") if looks == 5 else None
    replace_json(run / "export" / "step.json", {"step": "convert"})
    name = start(run)
    assert cluster.deleted == [name]
    assert "no luck. A new one is created." in capsys.readouterr().err


def test_an_outage_is_waited_through(
    cluster: Cluster, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.2)
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.2)

    def look(looks: int) -> None:
        if looks == 3:
            cluster.away = True
            threading.Timer(1.5, lambda: setattr(cluster, "away", False)).start()
        elif looks == 5:
            ended(cluster, "Complete")

    cluster.after = look
    replace_json(run / "export" / "step.json", {"step": "convert"})
    start(run)
    said = capsys.readouterr().err
    assert said.count("The Job continues.") == 1 and said.count("reachable again") == 1


def test_a_lost_node_is_one_sentence(cluster: Cluster, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kubelet says the same of each container of a pod whose node is gone."""

    def look(looks: int) -> None:
        if looks == 3:
            gone = {"reason": "ContainerStatusUnknown", "exitCode": 137, "message": "The container could not be located."}
            statuses = [
                {"name": name, "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": gone}}
                for name in ("first", "second", "third")
            ]
            metadata = {"name": "pod-1", "uid": "pod-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
            cluster.objects["pods"]["pod-1"] = {
                "metadata": metadata,
                "status": {"phase": "Running", "containerStatuses": statuses},
            }
        elif looks == 8:
            ended(cluster, "Complete")

    cluster.after = look
    replace_json(run / "export" / "step.json", {"step": "convert"})
    start(run)
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if "pod-1" in line or "restarted" in line]
    assert all(word in sentence for word in ("node", "pod-1", "first, second, third"))
    assert "SIGKILL" not in sentence and "--resume" not in sentence


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, ExitCode.AGAIN), (signal.SIGINT, ExitCode.INTERRUPTED)])
def test_sigterm_leaves_the_job_and_ctrl_c_deletes_it(
    cluster: Cluster, run: Path, number: signal.Signals, code: ExitCode
) -> None:
    main = threading.main_thread().ident
    assert main is not None
    cluster.after = lambda looks: signal.pthread_kill(main, number) if looks == 3 else None
    with pytest.raises(BoxcarError) as caught:
        start(run)
    (name,) = cluster.objects["jobs"] or cluster.deleted
    assert caught.value.code == code and name in caught.value.what and caught.value.again
    assert cluster.deleted == ([] if number == signal.SIGTERM else [name])


def test_another_configuration_is_refused(cluster: Cluster, run: Path) -> None:
    start_signal = threading.main_thread().ident
    assert start_signal is not None
    cluster.after = lambda looks: signal.pthread_kill(start_signal, signal.SIGTERM) if looks == 3 else None
    with pytest.raises(BoxcarError):
        start(run)
    signal.signal(signal.SIGTERM, process._terminate)
    job = step_job(Configuration(seed=1), str(run), "convert", "convert", ["convert"])
    with pytest.raises(BoxcarError, match=r"is running for .* with a different configuration") as caught:
        run_job(Work(job, "export/step.json", ("convert",)), ClusterSettings(), str(run))
    assert caught.value.code == ExitCode.USAGE
