"""Which engine is wanted, and what names everything that its pods are rendered from."""

import hashlib
import json
from dataclasses import replace

from nacelle_operator.api.engine import Engine
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.candidate import Candidate
from nacelle_operator.deployment.observe import Observed

# What may change while a rollout goes on and says nothing of how it is judged.
_BY_HAND = {"paused", "promote"}


def wanted_engine(resource: InferenceDeployment, observed: Observed) -> Candidate:
    """The engine that the spec names, as far as it is there."""
    source, build, target, name = resource.spec.engine, observed.build, None, ""
    if source.engine_ref:
        name = source.engine_ref.name
    elif source.build_ref and build:
        wanted = source.build_ref.target
        target = next((t for t in build.status.targets if t.name == wanted), None)
        name = target.engine_ref.name if target and target.engine_ref else ""
    found = Candidate(
        resource=resource,
        build=build,
        target=target,
        engine_name=name,
        engine=observed.engines.get(name),
        runtime_images=observed.runtime_images,
        triton_images=observed.triton_images,
    )
    return replace(found, draft=observed.engines.get(found.draft_name or ""))


def fingerprint(resource: InferenceDeployment, engine: Engine, draft: Engine | None) -> str:
    """SHA-256, 64 hex digits, of all that pods are rendered from, defaults left out.

    So neither replicas, nor the rollout's pace, nor a field that a newer API adds with a default
    changes it.
    """
    spec = resource.spec
    settings = {
        "engine": _identity(engine),
        **({"draft": _identity(draft)} if draft else {}),
        **{
            name: part.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            for name, part in (
                ("runtime", spec.runtime),
                ("frontends", spec.frontends),
                ("pod", spec.pod),
            )
        },
    }
    return _digest(settings)


def _identity(engine: Engine) -> list[str]:
    claim = engine.spec.store.persistent_volume_claim.claim_name
    return [engine.metadata.name, engine.spec.digest, engine.spec.path, claim]


def terms(resource: InferenceDeployment) -> str:
    """16 hex digits of the settings that a rollout is judged by: others are worth another try."""
    return _digest(
        resource.spec.rollout.model_dump(mode="json", exclude_defaults=True, exclude=_BY_HAND)
    )[:16]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
