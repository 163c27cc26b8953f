"""Requests to the Kubernetes API server. Objects are plain dictionaries, as in YAML."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from boxcar.errors import BoxcarError, ExitCode
from boxcar.retry import Busy, Retry, Unreachable, network_reason, transient_http_reason

Object = dict[str, Any]

OWN = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # in a pod: token, ca.crt, namespace

_PATHS = {
    "pods": "/api/v1",
    "services": "/api/v1",
    "events": "/api/v1",
    "jobs": "/apis/batch/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "workflows": "/apis/argoproj.io/v1alpha1",
}
# An API server answers 500 while its etcd is briefly unavailable.
_TRANSIENT = (429, 500, 502, 503, 504)
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0


def container_statuses(pod: Object) -> list[Object]:
    """Of all containers of a pod, in the order in which they start."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


class Conflict(Exception):
    """An object of that name already exists, or has changed since it was read."""


class Api:
    """The objects of one namespace.

    Transient errors are retried. If that does not help, methods raise Unreachable (69); if the server refuses, BoxcarError 69.

    Args:
        client: a `kubernetes.client.ApiClient`.
        namespace: of all objects.
        source: the configuration that names the server, for messages.
    """

    def __init__(self, client: Any, namespace: str, source: str) -> None:
        self._client = client
        self._server = str(client.configuration.host)
        self.namespace = namespace
        self._source = source
        self._retry = Retry(transient_http_reason)

    def get(self, kind: str, name: str) -> Object | None:
        """The object; None if there is none."""
        found: Object | None = self._ask("GET", kind, name)
        return found

    def find(self, kind: str, **selectors: str) -> list[Object]:
        """All objects of a kind that the selectors (`labelSelector`, `fieldSelector`) name."""
        answer = self._ask("GET", kind, query=selectors)
        return [] if answer is None else list(answer["items"])

    def create(self, kind: str, body: Object) -> Object:
        """Creates an object. Raises Conflict if there is one of that name."""
        answer: Object | None = self._ask("POST", kind, body=body)
        if answer is None:
            raise self._refused("POST", kind, f"there is no namespace {self.namespace}")
        return answer

    def replace(self, kind: str, body: Object) -> Object | None:
        """Returns the new object; None if there is none of that name. Raises Conflict if it has changed since it was read."""
        answer: Object | None = self._ask("PUT", kind, body["metadata"]["name"], body=body)
        return answer

    def delete(self, kind: str, name: str) -> None:
        """Deletes an object, if it exists, once everything that it owns is gone."""
        self._ask("DELETE", kind, name, body={"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"})

    def log(self, pod: str, container: str, *, since_seconds: int | None = None, previous: bool = False) -> list[str] | None:
        """The lines of a container's log, each after its time; None if there is no log.

        Args:
            pod: name of the pod.
            container: name of the container.
            since_seconds: the age of the oldest line.
            previous: whether to read the log from before the container's last restart.
        """
        query = {"container": container, "timestamps": "true", "previous": str(previous).lower()}
        if since_seconds is not None:
            query["sinceSeconds"] = str(since_seconds)
        try:
            lines = self._ask("GET", "pods", f"{pod}/log", query=query, read=_lines, retry=lambda ask: ask())
        except Unreachable:
            return None  # perhaps only its node is gone; the next request shows whether the API server is
        return None if lines is None else list(lines)

    def _ask(
        self,
        method: str,
        kind: str,
        name: str = "",
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        read: Callable[[bytes], Any] = json.loads,
        retry: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> Any:
        import urllib3

        path = f"{_PATHS[kind]}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

        def ask() -> Any:
            headers = {"Accept": "application/json"}
            self._client.update_params_for_auth(headers, [], ["BearerToken"])  # renews a token that is about to expire
            response = self._client.rest_client.pool_manager.request(
                method,
                f"{self._server}{path}" + (f"?{urlencode(query)}" if query else ""),
                json=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                retries=False,  # `self._retry` does them
            )
            if response.status in _TRANSIENT:
                raise Busy(response.status, _message(response.data))
            if response.status >= 300:
                raise _Refused(response.status, _message(response.data))
            return read(response.data)

        try:
            return (retry or self._retry)(ask)
        except _Refused as error:
            if error.status == 404:
                return None
            if error.status == 409:
                raise Conflict(error.reason) from error
            if name.endswith("/log") and error.status == 400:
                return None  # the container has not started
            raise self._refused(method, kind, error.reason, error.status) from error
        except Busy as error:
            raise self._unreachable(error.reason) from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._unreachable(network_reason(error)) from error

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(
            ExitCode.ENVIRONMENT,
            f"The Kubernetes API at {self._server} does not answer: {reason.rstrip('.')}.",
            f"Check that the cluster is running and that {self._source} names it, then run this again.",
        )

    def _refused(self, method: str, kind: str, reason: str, status: int | None = None) -> BoxcarError:
        verb = {"GET": "read", "POST": "create", "PUT": "change", "DELETE": "delete"}[method]
        do = {
            401: f"Renew the credentials in {self._source}.",
            403: f"Ask the operator to grant it in the namespace {self.namespace}. The chart's boxcar-launcher role has it.",
        }.get(status or 0, "Change the settings that the message names.")
        what = f"The Kubernetes API refuses to {verb} {kind} in the namespace {self.namespace}: {reason.rstrip('.')}."
        return BoxcarError(ExitCode.ENVIRONMENT, what, do)


def open_api(namespace: str | None) -> Api:
    """The cluster that KUBECONFIG names, else the one that we are a pod of, else that of ~/.kube/config.

    Args:
        namespace: of all objects; None for the pod's own, or that of the kubeconfig's context.

    Raises:
        BoxcarError: 69 if no cluster is named, or the file that names it cannot be read.
    """
    import yaml
    from kubernetes import client, config

    settings = client.Configuration()
    named = os.environ.get("KUBECONFIG")
    is_pod = not named and "KUBERNETES_SERVICE_HOST" in os.environ and OWN.is_dir()
    source = "the pod's service account" if is_pod else f"KUBECONFIG ({named})" if named else "~/.kube/config"
    try:
        if is_pod:
            config.load_incluster_config(client_configuration=settings)
            found = (OWN / "namespace").read_text().strip()
        else:
            file = named or "~/.kube/config"
            config.load_kube_config(file, client_configuration=settings)
            found = config.list_kube_config_contexts(file)[1]["context"].get("namespace") or "default"
    except (config.ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"No Kubernetes cluster was found: {source}: {reason}.",
            "Set KUBECONFIG to the file of the cluster. Check it with `kubectl get pods`.",
        ) from error
    return Api(client.ApiClient(settings), namespace or found, source)


class _Refused(Exception):
    """The server refuses the request."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason or f"status {status}"


def _message(body: bytes) -> str:
    """The server's error message; empty if the answer is not its own JSON."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, TypeError, KeyError):
        return ""


def _lines(data: bytes) -> list[str]:
    return data.decode(errors="replace").splitlines()
