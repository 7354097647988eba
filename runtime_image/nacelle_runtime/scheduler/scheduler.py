"""Iteration-level batching: which tokens of which requests the next step runs."""

from collections.abc import Iterable

from nacelle_runtime.batch import Batch, Drawn, Produced
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import FinishReason, Refusal, RefusalCode, Request, RequestId
from nacelle_runtime.scheduler.admission import Admission
from nacelle_runtime.scheduler.bounds import Bounds
from nacelle_runtime.scheduler.chunks import decode
from nacelle_runtime.scheduler.flights import Flights
from nacelle_runtime.scheduler.invariants import check
from nacelle_runtime.scheduler.ledger import Ledger
from nacelle_runtime.scheduler.prompts import PromptShare, Share
from nacelle_runtime.scheduler.queue import WaitingQueue
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
        self._ledger = Ledger(pool, prefixes, bounds.tokens_per_block, bounds.policy)
        self._flights = Flights()
        self._admission = Admission(bounds, self._ledger, self._flights)
        self._prompts = PromptShare(bounds, self._ledger)

    @property
    def idle(self) -> bool:
        """True when no request waits or runs, and no step is in flight."""
        return not self._admission.requests and not self._flights

    @property
    def requests(self) -> list[RequestId]:
        """The requests that wait or run, in order of arrival."""
        return list(self._admission.requests)

    @property
    def waiting(self) -> WaitingQueue:
        """The requests that wait."""
        return self._admission.waiting

    @property
    def running(self) -> list[Request]:
        """The requests that steps run, in order of admission."""
        return self._admission.running

    @property
    def preemptions(self) -> int:
        """How often a running request was put back."""
        return self._admission.preemptions

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
            self._admission.arrive(request)
        return found

    def cancel(self, requests: Iterable[RequestId]) -> int:
        """Forget requests and free their blocks; gives how many of them there still were."""
        return self._admission.cancel(requests)

    def schedule(self) -> Batch | None:
        """The next step's batch: every answer's next token, then prompts; it is in flight from now.

        None when there is nothing to run: idle, or until a step in flight has ended.
        """
        if not self._admission.let_in():
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
        check(self.bounds, self._ledger, self._flights, self._admission)

    def _refusal(self, request: Request) -> Refusal | None:
        if request.id in self._admission.requests:
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

    def _append(self, request: Request, drawn: Drawn, number: int) -> Produced:
        """Add the draw's token to its answer; a finished request leaves at once."""
        token, position = drawn.tokens[number], len(request.tokens) - len(request.prompt)
        request.tokens.append(token)
        request.awaited -= 1
        finish = _advance(request, token)
        if finish is not None:
            self._admission.finish(request)
        wanted = request.prompt_logprobs is not None and position == 0
        return Produced(
            request.id,
            token,
            position,
            finish,
            drawn.logprobs.get(number),
            request.scores if wanted else None,
        )


def _advance(request: Request, token: int) -> FinishReason | None:
    """The answer's penalties and grammar take in its newest token; why it ends here, if it does."""
    if request.seen is not None:
        request.seen.answer[token] += 1
    if request.matcher is not None:
        request.matcher.advance(token)
    if request.matcher is not None and request.matcher.failed:
        return FinishReason.LENGTH
    if token in request.ending.stop_ids:
        return FinishReason.STOP
    if request.produced == request.ending.max_tokens:
        return FinishReason.LENGTH
    return None
