"""May this engine draft for that one? An ordered list of checks.

What only the bundles tell, such as their tokenizers, the runtime checks as it starts.
"""

from collections.abc import Callable

from nacelle_operator.api.engine import EngineSpec
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.candidate import Candidate
from nacelle_operator.deployment.engine_checks import missing, refused, unverified
from nacelle_operator.deployment.finding import Finding


def draft_is_missing(candidate: Candidate) -> Finding | None:
    """The Engine that is to draft does not exist, or is about to go."""
    return missing(_what(candidate), candidate.draft) if candidate.draft_name else None


def draft_is_refused(candidate: Candidate) -> Finding | None:
    """Its bundle failed its checks."""
    return refused(_what(candidate), candidate.draft) if candidate.draft else None


def draft_is_unverified(candidate: Candidate) -> Finding | None:
    """Its bundle has not been checked yet."""
    return unverified(_what(candidate), candidate.draft) if candidate.draft else None


def draft_is_elsewhere(candidate: Candidate) -> Finding | None:
    """It lies in another claim: a pod mounts one store."""
    return _differs(
        candidate,
        lambda spec: spec.store.persistent_volume_claim.claim_name,
        "lies in claim {other} and Engine {engine} in {one}: build or import it there",
    )


def draft_is_for_others(candidate: Candidate) -> Finding | None:
    """It is compiled for another architecture, product or runtime."""
    return (
        _differs(
            candidate,
            lambda spec: spec.architecture.value,
            "is for {other} and Engine {engine} for {one}: build it for the same architecture",
        )
        or _differs(
            candidate,
            lambda spec: spec.abi,
            "needs runtime {other} and Engine {engine} {one}: rebuild it with the same builder",
        )
        or _differs(
            candidate,
            lambda spec: spec.gpu_product or "any GPU of its architecture",
            "is for {other} and Engine {engine} for {one}: build it for the same GPU",
        )
    )


def _differs(
    candidate: Candidate, read: Callable[[EngineSpec], str], message: str
) -> Finding | None:
    engine, draft = candidate.engine, candidate.draft
    assert engine is not None, "asked after engine_is_missing"
    if draft is None or read(engine.spec) == read(draft.spec):
        return None
    said = message.format(
        other=read(draft.spec), one=read(engine.spec), engine=candidate.engine_name
    )
    return Finding(reasons.DRAFT_ENGINE_UNFIT, f"{_what(candidate)} {said}", stalled=True)


def _what(candidate: Candidate) -> str:
    return f"spec.runtime.speculative.draftEngineRef: Engine {candidate.draft_name}"


DRAFT: tuple[Callable[[Candidate], Finding | None], ...] = (
    draft_is_missing,
    draft_is_refused,
    draft_is_unverified,
    draft_is_elsewhere,
    draft_is_for_others,
)
"""Before pods are rendered that draft with it."""
