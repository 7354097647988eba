"""An Engine's plan: built here, imported and verified, refused, kept, and swept with its build."""

from typing import Any

import pytest
from build_world import KEY, START, TOOLCHAIN, failure, published

from nacelle_operator.api.engine import Engine, User
from nacelle_operator.conditions import timestamp
from nacelle_operator.engines.plan import EngineObserved, plan
from nacelle_operator.plan import Plan

IMAGE = TOOLCHAIN.builder_image
INSPECT, SWEEP = f"inspect-{KEY[:16]}", f"sweep-{KEY[:16]}"
BUILT = {"nacelle.dev/request-key": "0" * 32, "nacelle.dev/engine-build": "b"}


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
