"""What a deployment's plan is decided on: gathered from the cache, then never changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENGINE,
    ENGINE_BUILD,
    HORIZONTAL_POD_AUTOSCALER,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    Kind,
)
from nacelle_operator.objects import names
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels
from nacelle_operator.objects.metadata import serving_labels
from nacelle_operator.objects.tally import Tally
from nacelle_operator.plan import KubernetesObject
from nacelle_operator.seen import Seen


class Reader(Protocol):
    """Where objects are looked up; the operator's cache."""

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """One object, or None."""

    def select(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], ...]:
        """Objects that carry all of the labels."""


@dataclass(frozen=True)
class Observed:
    """A deployment's surroundings: what it refers to, its children, the operator's images.

    `endpoints`: how many pods of each slot are ready behind the slot's own Service.
    `activator`: the objects of what answers while no pod does. `unwatched`: objects of kinds that
    a cluster may not know. `tally`: what the pods of the revision under way have counted, if it is
    asked for and can be read.
    """

    build: EngineBuild | None = None
    engines: Mapping[str, Engine] = field(default_factory=dict)
    deployments: Mapping[names.Slot, KubernetesObject] = field(default_factory=dict)
    service: KubernetesObject | None = None
    budget: KubernetesObject | None = None
    autoscaler: KubernetesObject | None = None
    slot_services: Mapping[names.Slot, KubernetesObject] = field(default_factory=dict)
    endpoints: Mapping[names.Slot, int] = field(default_factory=dict)
    network_policy: KubernetesObject | None = None
    activator: tuple[KubernetesObject, ...] = ()
    unwatched: Mapping[Kind, Seen] = field(default_factory=dict)
    revisions: tuple[KubernetesObject, ...] = ()
    pods: tuple[KubernetesObject, ...] = ()
    tally: Tally | None = None
    runtime_images: Mapping[str, str] = field(default_factory=dict)
    triton_images: Mapping[str, str] = field(default_factory=dict)
    activator_image: str = ""
    gpu_labels: GpuLabels = FEATURE_DISCOVERY

    def seen(self, kind: Kind) -> Seen:
        """The object of that kind and the resource's name; none where none was looked for."""
        return self.unwatched.get(kind, Seen(True))


def observe(
    resource: InferenceDeployment,
    reader: Reader,
    runtime_images: Mapping[str, str],
    triton_images: Mapping[str, str],
) -> Observed:
    """The surroundings of a deployment as the reader knows them."""
    namespace, name = resource.metadata.namespace, resource.metadata.name
    ref = resource.spec.engine.build_ref
    raw = reader.get(ENGINE_BUILD, namespace, ref.name) if ref else None
    build = EngineBuild.parse(raw) if raw else None
    labels = serving_labels(resource)
    revisions = reader.select(CONTROLLER_REVISION, namespace, labels)
    return Observed(
        build=build,
        engines=_engines(reader, namespace, _concerned(resource, build, revisions)),
        deployments=_by_slot(name, reader.select(DEPLOYMENT, namespace, labels)),
        service=_ours(reader, SERVICE, resource),
        budget=_ours(reader, POD_DISRUPTION_BUDGET, resource),
        autoscaler=_ours(reader, HORIZONTAL_POD_AUTOSCALER, resource),
        network_policy=_ours(reader, NETWORK_POLICY, resource),
        activator=tuple(_of_activator(reader, resource)),
        slot_services=_by_slot(name, reader.select(SERVICE, namespace, labels)),
        endpoints=_endpoints(name, reader.select(ENDPOINT_SLICE, namespace, labels)),
        revisions=revisions,
        pods=reader.select(POD, namespace, labels),
        runtime_images=runtime_images,
        triton_images=triton_images,
    )


def _concerned(
    resource: InferenceDeployment,
    build: EngineBuild | None,
    revisions: Iterable[Mapping[str, Any]],
) -> Iterator[str]:
    """The engines that a deployment may come to serve, draft with, or go back to."""
    engine, draft = resource.spec.engine.engine_ref, resource.spec.runtime.speculative
    if engine:
        yield engine.name
    if draft and draft.draft_engine_ref:
        yield draft.draft_engine_ref.name
    for target in build.status.targets if build else ():
        if target.engine_ref:
            yield target.engine_ref.name
    yield from (revision["data"]["engine"] for revision in revisions)


def _engines(reader: Reader, namespace: str, wanted: Iterable[str]) -> dict[str, Engine]:
    found = {name: reader.get(ENGINE, namespace, name) for name in wanted}
    return {name: Engine.parse(raw) for name, raw in found.items() if raw}


def _by_slot(name: str, manifests: Iterable[dict[str, Any]]) -> dict[names.Slot, KubernetesObject]:
    """Those of the objects that bear a slot's name."""
    slots = {names.slot_name(name, slot): slot for slot in names.SLOTS}
    named = ((slots.get(m["metadata"]["name"]), m) for m in manifests)
    return {slot: manifest for slot, manifest in named if slot}


def _endpoints(name: str, slices: Iterable[dict[str, Any]]) -> dict[names.Slot, int]:
    """Ready pods by slot; a Service of two families of addresses lists each pod twice."""
    slots = {names.slot_name(name, slot): slot for slot in names.SLOTS}
    found: dict[names.Slot, set[str]] = {slot: set() for slot in names.SLOTS}
    for part in slices:
        slot = slots.get(part["metadata"]["labels"].get(names.SERVICE_NAME, ""))
        if slot:
            found[slot].update(
                endpoint.get("targetRef", {}).get("name", "")
                for endpoint in part.get("endpoints") or ()
                if endpoint.get("conditions", {}).get("ready")
            )
    return {slot: len(pods) for slot, pods in found.items()}


def _of_activator(reader: Reader, resource: InferenceDeployment) -> Iterator[KubernetesObject]:
    name, labels = names.activator_name(resource.metadata.name), serving_labels(resource)
    for kind in (NETWORK_POLICY, DEPLOYMENT, SERVICE):
        found = reader.select(kind, resource.metadata.namespace, labels)
        yield from (m for m in found if m["metadata"]["name"] == name)


def _ours(reader: Reader, kind: Kind, resource: InferenceDeployment) -> dict[str, Any] | None:
    """The child of that kind that bears the resource's own name."""
    found = reader.select(kind, resource.metadata.namespace, serving_labels(resource))
    return next((m for m in found if m["metadata"]["name"] == resource.metadata.name), None)
