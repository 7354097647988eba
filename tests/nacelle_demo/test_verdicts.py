"""The demo ends at a verdict on what it has applied, not at one on what was there before."""

from types import SimpleNamespace
from typing import Any

import pytest

from nacelle_demo.build_progress import follow_build
from nacelle_demo.errors import DemoError
from nacelle_demo.story import _await_deployment


def seen(kind: str, generation: int) -> dict[str, Any]:
    """A resource in its second generation, with a verdict on one of the two."""
    verdict = {"type": kind, "status": "True", "reason": "Refused", "message": "too coarse"}
    return {
        "metadata": {"name": "smollm2", "namespace": "team", "generation": 2},
        "spec": {"targets": []},
        "status": {"conditions": [verdict | {"observedGeneration": generation}]},
    }


def cluster(*looks: dict[str, Any]) -> Any:
    left = iter(looks)
    return SimpleNamespace(get=lambda *_: next(left))


STALE, STALLED, READY = seen("Stalled", 1), seen("Stalled", 2), seen("Ready", 2)


def test_a_build_that_was_edited_after_it_failed_is_waited_for() -> None:
    """Its operator has not looked at it yet."""
    assert follow_build(cluster(STALE, READY), "smollm2", "team", deadline=30) == READY


def test_a_build_that_failed_as_it_is_ends_the_demo() -> None:
    with pytest.raises(DemoError, match="the build failed"):
        follow_build(cluster(STALLED), "smollm2", "team", deadline=30)


def test_a_deployment_that_was_edited_after_it_stalled_is_waited_for() -> None:
    _await_deployment(SimpleNamespace(kubectl=cluster(STALE, READY)))  # type: ignore[arg-type]


def test_a_deployment_that_stalled_as_it_is_ends_the_demo() -> None:
    with pytest.raises(DemoError, match="the deployment: Refused: too coarse"):
        _await_deployment(SimpleNamespace(kubectl=cluster(STALLED)))  # type: ignore[arg-type]
