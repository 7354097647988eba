"""Pushing an OCI layout straight to a registry over its HTTP API (OCI distribution 1.1)."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlencode, urlsplit

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.images import Layout

SECONDS = 120
BLOCK = 1 << 20


@dataclass(frozen=True)
class _Call:
    """One HTTP request and the status codes that mean success."""

    method: str
    path: str
    expect: frozenset[int]
    body: bytes | IO[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Registry:
    """A registry as `host[:port][/prefix]`; pushes only where no credentials are asked for."""

    name: str
    plain_http: bool

    def reference(self, repository: str, tag: str) -> str:
        """The full name of an image, the same for pushing and for pods."""
        return f"{self.name}/{repository}:{tag}"

    def push(self, layout: Layout, repository: str, tag: str) -> str:
        """Uploads what the registry lacks of an image; its full name."""
        host, _, prefix = self.name.partition("/")
        base = "/".join(filter(None, ["/v2", prefix, repository]))
        manifest = layout.manifest
        kind = http.client.HTTPConnection if self.plain_http else http.client.HTTPSConnection
        connection = kind(host, timeout=SECONDS, blocksize=BLOCK)
        try:
            for blob in (manifest["config"], *manifest["layers"]):
                self._push_blob(connection, base, blob["digest"], layout.blob(blob["digest"]))
            path = f"{base}/manifests/{tag}"
            body = layout.blob(layout.manifest_digest).read_bytes()
            headers = {"Content-Type": manifest["mediaType"]}
            self._send(connection, _Call("PUT", path, frozenset({201}), body, headers))
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError(f"registry {self.name}: {error!r}") from error
        finally:
            connection.close()
        return self.reference(repository, tag)

    def _push_blob(
        self, connection: http.client.HTTPConnection, base: str, digest: str, file: Path
    ) -> None:
        """Uploads one blob in one request, unless the registry has it."""
        query = _Call("HEAD", f"{base}/blobs/{digest}", frozenset({200, 404}))
        if self._send(connection, query).status == 200:
            return
        begin = _Call("POST", f"{base}/blobs/uploads/", frozenset({202}), b"")
        place = urlsplit(self._send(connection, begin).headers["Location"])
        query_string = "&".join(filter(None, [place.query, urlencode({"digest": digest})]))
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(file.stat().st_size),
        }
        with file.open("rb") as stream:
            path = f"{place.path}?{query_string}"
            self._send(connection, _Call("PUT", path, frozenset({201}), stream, headers))

    def _send(
        self, connection: http.client.HTTPConnection, call: _Call
    ) -> http.client.HTTPResponse:
        """The registry's answer, already read; ClusterError when it is not an expected one."""
        connection.request(call.method, call.path, call.body, dict(call.headers))
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status not in call.expect:
            hint = ": it asks for credentials, push with buildah" if answer.status == 401 else ""
            raise ClusterError(
                f"registry {self.name}: {call.method} {call.path}: "
                f"{answer.status} {answer.reason}{hint} {text[:300]}".rstrip()
            )
        return answer
