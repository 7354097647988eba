"""Which revisions are kept, and what is shown of them."""

from collections.abc import Iterator

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.api.rollout_status import RevisionStatus
from nacelle_operator.deployment.history import History
from nacelle_operator.deployment.move import Move
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.objects import memory
from nacelle_operator.objects.controller_revision import Revision


def kept_revisions(
    resource: InferenceDeployment, observed: Observed, move: Move | None
) -> tuple[Revision, ...]:
    """The newest ones up to the limit, and whatever has pods; newest first, as they are now."""
    history = History.read(observed.revisions)
    written = {revision.number: revision for revision in (move.written if move else ())}
    known = {revision.number: revision for revision in history.revisions} | written
    newest_first = sorted(known.values(), key=lambda revision: -revision.number)
    used = set(_used(move))
    limit = resource.spec.rollout.revision_history_limit + 1
    return tuple(
        revision
        for place, revision in enumerate(newest_first)
        if place < limit or revision.number in used
    )


def told(kept: tuple[Revision, ...]) -> tuple[RevisionStatus, ...]:
    """What the status shows of revisions, newest first."""
    serving = next((r.number for r in kept if r.memory.outcome == memory.SERVING), 0)
    return tuple(_told(revision, serving) for revision in kept)


def _told(revision: Revision, serving: int) -> RevisionStatus:
    kept = revision.memory
    is_past = kept.outcome == memory.SERVING and revision.number != serving
    return RevisionStatus(
        revision=revision.number,
        engine=revision.engine,
        started=kept.started,
        ended=kept.ended,
        outcome="Replaced" if is_past else kept.outcome,
        message=kept.message[:4096],
    )


def _used(move: Move | None) -> Iterator[int]:
    if move is None:
        return
    for sized in move.deployments:
        yield sized.revision.number
    for revision in (move.case.aim, move.case.stable, move.failed):
        if revision:
            yield revision.number
