"""Asking an API server, by the certificates of a kubeconfig and the standard library alone."""

import base64
import contextlib
import http.client
import json
import ssl
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from nacelle_cluster.errors import ClusterError


class ApiServer:
    """Reads from the API server that one of our own kubeconfigs names."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        self._server = document["clusters"][0]["cluster"]["server"]
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_context(document))
        )

    def text(self, path: str, seconds: float = 5) -> str:
        """The body of a GET."""
        try:
            with self._opener.open(self._server + path, timeout=seconds) as answer:
                body: bytes = answer.read()
                return body.decode()
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError(f"GET {self._server}{path}: {error!r}") from error

    def get(self, path: str) -> Any:
        """The object at `path`, or None while it cannot be read."""
        try:
            return json.loads(self.text(path))
        except ClusterError:
            return None

    def ready(self) -> bool:
        """Whether the server says that it is ready."""
        with contextlib.suppress(ClusterError):
            return self.text("/readyz", seconds=2) == "ok"
        return False


def _context(kubeconfig: dict[str, Any]) -> ssl.SSLContext:
    authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]
    user = kubeconfig["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    # The ssl module takes a client's pair from files only.
    with tempfile.NamedTemporaryFile() as pair:
        for key in ("client-certificate-data", "client-key-data"):
            pair.write(base64.b64decode(user[key]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return context
