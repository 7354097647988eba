"""A cluster in memory that carries out plans and plays the Deployment controller."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from serving_cases import IMAGES, NOW, OLD, TRITONS, build, engine

from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.observe import Observed, observe
from nacelle_operator.deployment.plan import plan
from nacelle_operator.deployment.rollout import Renderer
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, UNWATCHED, Kind
from nacelle_operator.objects.serving_pod import pod_template
from nacelle_operator.plan import Plan
from nacelle_operator.seen import Seen

Manifest = dict[str, Any]


@dataclass
class ServingCluster:
    """The objects around one InferenceDeployment, read as the operator's cache is."""

    resource: InferenceDeployment
    engines: dict[str, Engine] = field(default_factory=dict)
    build: EngineBuild | None = None
    images: dict[str, str] = field(default_factory=dict)
    objects: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    pods: list[Manifest] = field(default_factory=list)
    restarts: int = 0
    activator_image: str = ""
    unknown: set[Kind] = field(default_factory=set)

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The build and the engines alone are read by their names."""
        if kind == ENGINE:
            engine = self.engines.get(name)
            return engine.model_dump(mode="json", by_alias=True) if engine else None
        assert kind == ENGINE_BUILD
        found = self.build and self.build.metadata.name == name
        return self.build.model_dump(mode="json", by_alias=True) if found else None

    def select(self, kind: Kind, namespace: Any = None, labels: Any = None) -> tuple[Any, ...]:
        """Objects of a kind with these labels."""
        if kind.name == "Pod":
            return tuple(self.pods)
        found = (o for (name, _), o in sorted(self.objects.items()) if name == kind.name)
        return tuple(o for o in found if labels.items() <= o["metadata"]["labels"].items())

    def observe(self) -> Observed:
        """What a plan is decided on, with what is read live; of `unknown` kinds nothing is."""
        seen = {
            kind: Seen(False) if kind in self.unknown else Seen(True, self._named(kind))
            for kind in UNWATCHED
        }
        observed = observe(self.resource, self, self.images, TRITONS)
        return replace(observed, unwatched=seen, activator_image=self.activator_image)

    def _named(self, kind: Kind) -> Manifest | None:
        return self.objects.get((kind.name, "chat"))

    def reconcile(self, now: datetime, render: Renderer = pod_template) -> Plan:
        """One plan, carried out."""
        made = plan(self.resource, self.observe(), now, render)
        for manifest in made.objects:
            self._apply(dict(manifest))
        for manifest in made.creates:
            assert (manifest["kind"], manifest["metadata"]["name"]) not in self.objects
            self._apply(dict(manifest))
        for deletion in made.deletes:
            del self.objects[deletion.kind, deletion.name]
        if made.status is not None:
            raw = self.resource.model_dump(mode="json", by_alias=True)
            self.resource = InferenceDeployment.parse({**raw, "status": dict(made.status)})
        return made

    def roll(self) -> None:
        """Bring every Deployment's pods to its template and number, all of them ready."""
        self.pods = []
        for (kind, name), manifest in tuple(self.objects.items()):
            if kind == "Deployment" and name != "chat-activator":
                spec, meta = manifest["spec"], manifest["metadata"]
                count = spec["replicas"]
                status = {
                    "observedGeneration": meta["generation"],
                    "replicas": count,
                    "readyReplicas": count,
                    "updatedReplicas": count,
                }
                self.objects[kind, name] = {**manifest, "status": status}
                self.pods += [_ready_pod(f"{name}-{n}", spec["template"]) for n in range(count)]

    def settle(self, now: datetime, rounds: int = 8) -> Plan:
        """Reconcile and roll until a plan changes nothing; an AssertionError if it never does."""
        for _ in range(rounds):
            before = (dict(self.objects), self.resource)
            made = self.reconcile(now)
            self.roll()
            if (self.objects, self.resource) == before:
                return made
        raise AssertionError(f"no rest after {rounds} rounds")

    def _apply(self, manifest: Manifest) -> None:
        # As it is sent, and a copy.
        manifest = json.loads(json.dumps(manifest))
        place = (manifest["kind"], manifest["metadata"]["name"])
        present = self.objects.get(place)
        if present is None:
            manifest["metadata"] = {**manifest["metadata"], "generation": 1, "uid": str(place)}
            self.objects[place] = manifest
            return
        if manifest["kind"] == "ControllerRevision":
            assert present["data"] == manifest["data"], "a revision's data can never change"
        if manifest["kind"] == "Deployment":
            assert present["spec"]["selector"] == manifest["spec"]["selector"]
            self.restarts += present["spec"]["template"] != manifest["spec"]["template"]
        generation = present["metadata"]["generation"]
        generation += present.get("spec") != manifest.get("spec")
        meta = {**manifest["metadata"], "generation": generation, "uid": str(place)}
        self.objects[place] = {**present, **manifest, "metadata": meta}


def _ready_pod(name: str, template: Manifest) -> Manifest:
    return {
        "metadata": {"name": name, "labels": dict(template["metadata"]["labels"])},
        "spec": {"nodeName": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def at_rest(resource: InferenceDeployment) -> ServingCluster:
    """The resource once it serves the old engine, and all is done."""
    made = ServingCluster(
        resource=resource,
        engines={f"eng-{OLD[:16]}": engine(OLD)},
        build=build(OLD),
        images=dict(IMAGES),
    )
    made.settle(NOW)
    return made


def edited(resource: InferenceDeployment, **spec: Any) -> InferenceDeployment:
    """The resource with these fields of its spec; None takes one away."""
    raw = resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["metadata"]["generation"] += 1
    kept = {**raw["spec"], **spec}
    return InferenceDeployment.parse(
        {**raw, "spec": {name: value for name, value in kept.items() if value is not None}}
    )
