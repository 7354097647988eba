"""Is an Engine there and sound? Asked of the one to serve and of the one that drafts for it.

`what` is the Engine as the message names it.
"""

from nacelle_operator.api.engine import Engine
from nacelle_operator.conditions import READY, STALLED, find
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.finding import Finding


def missing(what: str, engine: Engine | None) -> Finding | None:
    """It does not exist, or is about to go."""
    if engine is None:
        return Finding(reasons.ENGINE_NOT_FOUND, f"{what} does not exist")
    if engine.metadata.deletion_timestamp:
        return Finding(reasons.ENGINE_NOT_FOUND, f"{what} is being deleted")
    return None


def refused(what: str, engine: Engine) -> Finding | None:
    """Its bundle failed its checks."""
    stalled = find(engine.status.conditions, STALLED)
    if stalled is None or stalled.status != "True":
        return None
    said = f"{what} cannot be served: {stalled.reason}: {stalled.message}"
    return Finding(reasons.ENGINE_REFUSED, said, stalled=True)


def unverified(what: str, engine: Engine) -> Finding | None:
    """Its bundle has not been checked yet."""
    ready = find(engine.status.conditions, READY)
    if ready and ready.status == "True":
        return None
    said = f": {ready.message}" if ready and ready.message else ""
    return Finding(reasons.ENGINE_NOT_VERIFIED, f"{what} is not ready{said}")
