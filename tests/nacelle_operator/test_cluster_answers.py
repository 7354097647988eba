"""The door's errors where no API server answers as one does: all of a type, so that each is met."""

import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
from certificates import make_certificate
from pod_server import PodServer, pod_server, says

from nacelle_operator.cluster import Answered, connect
from nacelle_operator.errors import Throttled, Unavailable
from nacelle_operator.kinds import JOB, LEASE

IN_CLUSTER = "kubernetes.config.incluster_config"
KUBECONFIG = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"


def kubeconfig_of(server: PodServer, folder: Path) -> str:
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, users: [], contexts: [{name: c, "
        f"context: {{cluster: c}}}}], clusters: [{{name: c, cluster: {{server: "
        f"'http://127.0.0.1:{server.port}'}}}}]}}"
    )
    return str(kubeconfig)


@pytest.mark.parametrize(
    ("said", "seconds"), [("1", 1.0), ("86400", 60.0), ("Mon, 30 Nov 2026 00:00:00 GMT", 0.0)]
)
def test_however_long_it_is_to_wait_it_asks_again_within_a_minute(
    said: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(request: BaseHTTPRequestHandler) -> None:
        request.send_response(429)
        request.send_header("Retry-After", said)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with pod_server(busy) as server:
        monkeypatch.setattr(KUBECONFIG, kubeconfig_of(server, tmp_path))
        with pytest.raises(Throttled) as info:
            connect(lambda: True).get(JOB, "ns", "j")
    assert info.value.after == seconds


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"\xff"])
def test_an_answer_that_is_no_json_is_none(
    body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the page of a proxy in between."""
    with pod_server(says(body)) as server:
        monkeypatch.setattr(KUBECONFIG, kubeconfig_of(server, tmp_path))
        with pytest.raises(
            Unavailable, match=r"GET /apis/batch/v1/namespaces/ns/jobs/j: no JSON: "
        ):
            connect(lambda: True).get(JOB, "ns", "j")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_token_that_cannot_be_read_now_is_met_as_no_answer_is(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read anew every minute, by whoever calls then."""
    now, token, told = [datetime.datetime(2026, 1, 1)], tmp_path / "token", list[Answered]()
    token.write_text("t")
    clock = SimpleNamespace(now=lambda: now[0])
    library = SimpleNamespace(datetime=clock, timedelta=datetime.timedelta)
    monkeypatch.setattr(f"{IN_CLUSTER}.datetime", library)
    monkeypatch.setattr(f"{IN_CLUSTER}.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(f"{IN_CLUSTER}.SERVICE_CERT_FILENAME", str(make_certificate(tmp_path)))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    cluster = connect(lambda: True, told.append)
    token.write_text("") if is_there else token.unlink()
    now[0] += datetime.timedelta(minutes=2)
    with pytest.raises(Unavailable, match=r"GET .*/leases/l: .*(No such file|empty)"):
        cluster.get(LEASE, "ns", "l", timeout=1.0)
    assert told == [Answered("GET", "leases", "none")]
