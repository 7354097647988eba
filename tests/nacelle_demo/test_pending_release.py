"""A release that helm left pending: waited for while helm may be at work, then forgotten."""

from types import SimpleNamespace
from typing import Any

import pytest

from nacelle_demo import stack
from nacelle_demo.stack import PENDING, Stack


class Cluster:
    """Secrets that are pending for the first looks; what is done, in order."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.done: list[str] = []

    def items(self, kind: str, namespace: str, selector: str) -> list[dict[str, Any]]:
        assert (kind, namespace, selector) == ("secret", "nacelle-system", PENDING)
        self.looks -= 1
        return [{}] if self.looks >= 0 else []

    def run(self, *words: str) -> str:
        assert words == ("-n", "nacelle-system", "delete", "secret", "-l", PENDING)
        self.done.append("deleted")
        return ""


def installed(cluster: Any) -> list[str]:
    helm: Any = SimpleNamespace(run=lambda verb, *_, **__: cluster.done.append(verb))
    unused: Any = None
    images = dict.fromkeys(("operator", "builder", "runtime"), "r/image:1")
    Stack(unused, cluster, helm, unused, images).install_operator()
    done: list[str] = cluster.done
    return done


@pytest.mark.parametrize("looks", [0, 1])
def test_helm_at_work_is_waited_for(looks: int) -> None:
    assert installed(Cluster(looks)) == ["upgrade"]


def test_what_a_killed_helm_left_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "INSTALL_SECONDS", 0)
    assert installed(Cluster(looks=10**6)) == ["deleted", "upgrade"]
