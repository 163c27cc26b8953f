"""Which runs Jobs work on, as a cluster's list of Jobs says."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = json.dumps({"kind": "JobList", "apiVersion": "batch/v1", "items": jobs}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}", "team")))
        # One that fails still has pods.
        assert active_runs(None) == {f"s3://bucket/runs/{number}" for number in (0, 3, 4)}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    (path,) = asked
    assert urlsplit(path).path == "/apis/batch/v1/namespaces/team/jobs"
    selectors = parse_qs(urlsplit(path).query)["labelSelector"][0].split(",")
    assert all(name in jobs[0]["metadata"]["labels"] for name in (selector.split("=")[0] for selector in selectors))
