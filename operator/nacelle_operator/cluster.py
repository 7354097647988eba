"""The only door to the API server: typed errors, time-outs, and writes only as the leader."""

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.api_client import RequestSerialized

from nacelle_operator.errors import (
    Conflict,
    NamespaceEnds,
    NotConfigured,
    NotFound,
    NotLeader,
    OperatorError,
    Refused,
    Throttled,
    Unavailable,
)
from nacelle_operator.kinds import LEASE, POD, Kind, kind_of

Manifest = dict[str, Any]
FIELD_MANAGER = "nacelle-operator"
WRITE_SECONDS = 3.5
READ_SECONDS = 10.0
LIST_SECONDS = 60.0
# A write's own time-out comes first.
_LAST_WRITES_SECONDS = WRITE_SECONDS + 1.0
_PAGE = 250
# However long a proxy in front of the API server asks for: nothing of a resource is written then.
_LONGEST_PAUSE = 60.0
# The cause, by its name in k8s.io/api/core/v1, that a refusal of something new then has.
_NAMESPACE_ENDS = b'"NamespaceTerminating"'
# The last two: also of a token's file that cannot be read now, or is empty.
_NO_ANSWER = (urllib3.exceptions.HTTPError, client.ApiException, OSError, config.ConfigException)


class Request(NamedTuple):
    """One call of the API: method, path, query, body and the body's content type."""

    method: str
    path: str
    query: Mapping[str, str | int] = {}
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"

    @property
    def resource(self) -> str:
        """The plural name that the path holds: below its namespace, or else below its group."""
        parts = self.path.strip("/").split("/")
        prefix = 2 if parts[0] == "api" else 3
        below = parts[prefix + 2 :] if parts[prefix : prefix + 1] == ["namespaces"] else []
        return (below or parts[prefix:] or ["-"])[0]


class Listing(NamedTuple):
    """The objects of a live list and the resource version it was made at."""

    items: list[Manifest]
    version: int


class Answered(NamedTuple):
    """A call that is over: its method, the resource by its plural, and how it was answered.

    `code` is the HTTP status, or "none" when there was no answer in time.
    """

    method: str
    resource: str
    code: str


