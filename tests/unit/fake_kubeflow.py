"""A server with the REST API of Kubeflow Pipelines, as far as it is asked.

What it is sent and what it answers has to be what the models of kfp_server_api say; a path that it does not know is a defect of
whoever asks.
"""

import email
import email.policy
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import kfp_server_api as api

Sent = dict[str, Any]
GONE = object()  # what is answered where somebody else removed what is meant


class Kubeflow:
    """One server.

    Attributes:
        sent: every request, in order: method, path, query, body.
        unknown: paths that it was asked for and does not know.
        states: what it answers when it is asked for the run, one after the other, the last one again and again.
        refuses: a status with which every request is answered instead, and its body.
        token: that must be sent.
        multi_user: whether it says that many users share it.
    """

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.unknown: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.states: list[api.V2beta1Run] = [run("SUCCEEDED")]
        self.refuses: tuple[int, bytes] | None = None
        self.token: str | None = None
        self.multi_user = False
        self.pipelines: list[api.V2beta1Pipeline] = []
        self.versions: list[api.V2beta1PipelineVersion] = []
        self.experiments: list[api.V2beta1Experiment] = []
        self.recurring: list[api.V2beta1RecurringRun] = []
        self.firing: list[list[str]] = []  # ids of the recurring runs that fire, after each request
        self.fails: tuple[str, str, int] | None = None  # method, path and status of a request that is refused
        self.loses: tuple[str, str] | None = None  # method and path of a request that is carried out, and its answer lost
        self.page_size = 100
        self.made = 0  # recurring runs so far
        self.address = ""

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> Any:
        """The model that is answered with; None for a path that is not known."""
        read: Any = _multipart(body, kind) if kind.startswith("multipart/") else (json.loads(body) if body else None)
        self.sent.append({"method": method, "path": path, "query": query, "body": read})
        match (method, path):
            case ("GET", "/healthz"):
                return api.V2beta1GetHealthzResponse(multi_user=self.multi_user)
            case ("GET", "/pipelines"):
                return api.V2beta1ListPipelinesResponse(pipelines=_named(self.pipelines, query))
            case ("POST", "/pipelines/upload"):
                _exactly(query, {"name"}, {"namespace", "description", "display_name"})
                made = api.V2beta1Pipeline(pipeline_id="pipeline-1", display_name=query["name"])
                self.pipelines.append(made)
                # As the real one does: the first version is called as the pipeline is.
                self.versions.append(_version(query["name"], 0))
                return made
            case ("POST", "/pipelines/upload_version"):
                _exactly(query, {"name", "pipelineid"}, {"description", "display_name"})
                assert query["pipelineid"] in [one.pipeline_id for one in self.pipelines]
                self.versions.append(_version(query["name"], len(self.versions)))
                return self.versions[-1]
            case ("GET", "/pipelines/pipeline-1/versions"):
                return api.V2beta1ListPipelineVersionsResponse(pipeline_versions=_named(self.versions, query))
            case ("GET", "/experiments"):
                return api.V2beta1ListExperimentsResponse(experiments=_named(self.experiments, query))
            case ("POST", "/experiments"):
                asked = parse(read, "V2beta1Experiment")
                made = api.V2beta1Experiment(
                    experiment_id=f"experiment-{len(self.experiments) + 1}", display_name=asked.display_name
                )
                self.experiments.append(made)
                return made
            case ("POST", "/runs"):
                asked = parse(read, "V2beta1Run")
                asked.run_id = "run-1"
                asked.state = "PENDING"
                return asked
            case ("GET", "/runs/run-1"):
                return self.states.pop(0) if len(self.states) > 1 else self.states[0]
            case ("GET", "/recurringruns"):
                found = _named(self.recurring, query) if "filter" in query else self.recurring
                begin = int(query.get("page_token", "0"))
                end = begin + self.page_size
                token = str(end) if end < len(found) else None
                return api.V2beta1ListRecurringRunsResponse(recurring_runs=found[begin:end], next_page_token=token)
            case ("POST", "/recurringruns"):
                made = parse(read, "V2beta1RecurringRun")
                assert len(made.trigger.cron_schedule.cron.split()) == 6
                self.made += 1
                made.recurring_run_id = f"recurring-{self.made}"
                made.status = f"{made.mode}D"
                self.recurring.append(made)
                return made
            case _ if changed := re.fullmatch(r"/recurringruns/([^:]+)(:enable|:disable|)", path):
                return self._change(method, changed[1], changed[2], query)
        return None

    def _change(self, method: str, name: str, verb: str, query: dict[str, str]) -> Any:
        one = next((one for one in self.recurring if one.recurring_run_id == name), None)
        if one is None:
            return GONE
        if method == "DELETE" and not verb:
            _exactly(query, set(), {"propagation_policy"})
            assert query.get("propagation_policy", "ORPHAN") in api.V2beta1DeletePropagationPolicy.allowable_values
            self.recurring.remove(one)
        else:
            assert method == "POST"
            one.mode = verb[1:].upper()
            one.status = f"{one.mode}D"
        return {}


