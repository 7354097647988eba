"""Which revision of the pods is aimed at, and which are given up for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from nacelle_operator.api.engine import Engine
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.candidate import Candidate
from nacelle_operator.deployment.checks import RENDER, WANTED
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.history import History
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.wanted import fingerprint, terms, wanted_engine
from nacelle_operator.objects import memory
from nacelle_operator.objects.controller_revision import Revision
from nacelle_operator.objects.names import REVISION, SLOT, SLOTS, Slot, other_slot
from nacelle_operator.objects.serving_pod import Served, pod_template

Renderer = Callable[[InferenceDeployment, Served], dict[str, object]]


@dataclass(frozen=True)
class Rollout:
    """The revision to be live, whether it is new, and what stands against the wanted one.

    `stable` is the one to fall back to. `failed` is wanted and not tried again. `superseded` are
    on their way and no longer wanted. `held`: something is to be started, and rollouts are paused.
    """

    target_engine: str
    revision: Revision | None
    is_new: bool
    finding: Finding | None
    slot: Slot
    stable: Revision | None = None
    failed: Revision | None = None
    superseded: tuple[Revision, ...] = ()
    held: bool = False


def decide_rollout(
    resource: InferenceDeployment, observed: Observed, render: Renderer = pod_template
) -> Rollout:
    """The live revision stays as it is until its engine or the pods' settings change.

    `render` is asked for a new revision only, so an operator that renders otherwise than the
    last one restarts no pod. While the wanted engine is not there, the old one goes on, and
    changed settings reach it.
    """
    history = History.read(observed.revisions)
    newest, stable, current = history.newest, history.stable, history.current
    candidate = wanted_engine(resource, observed)
    finding = first_finding(WANTED, candidate)
    engine = candidate.engine
    if finding:
        engine = observed.engines.get(current.engine) if current else None
    slot = current.slot if current else _selected_slot(observed)
    kept = Rollout(candidate.engine_name, current, False, finding, slot, stable)
    if engine is None:
        return kept
    wanted = fingerprint(resource, engine, candidate.draft)
    if current and current.fingerprint == wanted and current is newest:
        return kept
    if _is_given_up(resource, newest, wanted) and stable:
        return replace(kept, failed=newest)
    back = stable is not None and stable.fingerprint == wanted
    if back and stable is current and (finding or not _can_be_tried_again(newest)):
        return kept
    if resource.spec.rollout.paused:
        return replace(kept, held=True)
    superseded = _superseded(newest)
    if back and stable:
        return replace(kept, revision=stable, slot=stable.slot, superseded=superseded)
    serving = replace(candidate, engine_name=engine.metadata.name, engine=engine)
    unfit = first_finding(RENDER, serving)
    if unfit:
        return replace(kept, finding=finding or unfit)
    revision = _render(serving, observed, render, (_free_slot(kept, resource), wanted))
    return replace(kept, revision=revision, is_new=True, slot=revision.slot, superseded=superseded)


def _render(
    serving: Candidate, observed: Observed, render: Renderer, place: tuple[Slot, str]
) -> Revision:
    """The revision that serves this engine, in this slot, of this fingerprint."""
    assert serving.engine is not None, "asked after engine_is_missing"
    slot, wanted = place
    engine = serving.engine
    image = serving.resource.spec.runtime.image or observed.runtime_images[engine.spec.abi]
    served = Served(
        engine=engine,
        image=image,
        slot=slot,
        number=_last_number(observed) + 1,
        triton_image=_triton_image(serving.resource, observed, engine),
        draft=serving.draft,
        gpu_labels=observed.gpu_labels,
    )
    return Revision(
        number=served.number,
        slot=slot,
        engine=engine.metadata.name,
        fingerprint=wanted,
        template=render(serving.resource, served),
    )


def _is_given_up(resource: InferenceDeployment, newest: Revision | None, wanted: str) -> bool:
    """Whether what is wanted has failed, on the same terms."""
    if newest is None or newest.fingerprint != wanted or newest.memory.outcome != memory.FAILED:
        return False
    return newest.memory.terms == terms(resource)


def _can_be_tried_again(newest: Revision | None) -> bool:
    """Whether a failure is still held against what may be asked for once more."""
    return (
        newest is not None and newest.memory.outcome == memory.FAILED and bool(newest.memory.terms)
    )


def _superseded(newest: Revision | None) -> tuple[Revision, ...]:
    """The newest revision as it is once something else is wanted: what was wanted in between makes
    a failed one worth another try.
    """
    if newest is None or newest.memory.outcome in (memory.SERVING, memory.SUPERSEDED):
        return ()
    if newest.memory.outcome == memory.FAILED:
        return (replace(newest, memory=replace(newest.memory, terms="")),)
    return (replace(newest, memory=replace(newest.memory, outcome=memory.SUPERSEDED)),)


def _free_slot(kept: Rollout, resource: InferenceDeployment) -> Slot:
    """Where a new revision comes up: beside the stable one, or in its place."""
    if kept.stable is None:
        return kept.slot
    if resource.spec.rollout.strategy == "RollingUpdate":
        return kept.stable.slot
    return other_slot(kept.stable.slot)


def _last_number(observed: Observed) -> int:
    """The highest number that a revision has, or had if its pods are still there."""
    kept = (int(manifest["revision"]) for manifest in observed.revisions)
    labels = (m["metadata"].get("labels", {}) for m in observed.deployments.values())
    return max((*kept, *(int(found.get(REVISION, 0)) for found in labels)), default=0)


def _triton_image(resource: InferenceDeployment, observed: Observed, engine: Engine) -> str | None:
    """The image of the Triton server beside the runtime; None when none is asked for."""
    triton = resource.spec.frontends.triton
    if not triton.enabled:
        return None
    return triton.image or observed.triton_images[engine.spec.abi]


def _selected_slot(observed: Observed) -> Slot:
    """The slot that the Service selects; the first one while there is none."""
    selected = (observed.service or {}).get("spec", {}).get("selector", {}).get(SLOT)
    return next((slot for slot in SLOTS if slot == selected), SLOTS[0])
