"""Resources and surroundings that the tests of serving are made of."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nacelle_engine.abi import ABI
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.observe import Observed

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 24, 12, 5, 0, tzinfo=UTC)
IMAGES = {ABI: "registry.example.com/runtime:1"}
TRITONS = {ABI: "registry.example.com/triton:1"}
OLD, NEW = "1" * 64, "2" * 64
SINCE = "2026-11-24T00:00:00Z"


def condition(type_: str, status: str = "True", reason: str = "R", message: str = "") -> Any:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": SINCE,
    }


def engine_spec(key: str, **spec: Any) -> dict[str, Any]:
    """The spec of an Engine of that key."""
    return {
        "key": key,
        "modelName": "smollm2",
        "architecture": "x86-64-v3",
        "abi": ABI,
        "limits": {},
        "store": {"persistentVolumeClaim": {"claimName": "engines"}},
        "path": f"engines/{key}",
        "digest": key,
        "bytes": 170_000_000,
        **spec,
    }


def engine(key: str = OLD, ready: Any = None, **spec: Any) -> Engine:
    """An Engine that a build has published; `ready` replaces its conditions."""
    return Engine.parse(
        {
            "metadata": {"name": f"eng-{key[:16]}", "namespace": "team", "uid": key[:8]},
            "spec": engine_spec(key, **spec),
            "status": {"conditions": [condition("Ready")] if ready is None else ready},
        }
    )


def build(key: str | None = OLD, **target: Any) -> EngineBuild:
    """A build whose target cpu has published an engine; with None it is still at work."""
    ref = {"engineRef": {"name": f"eng-{key[:16]}"}} if key else {}
    return EngineBuild.parse(
        {
            "metadata": {"name": "smollm2", "namespace": "team", "uid": "b", "generation": 1},
            "spec": {
                "modelName": "smollm2",
                "model": {"persistentVolumeClaim": {"claimName": "models"}},
                "targets": [{"name": "cpu", "architecture": "x86-64-v3"}],
                "store": {"persistentVolumeClaim": {"claimName": "engines"}},
            },
            "status": {
                "observedGeneration": 1,
                "targets": [{"name": "cpu", "architecture": "x86-64-v3", **ref, **target}],
            },
        }
    )


def deployment(status: Any = None, generation: int = 1, **spec: Any) -> InferenceDeployment:
    """A deployment of the build's target cpu; `spec` goes on top."""
    return InferenceDeployment.parse(
        {
            "metadata": {
                "name": "chat",
                "namespace": "team",
                "uid": "d-uid",
                "generation": generation,
            },
            "spec": {"engine": {"buildRef": {"name": "smollm2", "target": "cpu"}}, **spec},
            "status": status or {},
        }
    )


def surroundings(*keys: str, published: str | None = None, **fields: Any) -> Observed:
    """Engines of these keys; the build has published the last of them unless said otherwise."""
    newest = published or (keys[-1] if keys else None)
    engines = {e.metadata.name: e for e in map(engine, keys)}
    observed = Observed(
        build=build(newest), engines=engines, runtime_images=IMAGES, triton_images=TRITONS
    )
    return replace(observed, **fields)


def pod(name: str = "chat-a-1", **status: Any) -> dict[str, Any]:
    """A pod of revision 1 on node n1 that is not ready."""
    return {
        "metadata": {"name": name, "labels": {"nacelle.dev/revision": "1"}},
        "spec": {"nodeName": "n1"},
        "status": status,
    }
