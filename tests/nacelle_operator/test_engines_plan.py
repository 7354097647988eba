"""An Engine's plan: built here, imported and verified, refused, kept, and swept with its build."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from build_world import KEY, START, TOOLCHAIN, failure, published

from nacelle_operator.api.engine import Engine, User
from nacelle_operator.conditions import timestamp
from nacelle_operator.engines import plan as engines_plan
from nacelle_operator.engines.collection import Collection
from nacelle_operator.engines.plan import EngineObserved
from nacelle_operator.plan import Plan

IMAGE = TOOLCHAIN.builder_image
AT_ONCE = Collection(timedelta())
IN_AN_HOUR = Collection(timedelta(hours=1))
INSPECT, SWEEP = f"inspect-{KEY[:16]}", f"sweep-{KEY[:16]}"
BUILT = {"nacelle.dev/request-key": "0" * 32, "nacelle.dev/engine-build": "b"}


def plan(
    engine: Engine,
    observed: EngineObserved,
    image: str,
    now: datetime,
    collection: Collection = AT_ONCE,
) -> Plan:
    return engines_plan.plan(engine, observed, image, collection, now)


def engine(policy: str = "Retain", status: Any = None, **labels: str) -> Engine:
    spec = {
        "key": KEY,
        "modelName": "m",
        "architecture": "x86-64-v3",
        "abi": TOOLCHAIN.abi,
        "limits": {},
        "store": {"persistentVolumeClaim": {"claimName": "engines"}},
        "path": f"engines/{KEY}",
        "digest": "cd" * 32,
        "bytes": 5,
        "deletionPolicy": policy,
    }
    meta = {"name": f"eng-{KEY[:16]}", "namespace": "ns", "uid": "u", "generation": 1}
    return Engine.parse(
        {"metadata": {**meta, "labels": labels}, "spec": spec, "status": status or {}}
    )


def job(name: str, condition: str = "") -> dict[str, Any]:
    status = {"type": condition, "status": "True", "lastTransitionTime": timestamp(START)}
    return {
        "metadata": {"name": name, "uid": "j", "labels": {}},
        "spec": {},
        "status": {"conditions": [status] if condition else []},
    }


def pod(message: str, code: int) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "message": message}}
    return {
        "metadata": {"name": "p", "uid": "p", "creationTimestamp": timestamp(START)},
        "spec": {},
        "status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"state": state}],
        },
    }


def ready(decided: Plan) -> tuple[str, str]:
    assert decided.status is not None
    condition = decided.status["conditions"][0]
    return condition["status"], condition["reason"]


def test_an_engine_built_here_is_ready() -> None:
    decided = plan(engine(**BUILT), EngineObserved(creator_exists=True), IMAGE, START)
    assert ready(decided) == ("True", "BuiltHere") and not decided.creates


def test_an_imported_engine_is_inspected_and_told_what_to_expect() -> None:
    decided = plan(engine(), EngineObserved(), IMAGE, START)
    (created,) = decided.creates
    assert created["metadata"]["name"] == INSPECT and ready(decided) == ("False", "Verifying")
    container = created["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][:3] == ["nacelle", "verify", f"/store/engines/{KEY}"]
    assert container["volumeMounts"][0]["readOnly"] is True
    assert created["metadata"]["ownerReferences"][0]["name"] == f"eng-{KEY[:16]}"


@pytest.mark.parametrize(
    ("message", "code", "condition", "expected"),
    [
        (published(), 0, "Complete", ("True", "Verified")),
        (failure("CorruptBundle", "a is missing"), 79, "Failed", ("False", "CorruptBundle")),
        (failure("TargetMismatch", "sm_90"), 78, "Failed", ("False", "TargetMismatch")),
    ],
)
def test_the_inspection_decides(
    message: str, code: int, condition: str, expected: tuple[str, str]
) -> None:
    observed = EngineObserved(
        jobs={INSPECT: job(INSPECT, condition)}, pods={INSPECT: [pod(message, code)]}
    )
    decided = plan(engine(), observed, IMAGE, START)
    assert ready(decided) == expected
    again = plan(engine(status=decided.status), EngineObserved(), IMAGE, START)
    assert again.status == decided.status and not again.creates and not again.events


@pytest.mark.parametrize(
    ("policy", "creator", "users", "labels"),
    [
        ("Retain", False, (), BUILT),
        ("Delete", True, (), BUILT),
        ("Delete", False, (User(kind="InferenceDeployment", name="d"),), BUILT),
        ("Delete", False, (), {}),
    ],
)
def test_what_is_never_swept(
    policy: str, creator: bool, users: tuple[User, ...], labels: dict[str, str]
) -> None:
    observed = EngineObserved(users=users, creator_exists=creator)
    decided = plan(engine(policy, **labels), observed, IMAGE, START)
    assert not decided.deletes
    assert all(made["metadata"]["name"] != SWEEP for made in decided.creates)


def test_the_folder_goes_before_the_engine() -> None:
    swept = engine("Delete", **BUILT)
    first = plan(swept, EngineObserved(), IMAGE, START)
    (created,) = first.creates
    assert ready(first) == ("False", "Sweeping") and not first.deletes
    assert created["spec"]["activeDeadlineSeconds"] == 600
    assert created["spec"]["template"]["spec"]["containers"][0]["command"][-1] == (
        f"/store/engines/{KEY}"
    )
    assert not plan(swept, EngineObserved(jobs={SWEEP: job(SWEEP)}), IMAGE, START).deletes


@pytest.mark.parametrize(("condition", "event"), [("Complete", "Swept"), ("Failed", "FolderLeft")])
def test_the_engine_goes_when_its_sweep_has_ended(condition: str, event: str) -> None:
    observed = EngineObserved(jobs={SWEEP: job(SWEEP, condition)})
    decided = plan(engine("Delete", **BUILT), observed, IMAGE, START)
    assert [(gone.kind, gone.uid) for gone in decided.deletes] == [("Engine", "u")]
    assert decided.events[0].reason == event


def kept(status: Any, now: datetime, collection: Collection = IN_AN_HOUR) -> Plan:
    return plan(engine("Delete", status, **BUILT), EngineObserved(), IMAGE, now, collection)


def unused(decided: Plan) -> dict[str, Any]:
    assert decided.status is not None
    return next((c for c in decided.status["conditions"] if c["type"] == "Unused"), {})


def test_grace_is_counted_from_when_nobody_used_it() -> None:
    first = kept(None, START)
    assert ready(first) == ("True", "BuiltHere") and not first.creates
    assert (unused(first)["reason"], unused(first)["message"]) == (
        "GracePeriod",
        "nobody uses it, and its build is gone: after 3600 s it is deleted with its folder; "
        "a build that asks for it or a deployment that serves it keeps it",
    )
    assert first.requeue_seconds == 3600 and "GracePeriod" in [e.reason for e in first.events]
    later = kept(first.status, START + timedelta(minutes=59))
    assert later.requeue_seconds == 60 and not later.creates and not later.events
    assert later.status == first.status
    due = kept(later.status, START + timedelta(hours=1))
    assert [made["metadata"]["name"] for made in due.creates] == [SWEEP]


def test_whoever_uses_it_again_begins_the_grace_anew() -> None:
    first = kept(None, START)
    used = EngineObserved(users=(User(kind="InferenceDeployment", name="d"),))
    again = plan(engine("Delete", first.status, **BUILT), used, IMAGE, START, IN_AN_HOUR)
    assert unused(again) == {}
    much_later = START + timedelta(days=1)
    assert kept(again.status, much_later).requeue_seconds == 3600


def test_a_dry_run_tells_and_deletes_nothing() -> None:
    dry = Collection(timedelta(hours=1), is_dry_run=True)
    first = kept(None, START, dry)
    assert unused(first)["message"] == (
        "nobody uses it: it would be deleted after 3600 s, but the operator only tells (dry run)"
    )
    assert [e.reason for e in first.events] == ["DryRun", "BuiltHere"]
    later = kept(first.status, START + timedelta(days=1), dry)
    assert not later.creates and not later.deletes and later.requeue_seconds is None
    assert [
        made["metadata"]["name"] for made in kept(later.status, START + timedelta(days=1)).creates
    ] == [SWEEP]


def test_what_has_begun_to_go_goes_whoever_comes() -> None:
    observed = EngineObserved(
        users=(User(kind="InferenceDeployment", name="d"),), jobs={SWEEP: job(SWEEP)}
    )
    assert ready(plan(engine("Delete", **BUILT), observed, IMAGE, START)) == ("False", "Sweeping")