class Cluster:
    """Calls of the API server; every one blocks, so run it in a thread."""

    def __init__(
        self,
        api: client.ApiClient,
        may_write: Callable[[], bool],
        told: Callable[[Answered], None] = lambda _: None,
    ) -> None:
        self._api = api
        self._may_write = may_write
        self._told = told
        self._writes = threading.Condition()
        self._under_way = 0
        self._ended = False

    def get(self, kind: Kind, namespace: str, name: str, timeout: float = READ_SECONDS) -> Manifest:
        """One object, live; NotFound when there is none."""
        return self._json(Request("GET", kind.path(namespace, name)), timeout)

    def list(
        self,
        kind: Kind,
        namespace: str | None,
        selector: str = "",
        timeout: float = LIST_SECONDS,
        keep: Callable[[Kind, Manifest], Manifest] = lambda _, manifest: manifest,
    ) -> Listing:
        """All objects of a kind that carry the labels, a page at a time; of each what `keep` gives.

        So that of thousands of objects only a page at a time is there in full.
        """
        items: list[Manifest] = []
        query: dict[str, str | int] = {"limit": _PAGE}
        if selector:
            query["labelSelector"] = selector
        while True:
            page = self._json(Request("GET", kind.path(namespace), query), timeout)
            items += (keep(kind, item) for item in page["items"])
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return Listing(items, int(page["metadata"]["resourceVersion"]))

    def served(self, api_version: str) -> frozenset[str]:
        """The plural names that the API server serves of a group and version; none: NotFound."""
        answer = self._json(Request("GET", f"/apis/{api_version}"), READ_SECONDS)
        return frozenset(resource["name"] for resource in answer["resources"])

    def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply: our fields become exactly these, whoever set them before."""
        return self._apply(manifest, None)

    def apply_status(self, manifest: Manifest) -> Manifest:
        """Server-side apply of `status`; a uid in the metadata keeps it off a namesake."""
        return self._apply(manifest, "status")

    def create(self, manifest: Manifest) -> Manifest:
        """Create an object; Conflict when its name is taken."""
        meta = manifest["metadata"]
        path = kind_of(manifest).path(meta["namespace"])
        return self._write(Request("POST", path, {"fieldManager": FIELD_MANAGER}, manifest))

    def write_lease(self, lease: Manifest, timeout: float) -> Manifest:
        """Create a lease, or replace it at its resource version; needs no leadership: it gives it.

        Conflict when somebody was faster.
        """
        meta = lease["metadata"]
        if "resourceVersion" in meta:
            request = Request("PUT", LEASE.path(meta["namespace"], meta["name"]), {}, lease)
        else:
            request = Request("POST", LEASE.path(meta["namespace"]), {}, lease)
        return self._json(request, timeout)

    def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Merge a few fields into an object that is otherwise left alone."""
        query = {"fieldManager": FIELD_MANAGER}
        path = kind.path(namespace, name)
        return self._write(Request("PATCH", path, query, patch, "application/merge-patch+json"))

    def delete(self, manifest: Manifest) -> None:
        """Delete this very object and, in the background, what it owns; gone already is well."""
        meta = manifest["metadata"]
        options = {"propagationPolicy": "Background", "preconditions": {"uid": meta["uid"]}}
        path = kind_of(manifest).path(meta["namespace"], meta["name"])
        try:
            self._write(Request("DELETE", path, {}, options))
        except NotFound:
            return

    def log_tail(
        self, namespace: str, pod: str, container: str, *, lines: int = 20, limit: int = 16_384
    ) -> str:
        """The last lines of a container's log, cut at `limit` bytes."""
        query: dict[str, str | int] = {
            "container": container,
            "tailLines": lines,
            "limitBytes": limit,
        }
        answer = self._call(Request("GET", POD.path(namespace, pod, "log"), query), 3.0)
        return answer.decode(errors="replace")

    def _apply(self, manifest: Manifest, sub: str | None) -> Manifest:
        meta = manifest["metadata"]
        path = kind_of(manifest).path(meta["namespace"], meta["name"], sub)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self._write(Request("PATCH", path, query, manifest, "application/apply-patch+yaml"))

    def end_writes(self) -> None:
        """Send no more writes, and wait until those that are under way are over: some seconds."""
        with self._writes:
            self._ended = True
            self._writes.wait_for(lambda: not self._under_way, _LAST_WRITES_SECONDS)

    def _write(self, request: Request) -> Manifest:
        with self._writes:
            if self._ended or not self._may_write():
                why = "this process ends" if self._ended else "another process leads"
                raise NotLeader(f"{request.method} {request.path} is not sent: {why}")
            self._under_way += 1
        try:
            return self._json(request, WRITE_SECONDS)
        finally:
            with self._writes:
                self._under_way -= 1
                self._writes.notify_all()

    def _json(self, request: Request, timeout: float) -> Manifest:
        body = self._call(request, timeout)
        try:
            answer: Manifest = json.loads(body)
        except ValueError as error:
            # A proxy's own page, say.
            raise Unavailable(f"{request.method} {request.path}: no JSON: {error}") from error
        return answer

    def _call(self, request: Request, timeout: float) -> bytes:
        code = "none"
        try:
            answer = self._api.call_api(*self._serialized(request), _request_timeout=timeout)
            body: bytes = answer.read()  # type: ignore[no-untyped-call]
            code = str(answer.status)
        except _NO_ANSWER as error:
            raise Unavailable(f"{request.method} {request.path}: {error}") from error
        finally:
            self._told(Answered(request.method, request.resource, code))
        if answer.status >= 400:
            raise _error(request, answer.status, body, dict(answer.headers))
        return body

    def _serialized(self, request: Request) -> RequestSerialized:
        """The call with the token, which is read from its file anew every minute."""
        return self._api.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query.items()),
            header_params={"Accept": "application/json", "Content-Type": request.content_type},
            body=request.body,
            auth_settings=["BearerToken"],
        )


def connect(
    may_write: Callable[[], bool], told: Callable[[Answered], None] = lambda _: None
) -> Cluster:
    """A door made from the pod's service account, or else from KUBECONFIG; `told` of its calls."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(  # type: ignore[no-untyped-call]
            client_configuration=configuration
        )
    except config.ConfigException:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            client_configuration=configuration
        )
    return _door(configuration, may_write, told)


def read_only() -> tuple[Cluster, str]:
    """A door for a person, made from KUBECONFIG, which writes nothing; and the context's namespace.

    NotConfigured when there is no kubeconfig, or none that can be read.
    """
    configuration = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            client_configuration=configuration
        )
        _, context = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
    except (config.ConfigException, yaml.YAMLError, OSError) as error:
        raise NotConfigured(" ".join(str(error).split())) from error
    namespace: str = context["context"].get("namespace") or "default"
    return _door(configuration, lambda: False), namespace


def _door(
    configuration: client.Configuration,
    may_write: Callable[[], bool],
    told: Callable[[Answered], None] = lambda _: None,
) -> Cluster:
    configuration.retries = False  # the queue retries, with its own backoff
    configuration.connection_pool_maxsize = 32
    return Cluster(client.ApiClient(configuration), may_write, told)


def _error(request: Request, status: int, body: bytes, headers: Mapping[str, str]) -> OperatorError:
    try:
        reason = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        reason = body.decode(errors="replace")[:500]
    text = f"{request.method} {request.path}: {status}: {reason}"
    if status == 404:
        return NotFound(text)
    if status == 403 and _NAMESPACE_ENDS in body:
        return NamespaceEnds(text)
    if status == 409:
        return Conflict(text)
    if status == 429:
        after = headers.get("Retry-After", "")
        return Throttled(text, min(float(after), _LONGEST_PAUSE) if after.isdecimal() else 0.0)
    return Unavailable(text) if status >= 500 else Refused(text)
