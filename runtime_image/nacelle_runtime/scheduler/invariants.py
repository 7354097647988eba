"""What must hold between two steps, whatever happened before."""

from collections.abc import Collection

from nacelle_runtime.request import Request
from nacelle_runtime.scheduler.admission import Admission
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.flights import MOST, Flights
from nacelle_runtime.scheduler.ledger import Ledger


def check(bounds: Bounds, ledger: Ledger, flights: Flights, admission: Admission) -> None:
    """Check requests, blocks and steps in flight; an AssertionError is a bug of ours."""
    running, waiting = admission.running, list(admission.waiting)
    held = [request.blocks for request in running]
    left = [blocks for flight in flights for blocks in flight.left]
    ledger.pool.check([block for blocks in (*held, *left) for block in blocks])
    owed = sum(ledger.owed(r) for r in running)
    assert ledger.promised == owed, f"promised {ledger.promised}, owed {owed}"
    assert ledger.free >= 0, "more is promised than there is"
    assert len(running) <= bounds.requests, "too many requests run"
    assert len(waiting) <= bounds.queue + bounds.requests, "too many wait"
    everyone = [*running, *waiting]
    assert len(everyone) == len(admission.requests), "a request stands twice, or is lost"
    assert set(admission.requests.values()) == set(everyone), "a request is lost"
    places = sorted(r.place for r in running)
    assert len(set(places)) == len(places), "two requests share a place"
    assert all(0 <= place < bounds.requests for place in places), "a place is out of range"
    for request in running:
        _check_running(request, bounds, ledger)
    for request in waiting:
        assert not request.blocks and not request.reserved, "a waiting request holds blocks"
        assert request.place < 0, "a waiting request has a place"
        assert request.computed == 0, "a waiting request has computed tokens"
        assert request.planned == request.awaited == 0, "a waiting request is in flight"
    _check_flights(flights, [*held, *left], running, bounds.tokens_per_block)


def _check_running(request: Request, bounds: Bounds, ledger: Ledger) -> None:
    held, size = len(request.blocks), bounds.tokens_per_block
    assert request.left > 0, f"{request.id} has nothing left to compute"
    assert request.computed <= request.planned, f"{request.id} has computed more than was launched"
    assert request.planned <= held * size, f"{request.id} is beyond its blocks"
    assert request.named <= held, f"{request.id} named more than it holds"
    assert request.named * size <= request.computed, f"{request.id} named what is not computed"
    assert request.reserved > 0, f"{request.id} runs with nothing reserved"
    if bounds.policy is Policy.GUARANTEED_NO_EVICT:
        assert held <= request.reserved, f"{request.id} holds more than it was promised"
    assert held <= ledger.blocks_for(request.longest), f"{request.id} holds more than it can use"
    most = request.ending.max_tokens
    assert request.produced < most, f"{request.id} has run past its end"
    assert request.produced + request.awaited <= most, f"{request.id} will run past its end"


def _check_flights(
    flights: Flights, held: list[list[int]], running: Collection[Request], size: int
) -> None:
    """What a step in flight writes is one list's of those held: its request's, or one that left."""
    assert len(flights) <= MOST, "too many steps in flight"
    holders: dict[int, list[list[int]]] = {}
    for blocks in held:
        for block in blocks:
            holders.setdefault(block, []).append(blocks)
    for flight in flights:
        for part in flight.batch.chunks:
            written = part.blocks[part.start // size : -(-part.end // size)]
            assert len(written) > 0, "a step writes to no block"
            for block in written:
                assert len(holders.get(block, [])) == 1, f"block {block} is written and given on"
                assert holders[block][0] is part.blocks, f"block {block} is written and another's"
    for request in running:
        draws = sum(
            len(part.draws) * (one is request)
            for flight in flights
            for part, one in zip(flight.batch.chunks, flight.requests, strict=True)
        )
        assert request.awaited == draws, f"{request.id} awaits {request.awaited} of {draws} draws"
