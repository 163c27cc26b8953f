"""Which runs Jobs work on, as a cluster's list of Jobs says."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from api_server import api_server
from kubeconfigs import kubeconfig

from boxcar.cluster.job import step_job
from boxcar.cluster.job_status import active_runs
from boxcar.config.run_settings import Configuration


def test_runs_whose_jobs_have_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Any] = []
    for number, kind in enumerate((None, "Complete", "Failed", "FailureTarget", "Suspended")):
        job = step_job(Configuration(), f"s3://bucket/runs/{number}", "convert", "image", [])
        job["status"] = {} if kind is None else {"conditions": [{"type": kind, "status": "True"}]}
        jobs.append(job)
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        asked.append(request.path)
        return 200, {"kind": "JobList", "apiVersion": "batch/v1", "items": jobs}

    with api_server(answer) as port:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, f"http://127.0.0.1:{port}", "team")))
        # One that fails still has pods.
        assert active_runs(None) == {f"s3://bucket/runs/{number}" for number in (0, 3, 4)}
    (path,) = asked
    assert urlsplit(path).path == "/apis/batch/v1/namespaces/team/jobs"
    selectors = parse_qs(urlsplit(path).query)["labelSelector"][0].split(",")
    assert all(name in jobs[0]["metadata"]["labels"] for name in (selector.split("=")[0] for selector in selectors))
