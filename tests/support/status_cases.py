"""Resources as the API server gives them, for tests of what people and tools are shown."""

from typing import Any

Manifest = dict[str, Any]


def conditions(generation: int = 1, **reasons: str) -> list[Manifest]:
    """Conditions by type: `True Reason: message`."""
    made = []
    for type_, text in reasons.items():
        head, _, message = text.partition(": ")
        status, _, reason = head.partition(" ")
        made.append(
            {
                "type": type_,
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        )
    return made


def target_status(name: str = "cpu", **fields: Any) -> Manifest:
    return {"name": name, "architecture": "x86-64-v3", **fields}


def build(name: str = "b", generation: int = 1, **status: Any) -> Manifest:
    """A build of one CPU target for each target of the status, at least one."""
    names = [target["name"] for target in status.get("targets", ())] or ["cpu"]
    seen = {"observedGeneration": 1, **status} if status else {}
    return {
        "apiVersion": "nacelle.dev/v1alpha1",
        "kind": "EngineBuild",
        "metadata": {"name": name, "generation": generation},
        "spec": {"targets": [{"name": each, "architecture": "x86-64-v3"} for each in names]},
        "status": seen,
    }


def deployment(name: str = "chat", replicas: int = 2, **status: Any) -> Manifest:
    return {
        "apiVersion": "nacelle.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name, "generation": 1},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, **status},
    }


def building(percent: int = 35, message: str = "layer 3 of 30") -> Manifest:
    """A build at work."""
    said = f"cpu: {message}"
    return build(
        conditions=conditions(
            Ready="False Building: 0 of 1 engines are published",
            Reconciling=f"True BuildRunning: {said}",
        ),
        targets=[
            target_status(
                stage="convert",
                percent=percent,
                message=message,
                conditions=conditions(
                    Ready=f"False BuildRunning: {message}",
                    Reconciling=f"True BuildRunning: {message}",
                ),
            )
        ],
    )


def failed(code: str = "TensorMissing", message: str = "model.norm.weight is absent") -> Manifest:
    """A build that has failed for good."""
    said = f"cpu: {code}: {message}"
    return build(
        conditions=conditions(
            Ready=f"False TargetsFailed: {said}", Stalled=f"True TargetsFailed: {said}"
        ),
        targets=[
            target_status(
                stage="convert",
                percent=35,
                message=message,
                conditions=conditions(
                    Ready=f"False {code}: {message}", Stalled=f"True {code}: {message}"
                ),
            )
        ],
    )


def published() -> Manifest:
    """A build that is done."""
    return build(
        conditions=conditions(Ready="True AllTargetsPublished: 1 of 1 engines are published"),
        targets=[
            target_status(
                percent=100,
                message="eng-1 is published",
                engineRef={"name": "eng-1"},
                conditions=conditions(Ready="True EnginePublished: eng-1 is published"),
            )
        ],
    )


def serving() -> Manifest:
    """A deployment that serves all that it is asked for."""
    return deployment(
        conditions=conditions(Ready="True Serving: all 2 replicas serve Engine eng-1"),
        currentEngine="eng-1",
        targetEngine="eng-1",
        readyReplicas=2,
        replicas=2,
        rollout={"slot": "a", "revision": 3},
        url="http://chat.ns.svc:8000/v1",
    )
