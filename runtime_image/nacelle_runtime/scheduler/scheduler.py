"""Iteration-level batching: which tokens of which requests the next step runs."""

from collections.abc import Iterable

from nacelle_runtime.batch import Batch, Drawn, Produced
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import FinishReason, Refusal, RefusalCode, Request, RequestId
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.chunks import decode
from nacelle_runtime.scheduler.flights import Flights
from nacelle_runtime.scheduler.invariants import check
from nacelle_runtime.scheduler.ledger import Ledger
from nacelle_runtime.scheduler.prompts import PromptShare, Share
from nacelle_runtime.scheduler.queue import WaitingQueue, standing
from nacelle_runtime.scheduler.refusals import refusal


class Scheduler:
    """The requests that wait and run, and the blocks they hold.

    A step holds one token of every answer that runs, and prompts in order of admission as far as
    the budget of tokens allows. queue.py says who is admitted next, bounds.py under which policy.
    A request put back keeps its answer so far: what is computed again are its K and V, and the next
    token is drawn at the same position, so the answer is the same.

    Steps are scheduled, and committed in that order; one may be scheduled while the one before is
    in flight. A request whose token that one draws goes on by the draw's number, if nothing but the
    token's id is missing. A stop id is seen a step late then: what that step drew for the request
    is dropped.
    """

    def __init__(self, bounds: Bounds, pool: BlockPool, prefixes: PrefixCache | None) -> None:
        self.bounds = bounds
        self.pool = pool
        self.waiting = WaitingQueue(bounds.patience)
        self.running: list[Request] = []
        self.preemptions = 0
        self._ledger = Ledger(pool, prefixes, bounds.tokens_per_block, bounds.policy)
        self._flights = Flights()
        self._requests: dict[RequestId, Request] = {}
        self._places = list(reversed(range(bounds.requests)))
        self._arrivals = 0
        self._prompts = PromptShare(bounds, self._ledger)

    @property
    def idle(self) -> bool:
        """True when no request waits or runs, and no step is in flight."""
        return not self._requests and not self._flights

    @property
    def requests(self) -> list[RequestId]:
        """The requests that wait or run, in order of arrival."""
        return list(self._requests)

    @property
    def hit_tokens(self) -> int:
        """Prompt tokens that were found in the prefix cache."""
        return self._ledger.hit_tokens

    @property
    def asked_tokens(self) -> int:
        """Prompt tokens of all requests admitted so far."""
        return self._ledger.asked_tokens

    def submit(self, request: Request) -> Refusal | None:
        """Queue a request, or say why not."""
        found = self._refusal(request)
        if found is None:
            request.number = self._arrivals
            self._arrivals += 1
            self._requests[request.id] = request
            self.waiting.add(request)
            self._admit()
        return found

    def cancel(self, requests: Iterable[RequestId]) -> int:
        """Forget requests and free their blocks; gives how many of them there still were."""
        cancelled = 0
        for name in requests:
            request = self._requests.get(name)
            if request is None:
                continue
            cancelled += 1
            if request.reserved:
                self._finish(request)
            else:
                self.waiting.remove(request)
                del self._requests[name]
        return cancelled

    def schedule(self) -> Batch | None:
        """The next step's batch: every answer's next token, then prompts; it is in flight from now.

        None when there is nothing to run: idle, or until a step in flight has ended.
        """
        if not self._let_in():
            return None
        size = self.bounds.tokens_per_block
        answers = Share([], [])
        chunks, requests = answers
        prompts: list[Request] = []
        for request in self.running:
            end = request.planned + 1
            if end != len(request.tokens) + request.awaited:
                prompts.append(request)
                continue
            if request.awaited and not request.ready:
                continue
            if end > len(request.blocks) * size:
                self._ledger.take(request)
            chunks.append(decode(request))
            requests.append(request)
        share = self._prompts.beside(answers, prompts) if prompts else answers
        if not share.chunks:
            return None
        batch = Batch(share.chunks)
        self._flights.launch(batch, share.requests)
        return batch

    def commit(self, batch: Batch, drawn: Drawn) -> list[Produced]:
        """Take over what the oldest step in flight computed; it has ended."""
        flight = self._flights.end(batch)
        produced: list[Produced] = []
        draws = 0
        for number, (part, request) in enumerate(zip(batch.chunks, flight.requests, strict=True)):
            draw = draws
            if part.draw is not None:
                draws += 1
            if request.place < 0:
                continue  # it ended while the step was in flight
            request.computed = part.start + len(part.tokens)
            self._ledger.store(request)
            if part.score is not None:
                request.scores.extend(drawn.scores[number])
            if part.draw is not None:
                produced.append(self._append(request, drawn, draw))
        for blocks in flight.left:
            self._ledger.release(blocks)
        return produced

    def check(self) -> None:
        """Check every invariant of requests and blocks; an AssertionError is a bug of ours."""
        check(
            self.bounds,
            self._ledger,
            self._flights,
            self._requests,
            self.running,
            list(self.waiting),
        )
        assert len(self.waiting) <= self.bounds.queue + self.bounds.requests, "too many wait"

    def _refusal(self, request: Request) -> Refusal | None:
        if request.id in self._requests:
            return Refusal(RefusalCode.INVALID, f"request {request.id} is there already")
        found = refusal(request, self.bounds)
        if found is None and self._ledger.blocks_for(request.longest) > self.pool.total:
            found = Refusal(
                RefusalCode.INVALID,
                f"{request.longest} tokens do not fit the cache's {self.pool.total} blocks",
            )
        if found is None and len(self.waiting) >= self.bounds.queue:
            found = Refusal(
                RefusalCode.QUEUE_FULL, f"{len(self.waiting)} requests are waiting; try again later"
            )
        return found

    def _admit(self) -> None:
        """Move waiting requests to the running ones, in line, while they fit."""
        while self._places and (request := self.waiting.first) is not None:
            if not self._ledger.admit(request, len(self.running)):
                return
            self.waiting.take()
            request.place = self._places.pop()
            self.running.append(request)

    def _let_in(self) -> bool:
        """Admit who fits beside the answers that grow; False when a step in flight must end first.

        Only between steps is anybody put back: the step may end requests, and the tokens that it
        draws are then known.
        """
        growing = self._growing()
        short = len(growing) > self._ledger.free
        if short and self._flights:
            return False
        if short:
            self._make_room(growing)
            return True
        for request in growing:
            self._ledger.take(request)
        self._admit()
        return True

    def _growing(self) -> list[Request]:
        """The answers that need a block now which was not promised to them."""
        if self.bounds.policy is Policy.GUARANTEED_NO_EVICT:
            return []
        size = self.bounds.tokens_per_block
        return [
            r
            for r in self.running
            if r.planned == len(r.blocks) * size
            and r.left == 1
            and r.ready
            and not self._ledger.owed(r)
        ]

    def _make_room(self, growing: list[Request]) -> None:
        """A block for each, the best first; others are put back for it, the last of all first."""
        # In this order who is put back had no block taken for nothing.
        growing.sort(key=standing)
        for request in growing:
            while request.reserved and self._ledger.free == 0:
                self._put_back(max(self.running, key=standing))
            if request.reserved:
                self._ledger.take(request)

    def _append(self, request: Request, drawn: Drawn, number: int) -> Produced:
        """Add the draw's token to its answer; a finished request leaves at once."""
        token, position = drawn.tokens[number], len(request.tokens) - len(request.prompt)
        request.tokens.append(token)
        request.awaited -= 1
        if request.seen is not None:
            request.seen.answer[token] += 1
        if request.matcher is not None:
            request.matcher.advance(token)
        finish = None
        if request.matcher is not None and request.matcher.failed:
            finish = FinishReason.LENGTH
        elif token in request.ending.stop_ids:
            finish = FinishReason.STOP
        elif position + 1 == request.ending.max_tokens:
            finish = FinishReason.LENGTH
        if finish is not None:
            self._finish(request)
        wanted = request.prompt_logprobs is not None and position == 0
        return Produced(
            request.id,
            token,
            position,
            finish,
            drawn.logprobs.get(number),
            request.scores if wanted else None,
        )

    def _put_back(self, request: Request) -> None:
        """Let a running request wait again."""
        self._stop(request)
        self.waiting.put_back(request)
        self.preemptions += 1

    def _finish(self, request: Request) -> None:
        self._stop(request)
        del self._requests[request.id]

    def _stop(self, request: Request) -> None:
        """Take a request out of the running ones; its place is free, and its blocks will be.

        They stay away from others until every launched step that names them has ended.
        """
        self.running.remove(request)
        blocks = self._ledger.close(request)
        if not self._flights.hold(request.step, blocks):
            self._ledger.release(blocks)
        self._places.append(request.place)
        request.place = -1
