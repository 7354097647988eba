"""Models are loaded where an earlier run of the demo has loaded them, or failed to."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nacelle_demo.errors import DemoError
from nacelle_demo.stack import Stack


class Cluster:
    """Jobs as an API server keeps them; what is started ends with `outcome`."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.outcome = "Complete"
        self.started = 0

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        assert (kind, namespace) == ("job", "team")
        return self.jobs.get(name)

    def apply(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        before = self.jobs.get(name)
        if before is None:
            self.started += 1
            self.jobs[name] = job | {"status": {"conditions": [{"type": self.outcome}]}}
        elif before["spec"]["template"] != job["spec"]["template"]:
            raise DemoError(f'The Job "{name}" is invalid: spec.template: field is immutable')

    def run(self, *words: str, deadline: float | None = None) -> str:
        match words:
            case ("-n", "team", "delete", "job", name, *_):
                del self.jobs[name]
                return ""
            case ("-n", "team", "logs", *_):
                return "no space left"
        raise AssertionError(words)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def load(cluster: Any, builder: str = "r/builder:1", model: str = "r/model:1") -> None:
    publisher: Any = SimpleNamespace(publish_model=lambda folder, name: model)
    unused: Any = None
    stack = Stack(unused, cluster, unused, publisher, {"builder": builder})
    stack.load_models("team", {"smollm2": Path("/models/smollm2")})


def test_what_was_loaded_with_these_images_is_not_loaded_again(cluster: Cluster) -> None:
    load(cluster)
    load(cluster)
    assert cluster.started == 1


@pytest.mark.parametrize("changed", [{"builder": "r/builder:2"}, {"model": "r/model:2"}])
def test_other_images_load_anew(cluster: Cluster, changed: dict[str, str]) -> None:
    load(cluster)
    load(cluster, **changed)
    assert cluster.started == 2


def test_a_load_that_failed_is_tried_again_by_the_next_run(cluster: Cluster) -> None:
    cluster.outcome = "Failed"
    with pytest.raises(DemoError, match="job load-smollm2 failed: no space left"):
        load(cluster)
    cluster.outcome = "Complete"
    load(cluster)
    assert cluster.started == 2
