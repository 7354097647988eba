"""Rollouts from anywhere: they come to rest, and enough pods answer at every moment."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_edits import EDITS, STRATEGIES, edit
from rollout_world import DEADLINE, NAMES, RolloutWorld, rollout, serving
from serving_cases import deployment

from nacelle_operator.conditions import find, is_true
from nacelle_operator.deployment import reasons

pytestmark = pytest.mark.slow


@settings(max_examples=120, deadline=None)
@given(
    replicas=st.integers(1, 5),
    start=STRATEGIES,
    broken=st.sets(st.sampled_from(NAMES[1:])),
    edits=st.lists(EDITS, min_size=1, max_size=8),
)
def test_enough_pods_answer_all_the_time_and_it_comes_to_rest(
    replicas: int, start: Any, broken: set[str], edits: list[Any]
) -> None:
    first = deployment(engine={"engineRef": {"name": NAMES[0]}}, replicas=replicas)
    world = serving(first, broken=broken)
    rollout(world, **start)
    missing = 0

    def looks(rounds: int) -> None:
        for _ in range(rounds):
            for act in (world.look, world.controllers):
                act()
                answering = len(world.selected())
                assert answering >= replicas - missing, (answering, world.resource.status)

    for what, value in edits:
        edit(world, what, value)
        missing = max(missing, world.resource.spec.rollout.max_unavailable)
        looks(value if what == "rounds" else 2)
    rollout(world, paused=False)
    still, before = 0, seen(world)
    for _ in range(150):
        looks(1)
        now = seen(world)
        still, before = still + 1 if now == before else 0, now
        if still > DEADLINE + 3:
            return is_at_rest(world)
    raise AssertionError(f"no rest: {world.resource.status}")


def seen(world: RolloutWorld) -> Any:
    """What a look may change: the objects' own part, as text, and the status."""
    specs = [(place, m.get("spec"), m["metadata"]) for place, m in sorted(world.objects.items())]
    return json.dumps(specs, sort_keys=True), world.resource.status


def is_at_rest(world: RolloutWorld) -> None:
    """Nothing changes any more, and the condition says the truth about why."""
    rest = world.look()
    status = world.resource.status
    ready = find(status.conditions, "Ready")
    assert ready is not None
    assert rest.events == ()
    wanted = world.resource.spec.engine.engine_ref
    assert wanted is not None
    serving_engines = {pod.engine for pod in world.selected()}
    if ready.status == "True":
        assert serving_engines == {wanted.name}
        assert len(world.fleet) == world.resource.spec.replicas
        assert len([1 for kind, _ in world.objects if kind == "Deployment"]) == 1
    elif is_true(status.conditions, "Stalled"):
        assert wanted.name in world.broken
        assert ready.reason in (reasons.CRASH_LOOPING, reasons.ROLLOUT_STUCK)
        assert wanted.name not in serving_engines
    else:
        assert ready.reason == reasons.WAITING_FOR_PROMOTION
