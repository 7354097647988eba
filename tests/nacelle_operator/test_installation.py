"""What `helm test` runs: the operator's own health server, and a real API server's kinds."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nacelle_operator.cluster import connect
from nacelle_operator.errors import NotFound
from nacelle_operator.health import HealthServer
from nacelle_operator.installation import definitions_problem, main, operator_problem
from nacelle_operator.metrics import Metrics

LOCATION = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[], bool]], str]]:
    """Starts the operator's health server, ready when told; gives its address."""
    started: list[HealthServer] = []

    def start(ready: Callable[[], bool]) -> str:
        started.append(HealthServer(0, lambda: True, ready, Metrics().registry))
        started[-1].start()
        return f"http://127.0.0.1:{started[-1].port}"

    yield start
    for server in started:
        server.close()


def test_a_ready_operator_has_no_problem(serve: Callable[[Callable[[], bool]], str]) -> None:
    assert operator_problem(serve(lambda: True)) == ""


def test_an_operator_that_is_not_ready_in_time(
    serve: Callable[[Callable[[], bool]], str],
) -> None:
    url = serve(lambda: False)
    assert operator_problem(url, 0.0) == f"{url}/readyz: 503: not yet"


def test_an_operator_is_given_time(serve: Callable[[Callable[[], bool]], str]) -> None:
    asked: list[float] = []
    assert operator_problem(serve(lambda: len(asked) == 2), sleep=asked.append) == ""
    assert asked == [1.0, 1.0]


def test_nobody_at_the_address() -> None:
    assert operator_problem("http://127.0.0.1:9", 0.0) == (
        "http://127.0.0.1:9/readyz: <urlopen error [Errno 111] Connection refused>"
    )


def test_it_takes_one_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "usage: python -m nacelle_operator.installation URL\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_the_kinds_of_a_real_api_server(
    control_plane: Any,
    serve: Callable[[Callable[[], bool]], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(LOCATION, str(control_plane.kubeconfig))
    cluster = connect(lambda: False)
    assert definitions_problem(cluster) == ""
    with pytest.raises(NotFound):
        cluster.served("nacelle.dev/v9")
    url = serve(lambda: True)
    assert main([url]) == 0
    assert capsys.readouterr().out == (
        f"the operator at {url} is ready, and nacelle.dev/v1alpha1 serves "
        "enginebuilds, engines, inferencedeployments\n"
    )


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_no_api_server(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setattr(LOCATION, str(tmp_path / "kubeconfig"))
    said = definitions_problem(connect(lambda: False))
    assert said.startswith("the API server does not tell what it serves: GET /apis/nacelle.dev/")
