"""The benchmark's own way to an API server: KUBECONFIG, plain calls, and watches of metadata.

Not the operator's: what is measured must not be what measures.
"""

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

from nacelle_engine.errors import InvalidRequest, TemporaryError

Manifest = dict[str, Any]
FIELD_MANAGER = "nacelle-bench"
_METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1"
_TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
_SECONDS = 60.0
_PAGE = 500


class Api:
    """Calls of the API server that a kubeconfig's current context names."""

    def __init__(self, kubeconfig: Path) -> None:
        cluster, user = _current(kubeconfig)
        self._server = str(cluster["server"]).rstrip("/")
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._pool = urllib3.PoolManager(maxsize=16, ssl_context=_context(cluster, user))

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        accept: str = "application/json",
    ) -> Manifest:
        """One call; TemporaryError with the server's words where it is not answered well."""
        headers = {**self._headers, "Content-Type": kind, "Accept": accept}
        try:
            answer = self._pool.request(
                method,
                f"{self._server}{path}",
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=_SECONDS,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise TemporaryError(f"{method} {path}: {error}") from error
        if answer.status >= 400:
            said = answer.data.decode(errors="replace")[:500]
            raise TemporaryError(f"{method} {path}: {answer.status}: {said}")
        found: Manifest = json.loads(answer.data)
        return found

    def apply(self, path: str, manifest: Manifest) -> Manifest:
        """Server-side apply of an object at its own path."""
        query = urlencode({"fieldManager": FIELD_MANAGER, "force": "true"})
        return self.call("PATCH", f"{path}?{query}", manifest, "application/apply-patch+yaml")

    def metadata(self, path: str, selector: str = "") -> list[Manifest]:
        """The metadata of all objects of a collection that carry the labels."""
        found: list[Manifest] = []
        query = {"limit": str(_PAGE), "labelSelector": selector}
        while True:
            accept = _METADATA.format(list="List")
            page = self.call("GET", f"{path}?{urlencode(query)}", accept=accept)
            found += [item["metadata"] for item in page["items"] or ()]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return found

    def column(self, path: str, column: str) -> list[str]:
        """One column of what `kubectl get` prints of a collection."""
        table = self.call("GET", f"{path}?includeObject=None", accept=_TABLE)
        names = [definition["name"] for definition in table["columnDefinitions"]]
        index = names.index(column)
        return [str(row["cells"][index]) for row in table.get("rows") or ()]

    def names_seen(self, path: str, selector: str) -> Iterator[Manifest]:
        """The metadata of objects as they come to be seen, from now on; ends with the server."""
        query = {"watch": "1", "labelSelector": selector, "timeoutSeconds": "3600"}
        answer = self._pool.request(
            "GET",
            f"{self._server}{path}?{urlencode(query)}",
            headers={**self._headers, "Accept": _METADATA.format(list="")},
            timeout=urllib3.Timeout(connect=10, read=3600),
            retries=False,
            preload_content=False,
        )
        if answer.status >= 400:
            raise TemporaryError(f"watch of {path}: {answer.status}: {answer.data[:500]!r}")
        decoder, text = json.JSONDecoder(), ""
        try:
            while piece := answer.read1(1 << 16):
                text += piece.decode()
                while text:
                    # Events follow each other, also over several lines each.
                    try:
                        event, end = decoder.raw_decode(text)
                    except ValueError:
                        break
                    text = text[end:].lstrip()
                    yield event["object"]["metadata"]
        except (urllib3.exceptions.HTTPError, OSError):
            return
        finally:
            answer.close()


def _current(kubeconfig: Path) -> tuple[Manifest, Manifest]:
    try:
        config = yaml.safe_load(kubeconfig.read_text())
        by_name = {
            kind: {entry["name"]: entry[kind] for entry in config[f"{kind}s"]}
            for kind in ("cluster", "user", "context")
        }
        context = by_name["context"][config["current-context"]]
        return by_name["cluster"][context["cluster"]], by_name["user"][context["user"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f"{kubeconfig} is no kubeconfig that can be read: {error!r}"
        ) from error


def _context(cluster: Manifest, user: Manifest) -> ssl.SSLContext:
    authority = _text(cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority)
    if cluster.get("insecure-skip-tls-verify"):
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _text(user, "client-certificate"), _text(user, "client-key")
    if certificate and key:
        # ssl takes a chain from a file alone.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(certificate + "\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _text(entry: Manifest, field: str) -> str | None:
    """A field that holds a file's name, or with -data its content in base64."""
    if data := entry.get(f"{field}-data"):
        return base64.b64decode(data).decode()
    return Path(entry[field]).read_text() if entry.get(field) else None
