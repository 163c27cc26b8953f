"""A client of the REST API of Kubeflow Pipelines, version 2.

It replaces `kfp.Client`, of which a dozen requests would be used. That client imports 1,300 more modules (5 s instead of 0.5 s
before the first request, on two busy cores), and the ops image would need kfp with its dependencies. It raises `ApiException`
with the server's headers instead of one sentence, does not wait for a server that restarts, and refuses a recurring run without
a version, by which a schedule follows the newest one. Tests compare our requests with those of `kfp.Client` and its models.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from boxcar.errors import BoxcarError, ExitCode
from boxcar.retry import Busy, Retry, TransientReason, Unreachable, network_reason, transient_http_reason

ADDRESS = "KF_PIPELINES_ENDPOINT"  # as in kfp's own client
TOKEN = "BOXCAR_KFP_TOKEN"  # noqa: S105 - a variable's name
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105 - as in kfp's own client
_PROJECTED = Path("/var/run/secrets/kubeflow/pipelines/token")  # of a pod's token in kfp's documentation
_API = "/apis/v2beta1"
_TIMEOUT = urllib3.Timeout(connect=5.0, read=60.0)
_PORT_FORWARD = "kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888"

Answer = dict[str, Any]


class RequestRefused(BoxcarError):
    """The server refuses a request."""

    def __init__(self, status: int, address: str, message: str) -> None:
        what = f"Kubeflow Pipelines at {address} refused the request: {' '.join(message.split()).rstrip('.')}."
        code = ExitCode.USAGE if status < 500 else ExitCode.ENVIRONMENT
        super().__init__(code, what, "Correct what the message names." if status < 500 else "See the log of its API server.")
        self.status = status


class Endpoint:
    """One API server of Kubeflow Pipelines.

    Args:
        address: http:// or https://, a host, perhaps a path; None for that of KF_PIPELINES_ENDPOINT.
        token_file: file with a token, read for each request; else BOXCAR_KFP_TOKEN, else the token of a pod's service account
            if one is projected for Kubeflow; else no token is sent.

    Raises:
        BoxcarError: 64 if no address was given, or it is not one.
    """

    def __init__(self, address: str | None, token_file: Path | None = None) -> None:
        found = address or os.environ.get(ADDRESS, "")
        do = f"Add --endpoint https://..., or set {ADDRESS}. From outside the cluster: `{_PORT_FORWARD}`, then "
        do += "--endpoint http://localhost:8888."
        if not found:
            raise BoxcarError(ExitCode.USAGE, "No endpoint of Kubeflow Pipelines was given.", do)
        parts = urlsplit(found)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc:
            raise BoxcarError(ExitCode.USAGE, "The endpoint is not the address of a server.", do)
        self.address = found.rstrip("/")
        self._token_file = token_file
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)
        self._retry, self._retry_post = Retry(transient_http_reason), Retry(_unsent_reason)

    def check(self) -> bool:
        """Whether many users share the server. Checks that it is Kubeflow Pipelines 2.

        Raises:
            BoxcarError: 69 if it is something else, is too old, or denies access.
        """
        try:
            return bool(self.get("/healthz").get("multi_user", False))
        except RequestRefused as error:
            if error.status in (404, 405, 501):
                raise self._too_old() from error
            raise

    def get(self, path: str, **query: str | None) -> Answer:
        return self._ask("GET", path, query)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Sends a POST; repeated only while the server cannot be reached."""
        return self._ask("POST", path, {}, json=body)

    def delete(self, path: str, **query: str | None) -> None:
        """Sends a DELETE. It is no error if there is nothing to delete."""
        try:
            self._ask("DELETE", path, query)
        except RequestRefused as error:
            if error.status != 404:
                raise

    def upload(self, path: str, text: str, **query: str | None) -> Answer:
        """Uploads a compiled pipeline."""
        return self._ask("POST", path, query, fields={"uploadfile": ("pipeline.yaml", text, "application/x-yaml")})

    def find(self, path: str, kind: str, name: str, **query: str | None) -> Answer | None:
        """The object of that name in a list; None if there is none."""
        answer = self.get(path, filter=_named(name), **query)
        found: list[Answer] = answer.get(kind) or []
        return found[0] if found else None

    def all(self, path: str, kind: str, name: str | None = None, **query: str | None) -> list[Answer]:
        """All objects of a list, or those of one name."""
        found: list[Answer] = []
        page: str | None = None
        while True:
            answer = self.get(path, filter=_named(name) if name else None, page_token=page, page_size="100", **query)
            found += answer.get(kind) or []
            page = answer.get("next_page_token")
            if not page:
                return found

    def _ask(self, method: str, path: str, query: Mapping[str, str | None], **sent: Any) -> Answer:
        given = {name: value for name, value in query.items() if value}
        url = f"{self.address}{_API}{path}" + (f"?{urlencode(given)}" if given else "")

        def ask() -> Answer:
            headers = {"Accept": "application/json", **self._authorization()}
            return self._read(self._pool.request(method, url, headers=headers, redirect=False, **sent), method)

        try:
            return (self._retry_post if method == "POST" else self._retry)(ask)
        except Busy as error:
            raise self._unreachable(error.reason) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(network_reason(error)) from error

    def _read(self, answer: urllib3.BaseHTTPResponse, method: str) -> Answer:
        status = answer.status
        if status in (401, 403) or 300 <= status < 400:
            raise BoxcarError(
                ExitCode.ENVIRONMENT,
                f"Kubeflow Pipelines at {self.address} denies access ({_message(answer) or f'status {status}'}).",
                f"Give a token that is valid there with --token-file or {TOKEN}. In a pod, project a service "
                f"account token for the audience pipelines.kubeflow.org, and set {TOKEN_FILE} to its path.",
            )
        if status in (429, 502, 503, 504) and method != "POST":
            raise Busy(status)
        if status >= 400:
            raise RequestRefused(status, self.address, _message(answer) or f"status {status}")
        try:
            found = json.loads(answer.data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._too_old()
        return found

    def _authorization(self) -> dict[str, str]:
        named = self._token_file or os.environ.get(TOKEN_FILE)
        token: str | None
        if named is None and (token := os.environ.get(TOKEN)):
            return {"Authorization": f"Bearer {token}"}
        path = Path(named or _PROJECTED)
        if named is None and not path.exists():
            return {}
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            what = f"The token in {path} cannot be read: {reason}."
            raise BoxcarError(ExitCode.ENVIRONMENT, what, f"Correct --token-file or {TOKEN_FILE}.") from error
        return {"Authorization": f"Bearer {token}"}

    def _too_old(self) -> BoxcarError:
        what = f"{self.address} is not the API of Kubeflow Pipelines 2: it is an older version or another server."
        do = "Give the address of its API server or of its UI. These pipelines are made for version 2.17."
        return BoxcarError(ExitCode.ENVIRONMENT, what, do)

    def _unreachable(self, reason: str) -> BoxcarError:
        what = f"Kubeflow Pipelines at {self.address} cannot be reached: {reason.rstrip('.')}."
        do = f"Check the address and that the server runs. From outside the cluster, use `{_PORT_FORWARD}`."
        return Unreachable(ExitCode.ENVIRONMENT, what, do)


def _unsent_reason(error: BaseException) -> TransientReason | None:
    """Why a request was not sent. One that was sent is not repeated, because the server may have carried it out."""
    return "unreachable" if isinstance(error, urllib3.exceptions.NewConnectionError) else None


def _named(name: str) -> str:
    # As in kfp's own client. 1 is EQUALS.
    return json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": name}]})


def _message(answer: urllib3.BaseHTTPResponse) -> str:
    """The server's error message; empty if the answer is not its own JSON."""
    try:
        content: Any = json.loads(answer.data)
        return str(content["message"] if "message" in content else content["error_message"])  # the latter for an upload
    except (ValueError, TypeError, KeyError):
        return ""
