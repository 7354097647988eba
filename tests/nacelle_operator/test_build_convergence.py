"""Builds in a world that moves at random converge, whatever is killed, lost, edited or deleted."""

from datetime import timedelta
from random import Random

import pytest
from build_moves import BUILDS, active, finish, move
from build_world import World
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32))
def test_a_random_world_converges(seed: int) -> None:
    random = Random(seed)
    world = World()
    for _ in range(40):
        move(world, random)
        if random.random() < 0.7:
            name = random.choice(BUILDS)
            killed = random.random() < 0.2
            world.carry_out(name, world.plan(name), status=not killed)
        requests = [
            (job["metadata"]["labels"]["nacelle.dev/request-key"])
            for name, job in world.jobs.items()
            if active(world, name)
        ]
        assert len(requests) == len(set(requests))  # never two at work on one engine
    for _ in range(12):
        for name in BUILDS:
            world.reconcile(name)
        finish(world)
        world.now += timedelta(seconds=20)
    for name in BUILDS:
        settled = world.plan(name)
        assert not settled.creates and not settled.deletes
        if name in world.builds:
            assert settled.status == world.builds[name]["status"]
            assert settled.events == ()
            ready = world.condition("Ready", name)
            reasons = ("AllTargetsPublished", "TargetsFailed", "Suspended")
            assert ready and ready["reason"] in reasons
            assert world.condition("Reconciling", name) is None
    if not world.builds:
        assert world.jobs == {}
