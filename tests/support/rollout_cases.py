"""Rollouts that tests are made of: a world where one has begun, and what is seen of it."""

from collections.abc import Callable
from typing import Any

from rollout_world import NAMES, RolloutWorld, serving, wants
from serving_cases import deployment

from nacelle_operator.conditions import find

OLD, NEW, NEWEST = NAMES
BLUE_GREEN = {"strategy": "BlueGreen"}
STEPS = [{"weightPercent": 25, "pause": "30s"}, {"weightPercent": 50}]
CANARY = {"strategy": "Canary", "canary": {"steps": STEPS}}
ROUTED = {
    "strategy": "Canary",
    "canary": {"steps": STEPS, "route": {"parentRefs": [{"name": "gate"}]}},
}
CRASH = "ended 2 times, the last time with exit code 1 (Error)"


def world(strategy: Any, replicas: int = 4, **fields: Any) -> RolloutWorld:
    """The first engine, served, and the second one just asked for."""
    first = deployment(engine={"engineRef": {"name": OLD}}, replicas=replicas, rollout=strategy)
    made = serving(first, **fields)
    wants(made, 1)
    return made


def told(made: RolloutWorld, type_: str = "Ready") -> tuple[str, str, str]:
    found = find(made.resource.status.conditions, type_)
    assert found is not None
    return found.status, found.reason, found.message


def until(made: RolloutWorld, holds: Callable[[], bool], rounds: int = 60) -> None:
    for _ in range(rounds):
        made.round()
        if holds():
            return
    raise AssertionError(made.resource.status)


def until_told(made: RolloutWorld, *wanted: str) -> None:
    until(made, lambda: told(made)[1] in wanted)


def behind(made: RolloutWorld) -> dict[str, int]:
    """The pods that get requests, by engine."""
    found = [pod.engine for pod in made.selected()]
    return {engine: found.count(engine) for engine in sorted(set(found))}


def sizes(made: RolloutWorld) -> dict[str, int]:
    return {
        name: m["spec"]["replicas"]
        for (kind, name), m in made.objects.items()
        if kind == "Deployment"
    }


def failed(reason: str, why: str) -> tuple[str, str, str]:
    return (
        "False",
        reason,
        f"revision 2 with Engine {NEW} failed, and revision 1 with Engine {OLD} serves on; change "
        f"the spec or the engine, and it is tried again: {why}",
    )
