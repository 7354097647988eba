"""A deployment's life: waiting, serving, rolling out, and coming to rest from anywhere."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_cases import (
    IMAGES,
    LATER,
    NEW,
    NOW,
    OLD,
    build,
    deployment,
    engine,
    pod,
    surroundings,
)
from serving_cluster import ServingCluster, at_rest, edited

from nacelle_operator.conditions import find, is_true
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.plan import plan
from nacelle_operator.objects.serving_pod import pod_template

OLD_ENGINE, NEW_ENGINE = f"eng-{OLD[:16]}", f"eng-{NEW[:16]}"


def ready(made: ServingCluster) -> tuple[str, str]:
    found = find(made.resource.status.conditions, "Ready")
    assert found is not None
    return found.status, found.reason


def template_of(made: ServingCluster, slot: str = "a") -> Any:
    return made.objects["Deployment", f"chat-{slot}"]["spec"]["template"]


def test_nothing_is_made_while_there_is_no_engine() -> None:
    made = plan(deployment(), surroundings(), NOW)
    assert made.objects == ()
    assert made.deletes == ()
    assert made.requeue_seconds is not None
    assert made.status is not None
    types = {c["type"]: (c["status"], c["reason"]) for c in made.status["conditions"]}
    assert types == {
        "Ready": ("False", reasons.ENGINE_NOT_PUBLISHED),
        "Available": ("False", reasons.NO_ENGINE_YET),
        "Reconciling": ("True", reasons.ENGINE_NOT_PUBLISHED),
    }
    assert made.status["url"] == ""


def test_the_objects_of_a_first_rollout_in_their_order() -> None:
    made = plan(deployment(replicas=2), surroundings(OLD), NOW)
    assert [(o["kind"], o["metadata"]["name"]) for o in made.objects] == [
        ("ControllerRevision", "chat-1"),
        ("Deployment", "chat-a"),
        ("Service", "chat"),
        ("PodDisruptionBudget", "chat"),
    ]
    assert all(o["metadata"]["ownerReferences"][0]["uid"] == "d-uid" for o in made.objects)
    assert [(e.type, e.reason) for e in made.events] == [
        ("Normal", reasons.ROLLOUT_STARTED),
        ("Normal", reasons.ROLLING_OUT),
    ]


def test_at_rest_it_is_ready_and_says_what_it_serves() -> None:
    made = at_rest(deployment(replicas=2))
    status = made.resource.status
    assert ready(made) == ("True", reasons.SERVING)
    assert {c.type for c in status.conditions} == {"Ready", "Available"}
    assert (status.replicas, status.ready_replicas) == (2, 2)
    assert status.current_engine == status.target_engine == OLD_ENGINE
    assert status.url == "http://chat.team.svc:8000"
    assert status.selector == "nacelle.dev/inference-deployment=chat,nacelle.dev/slot=a"
    assert made.reconcile(LATER).events == ()


def test_a_transition_keeps_its_time_until_the_status_changes() -> None:
    made = at_rest(deployment())
    before = find(made.resource.status.conditions, "Ready")
    made.reconcile(LATER)
    assert find(made.resource.status.conditions, "Ready") == before
    made.resource = edited(made.resource, replicas=3)
    made.reconcile(LATER)
    after = find(made.resource.status.conditions, "Ready")
    assert after and after.last_transition_time == "2026-11-24T12:05:00Z"
    assert after.observed_generation == 2


def test_another_renderer_restarts_no_pod() -> None:
    """As an upgrade of the operator brings it."""

    def newer(resource: Any, served: Any) -> Any:
        template = pod_template(resource, served)
        template["metadata"]["labels"]["rendered-by"] = "newer"
        return template

    made = at_rest(deployment())
    before = template_of(made)
    made.reconcile(LATER, newer)
    made.images = dict.fromkeys(IMAGES, "registry.example.com/runtime:2")
    made.resource = edited(made.resource, replicas=4, rollout={"maxSurge": 3})
    made.reconcile(LATER, newer)
    assert template_of(made) == before
    assert made.restarts == 0
    made.resource = edited(made.resource, pod={"labels": {"team": "x"}})
    made.reconcile(LATER, newer)
    assert template_of(made)["metadata"]["labels"]["rendered-by"] == "newer"
    assert made.restarts == 1


def test_the_old_engine_serves_until_the_new_one_is_published() -> None:
    made = at_rest(deployment(replicas=2))
    made.build = build(None, stage="compile", percent=10)
    made.settle(LATER)
    assert ready(made) == ("False", reasons.ENGINE_NOT_PUBLISHED)
    assert is_true(made.resource.status.conditions, "Available")
    assert made.resource.status.current_engine == OLD_ENGINE
    made.resource = edited(made.resource, pod={"labels": {"team": "x"}})
    made.settle(LATER)
    assert template_of(made)["metadata"]["labels"]["team"] == "x", "settings reach the old engine"
    assert made.resource.status.current_engine == OLD_ENGINE
    made.engines[NEW_ENGINE] = engine(NEW)
    made.build = build(NEW)
    made.settle(LATER)
    status = made.resource.status
    assert ready(made) == ("True", reasons.SERVING)
    assert (status.current_engine, status.previous_engine) == (NEW_ENGINE, OLD_ENGINE)
    assert made.objects["Service", "chat"]["spec"]["selector"]["nacelle.dev/slot"] == "a"


def test_a_failed_build_leaves_the_old_engine_available() -> None:
    made = at_rest(deployment())
    failed = {"type": "Stalled", "status": "True", "reason": "CompileFailed"}
    made.build = build(
        None, conditions=[{**failed, "lastTransitionTime": "2026-11-24T00:00:00Z"}], message="no"
    )
    made.settle(LATER)
    conditions = {c.type: (c.status, c.reason) for c in made.resource.status.conditions}
    assert conditions == {
        "Ready": ("False", reasons.BUILD_FAILED),
        "Available": ("True", reasons.REPLICAS_READY),
        "Stalled": ("True", reasons.BUILD_FAILED),
    }


def test_an_engine_whose_runtime_has_left_the_chart_runs_on_and_is_not_rolled_out() -> None:
    made = at_rest(deployment())
    made.images = {}
    made.settle(LATER)
    assert ready(made) == ("True", reasons.SERVING)
    made.resource = edited(made.resource, pod={"labels": {"team": "x"}})
    made.settle(LATER)
    assert ready(made) == ("False", reasons.RUNTIME_IMAGE_MISSING)
    assert made.restarts == 0


def test_pods_follow_the_engine_that_drafts_and_stay_while_it_is_missing() -> None:
    made = at_rest(deployment())
    drafting = {"method": "DraftEngine", "draftEngineRef": {"name": NEW_ENGINE}}
    made.resource = edited(made.resource, runtime={"speculative": drafting})
    before = template_of(made)
    made.settle(LATER)
    assert ready(made) == ("False", reasons.ENGINE_NOT_FOUND)
    assert is_true(made.resource.status.conditions, "Available")
    assert template_of(made) == before
    made.engines[NEW_ENGINE] = engine(NEW)
    made.settle(LATER)
    assert ready(made) == ("True", reasons.SERVING)
    assert template_of(made)["metadata"]["labels"]["nacelle.dev/draft-engine"] == NEW_ENGINE
    assert made.restarts == 1


def test_a_new_engine_that_is_refused_leaves_the_old_pods() -> None:
    made = at_rest(deployment(replicas=2))
    made.engines[NEW_ENGINE] = engine(NEW)
    made.build = build(NEW)
    made.reconcile(LATER)
    end = {"exitCode": 78, "message": "", "reason": "Error"}
    refusing = pod(
        "chat-a-9", containerStatuses=[{"name": "runtime", "state": {"terminated": end}}]
    )
    refusing["metadata"]["labels"] = dict(template_of(made)["metadata"]["labels"])
    made.pods.append(refusing)
    manifest = made.objects["Deployment", "chat-a"]
    manifest["status"] = {
        "observedGeneration": manifest["metadata"]["generation"],
        "replicas": 3,
        "readyReplicas": 2,
        "updatedReplicas": 1,
    }
    made.reconcile(LATER)
    conditions = {c.type: (c.status, c.reason) for c in made.resource.status.conditions}
    assert conditions["Ready"] == ("False", reasons.BUNDLE_REFUSED)
    assert conditions["Available"] == ("True", reasons.REPLICAS_READY)
    assert made.resource.status.current_engine == OLD_ENGINE
    assert made.resource.status.target_engine == NEW_ENGINE


def test_zero_replicas_are_ready() -> None:
    made = at_rest(deployment(replicas=0))
    conditions = {c.type: (c.status, c.reason) for c in made.resource.status.conditions}
    assert conditions == {
        "Ready": ("True", reasons.SCALED_TO_ZERO),
        "Available": ("False", reasons.SCALED_TO_ZERO),
    }
    assert made.objects["Deployment", "chat-a"]["spec"]["replicas"] == 0


def test_the_budget_goes_with_the_second_replica() -> None:
    made = at_rest(deployment(replicas=2))
    assert ("PodDisruptionBudget", "chat") in made.objects
    made.resource = edited(made.resource, replicas=1)
    made.settle(LATER)
    assert ("PodDisruptionBudget", "chat") not in made.objects


def test_five_revisions_are_kept() -> None:
    made = at_rest(deployment())
    for number in range(8):
        made.resource = edited(made.resource, pod={"labels": {"n": str(number)}})
        made.settle(LATER)
    kept = [name for kind, name in made.objects if kind == "ControllerRevision"]
    assert sorted(kept) == ["chat-5", "chat-6", "chat-7", "chat-8", "chat-9"]


def test_the_slot_that_the_service_selects_is_the_live_one() -> None:
    service = {"spec": {"selector": {"nacelle.dev/slot": "b"}}}
    made = plan(deployment(), surroundings(OLD, service=service), NOW)
    assert [o["metadata"]["name"] for o in made.objects][1] == "chat-b"


SPECS = st.fixed_dictionaries(
    {"replicas": st.integers(0, 3)},
    optional={
        "engine": st.sampled_from(
            [
                {"buildRef": {"name": "smollm2", "target": "cpu"}},
                {"engineRef": {"name": OLD_ENGINE}},
                {"engineRef": {"name": NEW_ENGINE}},
                {"buildRef": {"name": "other", "target": "cpu"}},
            ]
        ),
        "runtime": st.sampled_from([{}, {"maxBatchSize": 100}, {"image": "mine:1"}]),
        "frontends": st.sampled_from([{}, {"triton": {"enabled": True}}]),
        "pod": st.sampled_from(
            [{}, {"labels": {"a": "b"}}, {"resources": {"requests": {"cpu": "1"}}}]
        ),
        "autoscaling": st.sampled_from(
            [
                None,
                {"maxReplicas": 3},
                {"maxReplicas": 2, "metrics": [{"type": "QueuedRequests"}]},
            ]
        ),
        "network": st.sampled_from([{}, {"policy": "Restricted"}]),
        "monitoring": st.sampled_from([{}, {"podMonitor": {"labels": {"release": "p"}}}]),
    },
)
BUILDS = st.sampled_from([None, build(None), build(OLD), build(NEW)])
ENGINES = st.sets(st.sampled_from([OLD, NEW]))
WORLDS = st.tuples(SPECS, BUILDS, ENGINES, st.booleans())


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(worlds=st.lists(WORLDS, min_size=1, max_size=5), lost=st.data())
def test_from_anywhere_it_comes_to_rest(worlds: list[Any], lost: st.DataObject) -> None:
    """Whatever changes, and whatever objects are lost on the way, a few rounds end in no change."""
    made = ServingCluster(resource=deployment())
    for spec, made.build, keys, has_images in worlds:
        made.resource = edited(made.resource, **spec)
        made.engines = {f"eng-{key[:16]}": engine(key) for key in sorted(keys)}
        made.images = dict(IMAGES) if has_images else {}
        made.reconcile(NOW)
        if made.objects:
            del made.objects[lost.draw(st.sampled_from(sorted(made.objects)))]
        rest = made.settle(NOW)
        assert rest.events == ()
        found = made.resource.status.conditions
        assert is_true(found, "Ready") != (
            is_true(found, "Reconciling") or is_true(found, "Stalled")
        )
        live = [name for kind, name in made.objects if kind == "Deployment"]
        assert len(live) <= 1
        told = find(found, "Autoscaling")
        assert (told is not None) == (made.resource.spec.autoscaling is not None)
        if told is None or told.reason == reasons.AUTOSCALER_NAME_TAKEN:
            assert ("HorizontalPodAutoscaler", "chat") not in made.objects
        asked = made.resource.spec
        for kind, type_, wanted in (
            ("NetworkPolicy", "NetworkRestricted", asked.network.policy == "Restricted"),
            ("PodMonitor", "Monitoring", asked.monitoring.pod_monitor is not None),
        ):
            assert (find(found, type_) is not None) == wanted
            assert ((kind, "chat") in made.objects) == is_true(found, type_)
            if wanted and is_true(found, "Ready"):
                assert (kind, "chat") in made.objects
        if is_true(found, "Ready") and made.resource.spec.replicas:
            assert made.resource.status.current_engine == made.resource.status.target_engine
