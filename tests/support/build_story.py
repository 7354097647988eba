"""What a test says about builds in one namespace of a control plane whose pods it moves on."""

import json
from collections.abc import Callable
from typing import Any

from nacelle_engine.abi import ABI

API = "nacelle.dev/v1alpha1"
KEY = "ab" * 32
Manifest = dict[str, Any]


def engine_build(name: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": API,
        "kind": "EngineBuild",
        "metadata": {"name": name},
        "spec": {
            "modelName": "smollm2",
            "model": {"persistentVolumeClaim": {"claimName": "models", "path": "smollm2"}},
            "targets": [{"name": "cpu", "architecture": "x86-64-v3"}],
            "store": {"persistentVolumeClaim": {"claimName": "engines"}},
            **spec,
        },
    }


def claim(name: str, mode: str = "ReadWriteMany") -> Manifest:
    resources = {"requests": {"storage": "1Gi"}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": [mode], "resources": resources},
    }


def published(key: str = KEY) -> str:
    return json.dumps(
        {
            "published": {
                "engineKey": key,
                "path": f"/store/engines/{key}",
                "digest": "cd" * 32,
                "bytes": 1234,
                "abi": ABI,
                "accuracy": {
                    "meanKLDivergence": "0.020",
                    "p99KLDivergence": "0.1",
                    "topOneAgreementPercent": "95.5",
                    "perplexityIncreasePercent": "1.0",
                    "positions": 1000,
                },
                "stageSeconds": {"convert": 5, "compile": 60},
            }
        }
    )


def ended(message: str, code: int = 0, reason: str = "Error") -> Manifest:
    """The status of a pod whose builder has ended."""
    state = {
        "terminated": {
            "exitCode": code,
            "reason": "Completed" if code == 0 else reason,
            "message": message,
            "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:01:00Z",
            "containerID": "x://1",
        }
    }
    return {
        "phase": "Succeeded" if code == 0 else "Failed",
        "containerStatuses": [
            {
                "name": "builder",
                "state": state,
                "ready": False,
                "restartCount": 0,
                "image": "builder:1",
                "imageID": "x",
            }
        ],
    }


def condition(resource: Manifest | None, type_: str) -> Manifest:
    conditions = (resource or {}).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == type_), {})


class Story:
    """What a test says about one namespace."""

    def __init__(self, namespace: Any, until: Callable[..., Any]) -> None:
        self.namespace, self.until = namespace, until

    def build(self, name: str = "b") -> Manifest | None:
        return self.namespace.get(API, "enginebuilds", name)

    def jobs(self) -> list[Manifest]:
        return [
            j
            for j in self.namespace.list("batch/v1", "jobs")
            if not j["metadata"].get("deletionTimestamp")
        ]

    def pods(self) -> list[Manifest]:
        return [
            p
            for p in self.namespace.list("v1", "pods")
            if not p["metadata"].get("deletionTimestamp")
        ]

    def reaches(self, type_: str, reason: str, name: str = "b") -> Manifest:
        try:
            found: Manifest = self.until(
                lambda: (c := condition(self.build(name), type_)).get("reason") == reason and c
            )
        except TimeoutError:
            seen = [self.build(name), *self.jobs(), *self.pods()]
            raise AssertionError(
                json.dumps([o and o.get("status") for o in seen], indent=1)
            ) from None
        return found

    def only_pod(self) -> Manifest:
        found: list[Manifest] = self.until(lambda: len(p := self.pods()) == 1 and p)
        return found[0]

    def ends(self, message: str, code: int = 0) -> None:
        self.namespace.set_pod_status(self.only_pod()["metadata"]["name"], ended(message, code))

    def events(self) -> set[str]:
        return {e["reason"] for e in self.namespace.list("events.k8s.io/v1", "events")}
