"""The command `nacelle status`: how a watch ends, and the errors that it names."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from status_cases import building, failed, published

from nacelle_cli.main import main
from nacelle_cli.status.command import follow
from nacelle_cli.status.errors import ClusterUnavailable, StillUnderWay
from nacelle_cli.status.facts import Snapshot, snapshot

# The client library reads KUBECONFIG into this when it is first imported.
LOCATION = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
AT_WORK = snapshot("ns", [building()], [])
DONE = snapshot("ns", [published()], [])
FAILED = snapshot("ns", [failed()], [])


class Clock:
    """Seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def followed(answers: Iterator[Any], timeout: float = 1000.0) -> tuple[list[Snapshot], Snapshot]:
    told: list[Snapshot] = []
    clock = Clock()

    def read() -> Snapshot:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    end = follow(read, told.append, timeout, clock=clock, sleep=clock.sleep)
    return told, end


@pytest.mark.parametrize("end", [DONE, FAILED])
def test_a_watch_ends_at_rest(end: Snapshot) -> None:
    assert followed(iter([AT_WORK, AT_WORK, end])) == ([AT_WORK, AT_WORK, end], end)


def test_a_watch_has_a_deadline() -> None:
    with pytest.raises(StillUnderWay, match=r"^not done after 5 s; --timeout gives it longer$"):
        followed(iter([AT_WORK] * 100), timeout=5.0)


def test_a_watch_lives_through_a_restart_of_the_api_server() -> None:
    away = [ClusterUnavailable("away")] * 30
    told, _ = followed(iter([AT_WORK, *away, AT_WORK, *away, DONE]))
    assert told == [AT_WORK, AT_WORK, DONE]
    with pytest.raises(ClusterUnavailable):
        followed(iter([AT_WORK, *away, *away, *away]))
    with pytest.raises(ClusterUnavailable):
        followed(iter([*away]))


def kubeconfig(path: Path, server: str, **user: str) -> Path:
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [
                    {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "team"}}
                ],
                "clusters": [
                    {
                        "name": "c",
                        "cluster": {"server": server, "insecure-skip-tls-verify": True},
                    }
                ],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "Invalid kube-config file. No configuration found."),
        ("", "Invalid kube-config. {path} file is empty"),
        ("{}", "Invalid kube-config file. Expected key current-context in {path}"),
        ("a: [", "while parsing a flow node"),
    ],
)
def test_no_cluster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    said: str,
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(LOCATION, str(path))
    assert main(["status"]) == 65
    told = capsys.readouterr().err
    assert told.startswith(f"nacelle status: NoCluster: {said.format(path=path)}")
    assert told.endswith("; let KUBECONFIG name the kubeconfig of the cluster to look at\n")


def test_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:9")
    monkeypatch.setattr(LOCATION, str(path))
    assert main(["status", "b"]) == 75
    told = capsys.readouterr().err
    path_of = "/apis/nacelle.dev/v1alpha1/namespaces/team/enginebuilds"
    assert told.startswith(
        f"nacelle status: ClusterUnavailable: the API server does not answer: GET {path_of}: "
    )
    assert "Connection refused" in told


def test_what_to_install_when_the_client_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("nacelle_cli.status.command", "nacelle_cli.status.read"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "nacelle_operator.cluster")
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    assert main(["status"]) == 1
    assert capsys.readouterr().err == (
        "nacelle status: kubernetes is not installed: pip install 'nacelle[status]'\n"
    )
