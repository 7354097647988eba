"""Edits of an InferenceDeployment's rollout, for walks at random."""

from typing import Any

from hypothesis import strategies as st
from rollout_world import RolloutWorld, rollout, wants

PAUSES = st.sampled_from([{}, {"pause": "0s"}, {"pause": "25s"}])
STEPS = st.lists(st.tuples(st.sampled_from([1, 25, 50, 100]), PAUSES), min_size=1, max_size=3).map(
    lambda steps: [
        {"weightPercent": weight, **pause}
        for (weight, _), (_, pause) in zip(sorted(steps, key=lambda s: s[0]), steps, strict=True)
    ]
)
PACE = st.sampled_from([(0, 1), (1, 0), (1, 1), (0, 3), (2, 2)])
STRATEGIES = st.one_of(
    st.just({"strategy": "RollingUpdate"}),
    st.fixed_dictionaries(
        {
            "strategy": st.just("BlueGreen"),
            "blueGreen": st.sampled_from(
                [{}, {"pause": "15s"}, {"autoPromote": False}, {"scaleDownDelay": "0s"}]
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "strategy": st.just("Canary"),
            "canary": st.fixed_dictionaries(
                {"steps": STEPS},
                optional={"route": st.just({"parentRefs": [{"name": "gate"}]})},
            ),
        }
    ),
)
EDITS = st.one_of(
    st.tuples(st.just("engine"), st.integers(0, 2)),
    st.tuples(st.just("strategy"), STRATEGIES),
    st.tuples(st.just("pace"), PACE),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("promote"), st.sampled_from(["", "/1", "/2"])),
    st.tuples(st.just("rounds"), st.integers(1, 8)),
)


def edit(world: RolloutWorld, what: str, value: Any) -> None:
    if what == "engine":
        wants(world, value)
    elif what == "strategy":
        rollout(world, **value)
    elif what == "pace":
        rollout(world, maxUnavailable=value[0], maxSurge=value[1])
    elif what == "paused":
        rollout(world, paused=value)
    elif what == "promote":
        newest = max(o["revision"] for o in revisions(world))
        rollout(world, promote=f"{newest}{value}")


def revisions(world: RolloutWorld) -> list[Any]:
    return [o for (kind, _), o in world.objects.items() if kind == "ControllerRevision"]
