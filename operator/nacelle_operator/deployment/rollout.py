"""Which engine is wanted, and which revision of the pods is to be live."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from nacelle_operator.api.engine import Engine
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.checks import RENDER, WANTED, Candidate
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.objects.controller_revision import Revision, read_revision
from nacelle_operator.objects.names import SLOT, SLOTS, Slot
from nacelle_operator.objects.serving_pod import Served, pod_template

Renderer = Callable[[InferenceDeployment, Served], dict[str, object]]


@dataclass(frozen=True)
class Rollout:
    """The revision to be live, whether it is new, and what stands against the wanted one."""

    target_engine: str
    revision: Revision | None
    is_new: bool
    finding: Finding | None
    slot: Slot


def decide_rollout(
    resource: InferenceDeployment, observed: Observed, render: Renderer = pod_template
) -> Rollout:
    """The live revision stays as it is until its engine or the pods' settings change.

    `render` is asked for a new revision only, so an operator that renders otherwise than the
    last one restarts no pod. While the wanted engine is not there, the old one goes on, and
    changed settings reach it.
    """
    live = live_revision(observed)
    candidate = _candidate(resource, observed)
    finding = first_finding(WANTED, candidate)
    engine = candidate.engine
    if finding:
        engine = observed.engines.get(live.engine) if live else None
    slot = live.slot if live else _selected_slot(observed)
    kept = Rollout(candidate.engine_name, live, False, finding, slot)
    if engine is None or (live and live.fingerprint == fingerprint(resource, engine)):
        return kept
    serving = replace(candidate, engine_name=engine.metadata.name, engine=engine)
    unfit = first_finding(RENDER, serving)
    if unfit:
        return replace(kept, finding=finding or unfit)
    image = resource.spec.runtime.image or observed.runtime_images[engine.spec.abi]
    served = Served(
        engine=engine,
        image=image,
        slot=slot,
        number=live.number + 1 if live else 1,
        triton_image=_triton_image(resource, observed, engine),
    )
    revision = Revision(
        number=served.number,
        slot=slot,
        engine=engine.metadata.name,
        fingerprint=fingerprint(resource, engine),
        template=render(resource, served),
    )
    return replace(kept, revision=revision, is_new=True)


def live_revision(observed: Observed) -> Revision | None:
    """The newest revision; every one was live when it was made."""
    revisions = map(read_revision, observed.revisions)
    return max(revisions, key=lambda revision: revision.number, default=None)


def fingerprint(resource: InferenceDeployment, engine: Engine) -> str:
    """SHA-256, 64 hex digits, of all that pods are rendered from, defaults left out.

    So neither replicas, nor the rollout's pace, nor a field that a newer API adds with a default
    changes it.
    """
    spec = resource.spec
    settings = {
        "engine": [
            engine.metadata.name,
            engine.spec.digest,
            engine.spec.path,
            engine.spec.store.persistent_volume_claim.claim_name,
        ],
        **{
            name: part.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            for name, part in (
                ("runtime", spec.runtime),
                ("frontends", spec.frontends),
                ("pod", spec.pod),
            )
        },
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _triton_image(resource: InferenceDeployment, observed: Observed, engine: Engine) -> str | None:
    """The image of the Triton server beside the runtime; None when none is asked for."""
    triton = resource.spec.frontends.triton
    if not triton.enabled:
        return None
    return triton.image or observed.triton_images[engine.spec.abi]


def _candidate(resource: InferenceDeployment, observed: Observed) -> Candidate:
    source, build, target, name = resource.spec.engine, observed.build, None, ""
    if source.engine_ref:
        name = source.engine_ref.name
    elif source.build_ref and build:
        wanted = source.build_ref.target
        target = next((t for t in build.status.targets if t.name == wanted), None)
        name = target.engine_ref.name if target and target.engine_ref else ""
    return Candidate(
        resource=resource,
        build=build,
        target=target,
        engine_name=name,
        engine=observed.engines.get(name),
        runtime_images=observed.runtime_images,
        triton_images=observed.triton_images,
    )


def _selected_slot(observed: Observed) -> Slot:
    """The slot that the Service selects; the first one while there is none."""
    selected = (observed.service or {}).get("spec", {}).get("selector", {}).get(SLOT)
    return next((slot for slot in SLOTS if slot == selected), SLOTS[0])