def run(state: str, **more: Any) -> api.V2beta1Run:
    return api.V2beta1Run(run_id="run-1", state=state, **more)


def task(name: str, state: str, message: str | None = None) -> api.V2beta1PipelineTaskDetail:
    error = api.GoogleRpcStatus(code=13, message=message) if message else None
    return api.V2beta1PipelineTaskDetail(display_name=name, state=state, error=error)


def parse(value: Any, model: str) -> Any:
    """A model out of JSON, of which no key may be unknown and no value of another type."""

    class Response:
        data = json.dumps(value)

    made = api.ApiClient().deserialize(Response, model)
    kept = api.ApiClient().sanitize_for_serialization(made)
    assert kept == value, f"{model} makes {kept} of {value}"
    return made


@contextmanager
def serving() -> Iterator[Kubeflow]:
    """A server on loopback; at the end, nobody has asked for anything that is not there."""
    kubeflow = Kubeflow()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kubeflow.headers.append(dict(self.headers))
            if kubeflow.refuses is not None:
                return self._send(*kubeflow.refuses)
            if kubeflow.fails is not None and (self.command, parts.path) == kubeflow.fails[:2]:
                return self._send(kubeflow.fails[2], b'{"code": 3, "message": "not today"}')
            if kubeflow.token is not None and self.headers.get("Authorization") != f"Bearer {kubeflow.token}":
                return self._send(401, b'{"error": "no", "code": 16, "message": "Request not authenticated"}')
            found = re.fullmatch(r"/apis/v2beta1(/.*)", parts.path)
            model = None
            if found is not None:
                query = dict(parse_qsl(parts.query))
                with one_at_a_time:
                    model = kubeflow.answer(self.command, found[1], query, body, self.headers.get("Content-Type") or "")
            if model is GONE:
                return self._send(404, b'{"code": 5, "message": "ResourceNotFoundError: Job not found"}')
            if model is None:
                kubeflow.unknown.append(f"{self.command} {self.path}")
                return self._send(404, b"{}")
            kubeflow.firing.append([one.recurring_run_id for one in kubeflow.recurring if one.mode == "ENABLE"])
            if (self.command, parts.path) == kubeflow.loses:
                return self._send(502, b"")
            value = api.ApiClient().sanitize_for_serialization(model)
            parse(value, "object" if isinstance(model, dict) else type(model).__name__)
            return self._send(200, json.dumps(value).encode())

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Location", "/dex/auth")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _do

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    one_at_a_time = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kubeflow.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield kubeflow
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not kubeflow.unknown


def _named(things: list[Any], query: dict[str, str]) -> list[Any]:
    (predicate,) = json.loads(query["filter"])["predicates"]
    assert (predicate["operation"], predicate["key"]) == (1, "display_name")
    return [thing for thing in things if thing.display_name == predicate["stringValue"]]


def _exactly(query: dict[str, str], needed: set[str], allowed: set[str]) -> None:
    assert needed <= query.keys() <= needed | allowed, query


def _version(name: str, number: int) -> api.V2beta1PipelineVersion:
    return api.V2beta1PipelineVersion(pipeline_id="pipeline-1", pipeline_version_id=f"version-{number}", display_name=name)


def _multipart(body: bytes, kind: str) -> dict[str, str]:
    """The parts of a form, by name."""
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True)).decode()
        for part in message.iter_parts()
    }
