"""Argo CD's health by our Lua, in a real Lua, and kstatus' rules: they agree on every status."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from build_moves import BUILDS, move
from build_world import START, TOOLCHAIN, World, failure, published
from hypothesis import given, settings
from hypothesis import strategies as st
from kstatus import kstatus
from kubectl_tool import kubectl
from lupa import lua51
from rollout_edits import EDITS, STRATEGIES, edit
from rollout_world import NAMES, rollout, serving
from serving_cases import deployment, engine
from status_cases import build, conditions

from nacelle_operator.api.crd import RESOURCES, UNSEEN
from nacelle_operator.engines import collection
from nacelle_operator.engines.plan import EngineObserved, plan

CONFIG = Path(__file__).parents[2] / "docs" / "gitops" / "argocd-cm.yaml"
DATA: dict[str, str] = yaml.load(CONFIG.read_text(), yaml.CSafeLoader)["data"]
# What kstatus calls each: held is a way of being in progress.
SAME = {
    "Healthy": "Current",
    "Progressing": "InProgress",
    "Suspended": "InProgress",
    "Degraded": "Failed",
}
LUA = lua51.LuaRuntime(unpack_returned_tuples=True)


def health(resource: dict[str, Any], kind: str = "EngineBuild") -> tuple[str, str]:
    """What Argo CD is told of a resource: it runs the script with the resource as `obj`."""
    LUA.globals().obj = LUA.table_from(resource, recursive=True)
    told = LUA.execute(DATA[f"resource.customizations.health.nacelle.dev_{kind}"])
    return told["status"], told["message"]


def agreed(resource: dict[str, Any]) -> str:
    """The health, once kstatus says the same."""
    status, message = health(resource)
    assert SAME[status] == kstatus(resource), (status, resource)
    assert message
    return status


def test_each_kind_has_its_script_under_argos_key() -> None:
    assert set(DATA) == {f"resource.customizations.health.nacelle.dev_{r.kind}" for r in RESOURCES}
    assert len(set(DATA.values())) == 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"Ready": "True Serving: all replicas serve"}, ("Healthy", "Serving: all replicas serve")),
        (
            {"Ready": "False Building: 0 of 1", "Reconciling": "True BuildRunning: cpu: convert"},
            ("Progressing", "Building: 0 of 1"),
        ),
        (
            {"Ready": "False TargetsFailed: cpu: x", "Stalled": "True TargetsFailed: cpu: x"},
            ("Degraded", "TargetsFailed: cpu: x"),
        ),
        (
            {"Ready": "False Suspended: suspend is true"},
            ("Suspended", "Suspended: suspend is true"),
        ),
        (
            {
                "Ready": "False WaitingForPromotion: say 7/2",
                "Reconciling": "True WaitingForPromotion: say 7/2",
            },
            ("Suspended", "WaitingForPromotion: say 7/2"),
        ),
        (
            {
                "Ready": "False CrashLooping: it ends",
                "Available": "True ReplicasReady: 2 of 2",
                "Stalled": "True CrashLooping: it ends",
            },
            ("Degraded", "CrashLooping: it ends"),
        ),
        (
            {"Ready": "True ScaledToZero: none", "StoreNotShared": "True ReadWriteOnce: one node"},
            ("Healthy", "ScaledToZero: none"),
        ),
    ],
)
@pytest.mark.parametrize("kind", [resource.kind for resource in RESOURCES])
def test_health(kind: str, told: dict[str, str], expected: tuple[str, str]) -> None:
    resource = build(conditions=conditions(**told))
    assert health(resource, kind) == expected
    agreed(resource)


def test_what_the_operator_has_not_seen_is_in_progress() -> None:
    said = ("Progressing", "the operator has not seen the present spec yet")
    ready = conditions(Ready="True AllTargetsPublished: done")
    assert health(build(generation=2, conditions=ready)) == said
    assert health({**build(), "status": dict(UNSEEN)}) == said
    assert agreed({**build(), "status": dict(UNSEEN)}) == "Progressing"
    # Without a status at all, which our definitions rule out, kstatus would take it for done.
    assert (health(build()), kstatus(build())) == (said, "Current")


@settings(max_examples=8)
@given(st.integers(0, 2**32))
def test_builds_at_random(seed: int) -> None:
    random, world = Random(seed), World()
    for _ in range(40):
        move(world, random)
        name = random.choice(BUILDS)
        world.carry_out(name, world.plan(name))
        for raw in world.builds.values():
            agreed({**raw, "status": raw["status"] or dict(UNSEEN)})


def test_the_random_builds_reach_every_health() -> None:
    random, world = Random(7), World()
    reached: set[str] = set()
    for _ in range(1500):
        if reached == set(SAME):
            return
        move(world, random)
        for name in BUILDS:
            world.carry_out(name, world.plan(name))
            if name in world.builds:
                reached.add(agreed(world.builds[name]))
    raise AssertionError(f"only {reached}")


@pytest.mark.parametrize(
    ("condition", "message", "code", "expected"),
    [
        (None, "", 0, "Progressing"),
        ("Complete", published(), 0, "Healthy"),
        ("Failed", failure("CorruptBundle", "a is missing"), 79, "Degraded"),
    ],
)
def test_imported_engines(condition: str | None, message: str, code: int, expected: str) -> None:
    made = engine(ready=[])
    name = f"inspect-{made.spec.key[:16]}"
    pod = {
        "metadata": {"name": "p", "uid": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {},
        "status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [
                {"state": {"terminated": {"exitCode": code, "message": message}}}
            ],
        },
    }
    status = {"type": condition, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    job = {"metadata": {"name": name, "uid": "j", "labels": {}}, "status": {"conditions": [status]}}
    observed = (
        EngineObserved(jobs={name: job}, pods={name: [pod]}) if condition else EngineObserved()
    )
    decided = plan(made, observed, TOOLCHAIN.builder_image, collection.DEFAULT, START)
    generation = made.metadata.generation
    resource = {"metadata": {"generation": generation}, "status": dict(decided.status or {})}
    assert agreed(resource) == expected


@pytest.mark.slow
@settings(max_examples=40)
@given(
    start=STRATEGIES,
    broken=st.sets(st.sampled_from(NAMES[1:])),
    edits=st.lists(EDITS, min_size=1, max_size=8),
)
def test_rollouts_at_random(start: Any, broken: set[str], edits: list[Any]) -> None:
    first = deployment(engine={"engineRef": {"name": NAMES[0]}}, replicas=3)
    world = serving(first, broken=broken)

    def looked_at() -> None:
        resource = world.resource.model_dump(mode="json", by_alias=True, exclude_none=True)
        agreed(resource)

    rollout(world, **start)
    for what, value in edits:
        looked_at()
        edit(world, what, value)
        looked_at()
        for _ in range(value if what == "rounds" else 2):
            world.round()
            looked_at()


@pytest.mark.slow
def test_kubectl_patches_the_scripts_into_argos_settings(
    namespace: Any, control_plane: Any
) -> None:
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}}
    namespace.create("configmaps", {**own, "data": {"url": "https://argo.example.com"}})
    at = (f"--kubeconfig={control_plane.kubeconfig}", "-n", namespace.name)
    patch = ("--type", "merge", "--patch-file", str(CONFIG))
    kubectl(*at, "patch", "configmap", "argocd-cm", *patch)
    found = namespace.get("v1", "configmaps", "argocd-cm")
    assert found["data"] == {"url": "https://argo.example.com", **DATA}
