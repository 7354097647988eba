"""May this engine be served? An ordered list of checks: the first that finds something wins."""

from collections.abc import Callable

from nacelle_operator.conditions import STALLED, find, is_true
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.candidate import Candidate
from nacelle_operator.deployment.draft_checks import DRAFT
from nacelle_operator.deployment.engine_checks import missing, refused, unverified
from nacelle_operator.deployment.finding import Finding

Check = Callable[[Candidate], Finding | None]


def build_is_missing(candidate: Candidate) -> Finding | None:
    """The build that is referred to does not exist."""
    ref = candidate.resource.spec.engine.build_ref
    if ref is None or candidate.build is not None:
        return None
    return Finding(
        reasons.BUILD_NOT_FOUND,
        f"EngineBuild {ref.name} does not exist in this namespace: "
        "create it, or name another in spec.engine.buildRef",
    )


def target_is_missing(candidate: Candidate) -> Finding | None:
    """The build asks for no target of that name."""
    ref, build = candidate.resource.spec.engine.build_ref, candidate.build
    if ref is None or build is None or ref.target in {t.name for t in build.spec.targets}:
        return None
    known = ", ".join(target.name for target in build.spec.targets)
    return Finding(
        reasons.TARGET_NOT_FOUND,
        f"EngineBuild {ref.name} has no target {ref.target}; its targets are: {known}",
        stalled=True,
    )


def build_has_failed(candidate: Candidate) -> Finding | None:
    """The target's build has failed for good."""
    ref, target = candidate.resource.spec.engine.build_ref, candidate.target
    if ref is None or target is None or not is_true(target.conditions, STALLED):
        return None
    stalled = find(target.conditions, STALLED)
    code = stalled.reason if stalled else ""
    return Finding(
        reasons.BUILD_FAILED,
        f"EngineBuild {ref.name} failed for target {ref.target}: {code}: {target.message}",
        stalled=True,
    )


def engine_is_unpublished(candidate: Candidate) -> Finding | None:
    """The target has no engine yet."""
    ref, target = candidate.resource.spec.engine.build_ref, candidate.target
    if ref is None or candidate.engine_name:
        return None
    how_far = f": {target.stage}, {target.percent} %" if target and target.stage else ""
    return Finding(
        reasons.ENGINE_NOT_PUBLISHED,
        f"waiting for target {ref.target} of EngineBuild {ref.name}{how_far}",
    )


def engine_is_missing(candidate: Candidate) -> Finding | None:
    """The Engine does not exist, or is about to go."""
    return missing(f"Engine {candidate.engine_name}", candidate.engine)


def engine_is_refused(candidate: Candidate) -> Finding | None:
    """The Engine's bundle failed its checks."""
    assert candidate.engine is not None, "asked after engine_is_missing"
    return refused(f"Engine {candidate.engine_name}", candidate.engine)


def engine_is_unverified(candidate: Candidate) -> Finding | None:
    """The Engine's bundle has not been checked yet."""
    assert candidate.engine is not None, "asked after engine_is_missing"
    return unverified(f"Engine {candidate.engine_name}", candidate.engine)


def limit_is_exceeded(candidate: Candidate) -> Finding | None:
    """The runtime is asked for larger batches than the engine was built for."""
    assert candidate.engine is not None, "asked after engine_is_missing"
    asked = candidate.resource.spec.runtime.max_batch_size
    built = candidate.engine.spec.limits.max_batch_size
    if asked is None or asked <= built:
        return None
    return Finding(
        reasons.LIMIT_EXCEEDED,
        f"spec.runtime.maxBatchSize {asked} is above the {built} that Engine "
        f"{candidate.engine_name} was built for: lower it, or build with a larger limit",
        stalled=True,
    )


def image_is_missing(candidate: Candidate) -> Finding | None:
    """There is no runtime image for the engine's ABI."""
    assert candidate.engine is not None, "asked after engine_is_missing"
    abi = candidate.engine.spec.abi
    if candidate.resource.spec.runtime.image or abi in candidate.runtime_images:
        return None
    known = ", ".join(sorted(candidate.runtime_images)) or "none"
    return Finding(
        reasons.RUNTIME_IMAGE_MISSING,
        f"Engine {candidate.engine_name} needs runtime {abi} and the operator has {known}: "
        "rebuild the engine, or name an image in spec.runtime.image",
        stalled=True,
    )


def triton_image_is_missing(candidate: Candidate) -> Finding | None:
    """A Triton server is asked for, and there is no image of it for the engine's ABI."""
    assert candidate.engine is not None, "asked after engine_is_missing"
    triton, abi = candidate.resource.spec.frontends.triton, candidate.engine.spec.abi
    if not triton.enabled or triton.image or abi in candidate.triton_images:
        return None
    known = ", ".join(sorted(candidate.triton_images)) or "none"
    return Finding(
        reasons.TRITON_IMAGE_MISSING,
        f"Engine {candidate.engine_name} needs a Triton image for {abi} and the operator has "
        f"{known}: name one in spec.frontends.triton.image, or in the chart's value tritons",
        stalled=True,
    )


WANTED: tuple[Check, ...] = (
    build_is_missing,
    target_is_missing,
    build_has_failed,
    engine_is_unpublished,
    engine_is_missing,
    engine_is_refused,
    engine_is_unverified,
)
"""Before an engine may replace the one that is served."""

RENDER: tuple[Check, ...] = (
    engine_is_missing,
    limit_is_exceeded,
    image_is_missing,
    triton_image_is_missing,
    *DRAFT,
)
"""Before a pod template is rendered for an engine."""
