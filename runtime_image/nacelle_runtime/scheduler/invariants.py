"""What must hold between two steps, whatever happened before."""

from collections.abc import Collection

from nacelle_runtime.request import Request, RequestId
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.ledger import Ledger


def check(
    bounds: Bounds,
    ledger: Ledger,
    requests: dict[RequestId, Request],
    running: Collection[Request],
    waiting: Collection[Request],
) -> None:
    """Check requests and blocks against each other; an AssertionError is a bug of ours."""
    ledger.pool.check([block for request in running for block in request.blocks])
    owed = sum(ledger.owed(r) for r in running)
    assert ledger.promised == owed, f"promised {ledger.promised}, owed {owed}"
    assert ledger.free >= 0, "more is promised than there is"
    assert len(running) <= bounds.requests, "too many requests run"
    everyone = [*running, *waiting]
    assert len(everyone) == len(requests), "a request stands twice, or is lost"
    assert set(requests.values()) == set(everyone), "a request is lost"
    places = sorted(r.place for r in running)
    assert len(set(places)) == len(places), "two requests share a place"
    assert all(0 <= place < bounds.requests for place in places), "a place is out of range"
    for request in running:
        _check_running(request, bounds, ledger)
    for request in waiting:
        assert not request.blocks and not request.reserved, "a waiting request holds blocks"
        assert request.place < 0, "a waiting request has a place"
        assert request.computed == 0, "a waiting request has computed tokens"


def _check_running(request: Request, bounds: Bounds, ledger: Ledger) -> None:
    held = len(request.blocks)
    assert request.computed < len(request.tokens), f"{request.id} has nothing left to compute"
    assert request.computed <= held * bounds.tokens_per_block, f"{request.id} is beyond its blocks"
    assert request.named <= held, f"{request.id} named more than it holds"
    assert request.reserved > 0, f"{request.id} runs with nothing reserved"
    if bounds.policy is Policy.GUARANTEED_NO_EVICT:
        assert held <= request.reserved, f"{request.id} holds more than it was promised"
    assert held <= ledger.blocks_for(request.longest), f"{request.id} holds more than it can use"
    assert request.produced < request.ending.max_tokens, f"{request.id} has run past its end"
