"""A build that becomes an engine, is served, edited and rolled out: what is there at its end."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import kwok

from nacelle_engine.abi import ABI
from nacelle_engine.result import Prepared, Published, Result

API = "nacelle.dev/v1alpha1"
TARGET = "h100"
STRATEGIES: dict[str, dict[str, Any]] = {
    "RollingUpdate": {"strategy": "RollingUpdate"},
    "BlueGreen": {"strategy": "BlueGreen", "blueGreen": {"scaleDownDelay": "1s"}},
    "Canary": {
        "strategy": "Canary",
        "canary": {"steps": [{"weightPercent": 50, "pause": "1s"}]},
    },
}
REPLICAS = 2
Manifest = dict[str, Any]
_KINDS = {
    API: ("enginebuilds", "engines", "inferencedeployments"),
    "batch/v1": ("jobs",),
    "apps/v1": ("deployments", "replicasets", "controllerrevisions"),
    "v1": ("services", "pods"),
    "policy/v1": ("poddisruptionbudgets",),
}


def published() -> kwok.End:
    """How a builder ends: its engine's key is the label of its request, twice."""
    digits = "0" * 64
    made = Published(engine_key=digits, path=f"engines/{digits}", digest=digits, bytes=8, abi=ABI)
    label = '{{ index $.metadata.labels "nacelle.dev/request-key" }}'
    return kwok.End(0, Result(published=made).message().replace(digits, label * 2))


def prepared() -> kwok.End:
    """How a builder ends that holds no GPU."""
    return kwok.End(0, Result(prepared=Prepared(until="convert")).message())


def build() -> Manifest:
    return {
        "apiVersion": API,
        "kind": "EngineBuild",
        "metadata": {"name": "b"},
        "spec": {
            "modelName": "m",
            "model": {"huggingFace": {"repo": "org/m", "revision": "a" * 40}},
            "targets": [{"name": TARGET, "architecture": "sm_90"}],
            "store": {"persistentVolumeClaim": {"claimName": "engines"}},
        },
    }


def deployment(strategy: str) -> Manifest:
    return {
        "apiVersion": API,
        "kind": "InferenceDeployment",
        "metadata": {"name": "chat"},
        "spec": {
            "engine": {"buildRef": {"name": "b", "target": TARGET}},
            "replicas": REPLICAS,
            "rollout": STRATEGIES[strategy],
        },
    }


@dataclass
class Availability:
    """Looks all the while whether as many pods answer behind the Service as were asked for."""

    namespace: Any
    shortages: list[str] = field(default_factory=list)
    looks: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.over.wait(0.2):
            before = self._selector()
            pods = self.namespace.list("v1", "pods")
            if before is None or before != self._selector():
                continue  # the Service was changed while we looked
            labels = [pod["metadata"].get("labels", {}) for pod in pods if _answers(pod)]
            ready = sum(before.items() <= of.items() for of in labels)
            self.looks += 1
            if ready < REPLICAS:
                self.shortages.append(f"{ready} of {REPLICAS} pods behind {before}")

    def _selector(self) -> dict[str, str] | None:
        found = self.namespace.get("v1", "services", "chat")
        selector: dict[str, str] | None = found and found["spec"]["selector"]
        return selector


def _answers(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", ())
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


@dataclass
class ChaosStory:
    """One namespace's story, with a hook that is called at the start of each of its two parts."""

    namespace: Any
    until: Callable[..., Any]
    strategy: str

    def run(self, disturb: Callable[[float], None]) -> Counter[str]:
        """All of it; `disturb` gets the seconds that the part takes at rest. What is there then."""
        self.namespace.create("enginebuilds", build())
        self.namespace.create("inferencedeployments", deployment(self.strategy))
        disturb(6.0)
        self._until_serving(1)
        watched = Availability(self.namespace)
        thread = threading.Thread(target=watched.run)
        thread.start()
        try:
            limits = {"limits": {"maxBatchSize": 7}}
            self.namespace.merge(API, "enginebuilds", "b", {"spec": limits})
            disturb(11.0)
            self._until_serving(2)
        finally:
            watched.over.set()
            thread.join()
        assert watched.looks and watched.shortages == [], watched.shortages
        self.until(lambda: self.left() == {}, seconds=120)
        return self.objects()

    def _until_serving(self, revision: int) -> None:
        def serves() -> bool:
            found = self.namespace.get(API, "inferencedeployments", "chat") or {}
            status = found.get("status", {})
            ready = [c for c in status.get("conditions", ()) if c["type"] == "Ready"]
            history = status.get("rollout", {}).get("history", [])
            newest = history[0] if history else {}
            return bool(
                ready
                and ready[0]["status"] == "True"
                and (newest.get("revision"), newest.get("outcome")) == (revision, "Serving")
            )

        try:
            self.until(serves, seconds=180)
        except TimeoutError as error:
            there = "\n".join(sorted(self.objects()))
            raise AssertionError(
                f"revision {revision} is not served; there is:\n{there}"
            ) from error

    def left(self) -> dict[str, str]:
        """What is still to go, or without an owner: pods that end, old slots, orphans."""
        everything = self._everything()
        uids = {manifest["metadata"]["uid"] for _, manifest in everything}
        found = {}
        for plural, manifest in everything:
            meta = manifest["metadata"]
            owners = meta.get("ownerReferences", ())
            if meta.get("deletionTimestamp"):
                found[f"{plural} {meta['name']}"] = "is going"
            elif any(owner["uid"] not in uids for owner in owners):
                found[f"{plural} {meta['name']}"] = "its owner is gone"
        serving = [m for p, m in everything if p == "pods" and _is_serving(m)]
        if len(serving) != REPLICAS:
            found["pods"] = f"{len(serving)} serve"
        return found

    def objects(self) -> Counter[str]:
        """Every object by what it is, with how often: names that chance makes are left out."""
        return Counter(_described(plural, manifest) for plural, manifest in self._everything())

    def _everything(self) -> list[tuple[str, Manifest]]:
        return [
            (plural, manifest)
            for api, plurals in _KINDS.items()
            for plural in plurals
            for manifest in self.namespace.list(api, plural)
        ]


def _is_serving(pod: Manifest) -> bool:
    return "nacelle.dev/slot" in pod["metadata"].get("labels", {})


def _described(plural: str, manifest: Manifest) -> str:
    meta, status = manifest["metadata"], manifest.get("status", {})
    labels = meta.get("labels", {})
    made = plural in ("pods", "replicasets")
    name = meta["ownerReferences"][0]["kind"] if made else meta["name"]
    words = [plural, name]
    words += [labels[k] for k in ("nacelle.dev/slot", "nacelle.dev/revision") if k in labels]
    if plural == "pods":
        words += [labels.get("batch.kubernetes.io/job-name", ""), status.get("phase", "")]
    if plural in ("deployments", "replicasets"):
        words.append(f"{manifest['spec']['replicas']} replicas")
    if plural == "services":
        words.append(str(manifest["spec"]["selector"]))
    if plural in _KINDS[API]:
        told = status.get("conditions", ())
        words += [f"{c['type']}={c['status']}:{c['reason']}" for c in told]
        words += [f"attempts {t['attempts']}" for t in status.get("targets", ())]
        words += [
            f"{h['revision']} {h['engine']} {h['outcome']}"
            for h in status.get("rollout", {}).get("history", ())
        ]
    return " ".join(words)
