"""The plan for an EngineBuild: every target's decision, put together into objects and a status."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.engine_build_status import (
    EngineBuildStatus,
    TargetStatus,
    ToolchainStatus,
)
from nacelle_operator.build import reasons
from nacelle_operator.build.decision import Decision, Failing, Progressing, Publishing
from nacelle_operator.build.narrate import narrate
from nacelle_operator.build.observed import Manifest, Observed
from nacelle_operator.build.outcome import is_told
from nacelle_operator.build.request import (
    pinned_toolchain,
    target_requests,
    todays_toolchain,
    wanted_jobs,
)
from nacelle_operator.build.target import decide, silent_job
from nacelle_operator.build.target_input import TargetInput
from nacelle_operator.build.target_status import DecidedTarget, target_status
from nacelle_operator.conditions import READY, RECONCILING, STALLED, Verdict, carry
from nacelle_operator.kinds import ENGINE, JOB
from nacelle_operator.objects import names
from nacelle_operator.plan import Deletion, Patch, Plan

STORE_NOT_SHARED = "StoreNotShared"
TOOLCHAIN_OUTDATED = "ToolchainOutdated"


def plan(build: EngineBuild, observed: Observed, current: Toolchain, now: datetime) -> Plan:
    """What to write for a build; `current` is the toolchain that new generations are pinned to."""
    toolchain = pinned_toolchain(build, current)
    decided = [
        DecidedTarget(target.request, target.previous, decide(target))
        for target in _targets(build, observed, current, now)
    ]
    statuses = tuple(target_status(build, each, observed, now) for each in decided)
    decisions = [each.decision for each in decided]
    status = EngineBuildStatus(
        observed_generation=build.metadata.generation,
        conditions=carry(
            build.status.conditions,
            [
                *_verdicts(build, decided),
                *_warnings(observed, toolchain, todays_toolchain(build, current), build),
            ],
            generation=build.metadata.generation,
            now=now,
        ),
        progress_percent=sum(s.percent for s in statuses) // max(1, len(statuses)),
        stage=_furthest_behind(statuses),
        toolchain=ToolchainStatus(builder_image=toolchain.builder_image, abi=toolchain.abi),
        targets=statuses,
    )
    creates = {
        manifest["metadata"]["name"]: manifest
        for decision in decisions
        if not isinstance(decision, Failing)
        for manifest in decision.creates
    }
    return Plan(
        creates=tuple(creates.values()),
        patches=(*_patches(decisions), *_deletion_policies(build, observed, decisions)),
        deletes=(*_deletes(decisions), *unwanted_jobs(observed, current)),
        status=status.plain(),
        requeue_seconds=_soonest(decisions),
        events=narrate(build.status, status),
        uid=build.metadata.uid,
    )


def silent_jobs(
    build: EngineBuild, observed: Observed, current: Toolchain, now: datetime
) -> tuple[Manifest, ...]:
    """Finished Jobs whose pods decide on targets and are not known to have told how it went.

    A plan is to be made after a look at all of their pods.
    """
    if all(is_told(job, observed.pods.get(name, ())) for name, job in observed.jobs.items()):
        return ()
    targets = _targets(build, observed, current, now)
    return tuple(job for target in targets if (job := silent_job(target)))


def _targets(
    build: EngineBuild, observed: Observed, current: Toolchain, now: datetime
) -> Iterable[TargetInput]:
    toolchain = pinned_toolchain(build, current)
    for request in target_requests(build, current):
        yield TargetInput(build, request, toolchain, observed, now)


def plan_gone(observed: Observed, current: Toolchain) -> Plan:
    """The plan when the build does not exist any more: Jobs that nobody wants go."""
    return Plan(deletes=unwanted_jobs(observed, current))


def unwanted_jobs(observed: Observed, current: Toolchain) -> tuple[Deletion, ...]:
    """Those of the Jobs that no build asks for, its present spec considered."""
    return tuple(
        Deletion(JOB.api_version, JOB.name, name, job["metadata"]["uid"])
        for name, job in observed.jobs.items()
        if not _is_wanted(name, job, observed, current)
    )


def _is_wanted(name: str, job: Mapping[str, Any], observed: Observed, current: Toolchain) -> bool:
    creator = observed.builds.get(job["metadata"]["labels"].get(names.BUILD, ""))
    if name in observed.ahead or (creator and name in wanted_jobs(creator, current)):
        return True
    return any(name in wanted_jobs(build, current) for build in observed.builds.values())


def _verdicts(build: EngineBuild, decided: Sequence[DecidedTarget]) -> Iterable[Verdict]:
    failed = [d for d in decided if isinstance(d.decision, Failing)]
    going = [d for d in decided if isinstance(d.decision, Progressing)]
    total = len(decided)
    if not failed and not going:
        said = f"{total} of {total} engines are published"
        yield Verdict(READY, "True", reasons.ALL_TARGETS_PUBLISHED, said)
        return
    reason, message = _not_ready(build, failed, going, total)
    yield Verdict(READY, "False", reason, message)
    at_work = [d for d in going if _reason(d) != reasons.SUSPENDED]
    if at_work:
        first = at_work[0]
        yield Verdict(RECONCILING, "True", _reason(first), _sentence(first))
    elif failed:
        yield Verdict(STALLED, "True", reasons.TARGETS_FAILED, message)


def _not_ready(
    build: EngineBuild,
    failed: Sequence[DecidedTarget],
    going: Sequence[DecidedTarget],
    total: int,
) -> tuple[str, str]:
    if failed:
        return reasons.TARGETS_FAILED, "; ".join(_sentence(each) for each in failed)
    if build.spec.suspend:
        return reasons.SUSPENDED, "suspend is true: nothing is started, and running Jobs are ended"
    return reasons.BUILDING, f"{total - len(going)} of {total} engines are published"


def _reason(decided: DecidedTarget) -> str:
    decision = decided.decision
    return decision.failure.code if isinstance(decision, Failing) else decision.reason


def _sentence(decided: DecidedTarget) -> str:
    decision, name = decided.decision, decided.request.target.name
    if isinstance(decision, Failing):
        return f"{name}: {decision.failure.code}: {decision.failure.message}"
    return f"{name}: {decision.message}" if isinstance(decision, Progressing) else name


def _warnings(
    observed: Observed, pinned: Toolchain, current: Toolchain, build: EngineBuild
) -> Iterable[Verdict]:
    store = build.spec.store.persistent_volume_claim.claim_name
    claim = observed.claims.get(store)
    if claim and claim.exists and not claim.shared:
        yield Verdict(
            STORE_NOT_SHARED,
            "True",
            reasons.STORE_NOT_SHARED,
            f"claim {store} is {', '.join(claim.access_modes)}: builds and replicas all land on "
            "its node; several nodes need ReadWriteMany",
        )
    if pinned != current:
        yield Verdict(
            TOOLCHAIN_OUTDATED,
            "True",
            reasons.TOOLCHAIN_OUTDATED,
            f"pinned to {pinned.builder_image} ({pinned.abi}); today's builder is "
            f"{current.builder_image} ({current.abi}): any change of the spec takes it",
        )


def _furthest_behind(statuses: Sequence[TargetStatus]) -> str:
    unfinished = [status for status in statuses if status.engine_ref is None]
    return min(unfinished, key=lambda status: status.percent).stage if unfinished else ""


def _patches(decisions: Iterable[Decision]) -> tuple[Patch, ...]:
    return tuple(
        patch
        for decision in decisions
        if not isinstance(decision, Progressing)
        for patch in decision.patches
    )


def _deletes(decisions: Iterable[Decision]) -> tuple[Deletion, ...]:
    return tuple(
        deletion
        for decision in decisions
        if not isinstance(decision, Publishing)
        for deletion in decision.deletes
    )


def _deletion_policies(
    build: EngineBuild, observed: Observed, decisions: Iterable[Decision]
) -> Iterable[Patch]:
    """A build's changed deletionPolicy reaches the engines that it made itself."""
    for decision in decisions:
        engine = isinstance(decision, Publishing) and observed.engines.get(decision.engine)
        if not engine or engine.metadata.labels.get(names.BUILD) != build.metadata.name:
            continue
        policy = build.spec.deletion_policy
        if engine.spec.deletion_policy != policy:
            fields = {"spec": {"deletionPolicy": policy}}
            yield Patch(ENGINE.api_version, ENGINE.name, engine.metadata.name, fields)


def _soonest(decisions: Iterable[Decision]) -> float | None:
    asked = [d.requeue for d in decisions if isinstance(d, Progressing) and d.requeue is not None]
    return min(asked) if asked else None
