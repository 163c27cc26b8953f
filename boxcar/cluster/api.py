"""Requests to the Kubernetes API server. Objects are plain dictionaries, as in YAML."""

import json
import os
from collections.abc import Callable, Iterable
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
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0


def container_statuses(pod: Object) -> list[Object]:
    """Of all containers of a pod, in the order in which they start."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


class Conflict(Exception):
    """An object of that name already exists, or has changed since it was read."""


class ObjectList(list[Object]):
    """Objects that were found together.

    Args:
        objects: that were found.
        version: of the namespace's state when they were found, for `Api.changes`.
    """

    def __init__(self, objects: Iterable[Object] = (), version: str = "") -> None:
        super().__init__(objects)
        self.version = version


class Api:
    """The objects of one namespace.

    Transient errors are retried. If that does not help, methods raise Unreachable (69); if the server refuses, BoxcarError 69.

    Args:
        server: its address.
        namespace: of all objects.
        source: the configuration that names the server, for messages.
        pool: a `urllib3.PoolManager`.
        authorize: adds a token to the headers of a request.
    """

    def __init__(
        self, server: str, namespace: str, source: str, pool: Any, authorize: Callable[[dict[str, str]], None]
    ) -> None:
        self.namespace = namespace
        self._server, self._source, self._pool, self._authorize = server, source, pool, authorize
        self._retry = Retry(transient_http_reason)

    def get(self, kind: str, name: str, *, retry: bool = True) -> Object | None:
        """The object; None if there is none."""
        found: Object | None = self._ask("GET", kind, name, retry=retry)
        return found

    def find(self, kind: str, **selectors: str) -> ObjectList:
        """All objects of a kind that the selectors (`labelSelector`, `fieldSelector`) name."""
        answer = self._ask("GET", kind, query=selectors)
        return (
            ObjectList()
            if answer is None
            else ObjectList(answer["items"], answer.get("metadata", {}).get("resourceVersion", ""))
        )

    def changes(self, kind: str, since: str, **selectors: str) -> list[Object]:
        """Every state that objects have had since a `ObjectList`, oldest first; a deleted object's last one is how it ended.

        The answer takes a second. It is empty if the server no longer remembers that version, or does not permit watching.
        """
        query = {"watch": "1", "resourceVersion": since, "timeoutSeconds": "1", **selectors}
        try:
            events = self._ask("GET", kind, query=query, read=_events)
        except Unreachable:
            raise
        except BoxcarError:
            return []
        return [event["object"] for event in events or [] if event["type"] in ("ADDED", "MODIFIED", "DELETED")]

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
            lines = self._ask("GET", "pods", f"{pod}/log", query=query, read=_lines, retry=False)
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
        retry: bool = True,
    ) -> Any:
        import urllib3

        path = f"{_PATHS[kind]}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

        def ask() -> Any:
            headers = {"Accept": "application/json"}
            self._authorize(headers)
            response = self._pool.request(
                method,
                f"{self._server}{path}" + (f"?{urlencode(query)}" if query else ""),
                json=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
                retries=False,  # `self._retry` does them
            )
            if response.status in _TRANSIENT:
                raise Busy(response.status, _message(response.data))
            if response.status >= 300:
                raise _Refused(response.status, _message(response.data))
            return read(response.data)

        try:
            return self._retry(ask) if retry else ask()
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
        what = f"The Kubernetes API at {self._server} does not answer: {reason.rstrip('.')}."
        do = f"Check that the cluster is running and that {self._source} names it, then run this again."
        return Unreachable(ExitCode.ENVIRONMENT, what, do)

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
    named = os.environ.get("KUBECONFIG")
    if not named and "KUBERNETES_SERVICE_HOST" in os.environ and OWN.is_dir():
        return open_pod_api(namespace)
    import yaml
    from kubernetes import client, config

    settings = client.Configuration()
    source = f"KUBECONFIG ({named})" if named else "~/.kube/config"
    file = named or "~/.kube/config"
    try:
        config.load_kube_config(file, client_configuration=settings)
        context = config.list_kube_config_contexts(file)[1]["context"]
        namespace = namespace or context.get("namespace") or "default"
    except (config.ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise _not_found(source, error) from error
    own = client.ApiClient(settings)

    def authorize(headers: dict[str, str]) -> None:
        own.update_params_for_auth(headers, [], ["BearerToken"])  # renews a token that is about to expire

    return Api(str(settings.host), namespace, source, own.rest_client.pool_manager, authorize)


def open_pod_api(namespace: str | None = None) -> Api:
    """The cluster that we are a pod of, without the Kubernetes client, which takes more memory than the rest of the uploader.

    Raises:
        BoxcarError: 69 if this is not a pod with a service account.
    """
    import urllib3

    source = "the pod's service account"
    try:
        namespace = namespace or (OWN / "namespace").read_text().strip()
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    except (OSError, KeyError) as error:
        raise _not_found(source, error) from error

    def authorize(headers: dict[str, str]) -> None:
        headers["Authorization"] = f"Bearer {(OWN / 'token').read_text().strip()}"  # changes every hour

    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Api(server, namespace, source, urllib3.PoolManager(ca_certs=str(OWN / "ca.crt")), authorize)


def _not_found(source: str, error: Exception) -> BoxcarError:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    what = f"No Kubernetes cluster was found: {source}: {reason}."
    do = "Set KUBECONFIG to the file of the cluster. Check it with `kubectl get pods`."
    return BoxcarError(ExitCode.ENVIRONMENT, what, do)


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


def _events(data: bytes) -> list[Object]:
    return [json.loads(line) for line in data.splitlines() if line.strip()]


def _lines(data: bytes) -> list[str]:
    return data.decode(errors="replace").splitlines()
