"""What tests say about an InferenceDeployment on a real API server: made, run, looked at."""

import json
from collections.abc import Callable
from typing import Any

from serving_cases import engine_spec

from nacelle_engine.abi import ABI

API = "nacelle.dev/v1alpha1"
IMAGES = json.dumps({ABI: "runtime:1"})
Manifest = dict[str, Any]


def engine(digit: str) -> Manifest:
    """An Engine as a build records it."""
    key = digit * 64
    return {
        "apiVersion": API,
        "kind": "Engine",
        "metadata": {
            "name": f"eng-{key[:16]}",
            "labels": {"nacelle.dev/request-key": key[:32], "nacelle.dev/engine-build": "b"},
        },
        "spec": engine_spec(key, modelName="m", bytes=1000),
    }


def serve(digit: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": API,
        "kind": "InferenceDeployment",
        "metadata": {"name": "chat"},
        "spec": {"engine": {"engineRef": {"name": f"eng-{digit * 16}"}}, **spec},
    }


def running(is_ready: bool, **state: Any) -> Manifest:
    """A pod's status as a kubelet writes it."""
    container = {
        "name": "runtime",
        "image": "runtime:1",
        "imageID": "x",
        "ready": is_ready,
        "restartCount": 0,
        "state": state or {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    }
    said = "True" if is_ready else "False"
    return {
        "phase": "Running",
        "podIP": "192.0.2.10",
        "podIPs": [{"ip": "192.0.2.10"}],
        "conditions": [{"type": t, "status": said} for t in ("Ready", "ContainersReady")],
        "containerStatuses": [container],
    }


class Story:
    """What a test says about one namespace."""

    def __init__(self, namespace: Any, until: Callable[..., Any]) -> None:
        self.namespace, self.until = namespace, until

    def create(self, *manifests: Manifest) -> None:
        plurals = {"Engine": "engines", "InferenceDeployment": "inferencedeployments"}
        for manifest in manifests:
            self.namespace.create(plurals[manifest["kind"]], manifest)

    def edit(self, **spec: Any) -> None:
        self.namespace.merge(API, "inferencedeployments", "chat", {"spec": spec})

    def pods(self) -> dict[str, Manifest]:
        found = self.namespace.list("v1", "pods")
        return {
            p["metadata"]["name"]: p for p in found if not p["metadata"].get("deletionTimestamp")
        }

    def annotations(self) -> dict[str, str]:
        """The Service's, but for the mark that every object that is applied has."""
        meta = self.namespace.get("v1", "services", "chat")["metadata"]
        found: dict[str, str] = dict(meta["annotations"])
        assert found.pop("nacelle.dev/applied")
        return found

    def run_pods(self, count: int) -> set[str]:
        """Wait for this many pods and make all of them ready; gives their names."""
        try:
            names = self.until(lambda: len(p := self.pods()) == count and p.keys())
        except TimeoutError:
            seen = [self.namespace.list(API, p) for p in ("inferencedeployments", "engines")]
            seen += [self.namespace.list("apps/v1", "deployments"), list(self.pods())]
            raise AssertionError(json.dumps(seen, indent=1)) from None
        for name in names:
            self.namespace.set_pod_status(name, running(True))
        return set(names)

    def is_gone(self, api: str, plural: str) -> None:
        """Wait for the garbage collector, which learns of new kinds every half minute."""
        try:
            self.until(lambda: not self.namespace.list(api, plural), seconds=90)
        except TimeoutError:
            left = self.namespace.list(api, plural)
            raise AssertionError(json.dumps(left, indent=1)) from None

    def reaches(self, reason: str, type_: str = "Ready") -> Manifest:
        def look() -> Any:
            found = self.namespace.get(API, "inferencedeployments", "chat") or {}
            conditions = found.get("status", {}).get("conditions", [])
            is_so = any(c["type"] == type_ and c["reason"] == reason for c in conditions)
            return is_so and found

        try:
            found: Manifest = self.until(look)
        except TimeoutError:
            raise AssertionError(self.seen()) from None
        return found

    def seen(self) -> str:
        """What has become of all that makes pods here, for a failure's text."""
        kinds = {
            API: ("inferencedeployments",),
            "apps/v1": ("deployments", "replicasets"),
            "v1": ("pods",),
        }
        lists = {plural: self.namespace.list(api, plural) for api in kinds for plural in kinds[api]}
        return json.dumps(
            {
                f"{plural} {manifest['metadata']['name']}": manifest.get("status")
                for plural, manifests in lists.items()
                for manifest in manifests
            },
            indent=1,
        )
